// Makes scripts small by terser, as `terser -c -m` does, all in one process; tells seconds and bytes as JSON.
// Comments with a licence are kept, as all tools here keep them.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const [packages, target, ...files] = process.argv.slice(2);
const { minify } = createRequire(`${packages}/x.js`)("terser");
const small = [];
const begin = process.hrtime.bigint();
for (const file of files) {
  const { code } = await minify(readFileSync(file, "utf8"), { compress: true, mangle: true });
  small.push(code);
}
const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
if (target) small.forEach((code, place) => writeFileSync(`${target}/${place}.js`, code));
console.log(JSON.stringify({ seconds, bytes: small.map((code) => Buffer.byteLength(code)) }));
