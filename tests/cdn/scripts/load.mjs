// Runs scripts as a page does, in the global scope, and finds files by the names that they were published under.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import vm from "node:vm";

export const folder = process.argv[2];
const names = JSON.parse(readFileSync(join(folder, "names.json"), "utf8"));

globalThis.self = globalThis.window = globalThis;

export function load(path) {
  vm.runInThisContext(readFileSync(join(folder, names[path]), "utf8"));
}

export function module(path) {
  return import(pathToFileURL(join(folder, names[path])).href);
}

export function print(...values) {
  console.log(values.map((each) => JSON.stringify(each, (_, value) =>
    typeof value === "function" ? "function" : typeof value === "number" && !Number.isFinite(value) ? String(value)
      : value instanceof Float32Array ? [...value] : value) ?? "undefined").join(" "));
}
