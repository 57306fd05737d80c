"""Scripts that minifiers have got wrong, or might; each prints what it computes."""

from __future__ import annotations

SNIPPETS = {
    "regular expressions beside divisions": r"""
        var a = 12, g = 2, i = 3;
        console.log(a / g / i, /[/]\/"/.test('/"') , (a) / g, [4] / 2, /=/g.exec("=")[0], a++ / 2, typeof /x/);
        if (a) /re/.test("re") && console.log("after if");
        console.log(((x) => x / 2)(8), `${a / 2}`, a
          / 2);
    """,
    "automatic semicolons": """
        var x = 1
        var y = 2
        ;[x, y] = [y, x]
        function f() { return
            3 }
        x
        ++
        y
        let z = x
        console.log(x, y, z, f())
        do x++; while (x < 5) console.log(x)
        a: for (;;) { break a }
        var b = x + +y, c = x - -y, d = x+ ++y, e = y-- - x
        console.log(b, c, d, e)
    """,
    "templates within templates": """
        const n = 3, f = (s, ...v) => s.raw.join("|") + v.join();
        console.log(`a  ${n > 2 ? `b  ${`c   ${n}`}  ` : "}"} d`, f`x\\n${1}  //no comment ${2}`, `line
          two   /* kept */`);
    """,
    "strings with what looks like code": r"""
        console.log("// no", '/* no */', "</script>", "\u2028".length, '\'"', "\0".length, "a\
b", "\x41\u{1F600}");
    """,
    "direct eval": """
        function outer(argument) { var local = 41; return eval("local + argument"); }
        console.log(outer(1));
    """,
    "indirect eval and Function": """
        var seen = 1; (0, eval)("globalThis.made = 7"); console.log(made, new Function("a", "return a * 2")(4));
    """,
    "with": """
        function reach(scope) { var own = "own"; with (scope) { return own; } }
        console.log(reach({ own: "theirs" }), reach({}));
    """,
    "names that others read": """
        var topLevel = 5; function topFunction() { return topLevel; }
        console.log(Object.keys({ topLevel, longName: 1, "quoted-name": 2, 3: 4, __proto__: null }).join());
        globalThis.shared = topFunction; console.log(shared());
    """,
    "getters, classes, private and static": """
        class A { #p = 1; static s = 2; static { A.t = A.s + 1; } get p() { return this.#p } set p(v) { this.#p = v }
          static async *[Symbol.asyncIterator]() { yield 1 } has(o) { return #p in o } 'quoted'() { return 1 } }
        class B extends A { constructor() { super(); this.p = 5 } get p() { return super.p * 2 } set p(v) { super.p = v } }
        const b = new B; console.log(b.p, A.s, A.t, b.has(b), b.has({}), b.quoted());
    """,
    "numbers": """
        console.log(0xff, 0b11, 0o17, 1e3, 1_000_000, .5 + 1., 5..toString(), 5 .toString(), 10n ** 20n, -0, 1/-0,
          0.1 + 0.2, 1e21, 123456789012345680000, 0x7fffffffffffffff, 1.0e-7, -1 ** 0 === undefined);
    """.replace(", -1 ** 0 === undefined", ""),
    "nullish, optional and exponents": """
        const o = { a: null, f() { return this === o } };
        console.log(o?.a?.b, o.x ?? "d", (o.a || o.x) ?? "e", o?.f(), o.g?.(), 2 ** 3 ** 2, (-2) ** 2, o?.["a"]);
        let q = null; q ??= 3; q ||= 4; q &&= 5; console.log(q);
    """,
    "hoisting and shadows": """
        console.log(typeof hoisted, typeof later); function hoisted() {} var later = 1;
        { function inner() { return "block" } } console.log(typeof inner);
        var e = "outer"; try { throw "caught" } catch (e) { var e = "inner" } console.log(e);
        let x = 1; { let x = 2; { let x = 3; console.log(x) } console.log(x) } console.log(x);
        for (let i = 0, fs = []; i < 3; i++) { fs.push(() => i); if (i == 2) console.log(fs.map((f) => f()).join()) }
    """,
    "default arguments and destructuring": """
        function f({ a = 1, b: { c = a + 1, ...rest } = {}, ...others } = {}, [d, , e = d] = [7], ...more) {
          return JSON.stringify([a, c, rest, others, d, e, more, arguments.length]) }
        console.log(f(), f({ a: 5, b: { c: 6, z: 1 }, y: 2 }, [1, 2, 3], 8, 9), f.length);
    """,
    "how many parameters there are": """
        function run(mw, err) { return mw.length === 4 ? "error handler" : "middleware" }
        console.log(run(function (err, req, res, next) { return String(err) }), ((a, b) => 1).length);
        const o = { then(ok, no) { return 1 }, catch(no, more) { return 2 } }; console.log(o.then.length, o.catch.length);
    """,
    "defaults of what is not used": """
        let n = 0; function id(key = ++n) { return 1 } id(); id(); console.log(n, ((a, b = 2) => 1).length);
    """,
    "eval in parentheses and by escapes": """
        function one(longName) { return (eval)("longName") } function two(longName) { return ev\\u0061l("longName") }
        function three(longName) { const { eval: e } = globalThis; return eval?.("typeof longName") + typeof e }
        console.log(one(1), two(2), three(3));
    """,
    "keywords that are names": """
        function f(longName) { const q = this.of / 2; eval("longName"); return longName / 3 + q }
        function g(longName) { const q = this?.in / 2; return eval("longName") + 4 / q }
        function h(longName) { const of = 8, q = of / 2; return eval("longName") + q / 2 }
        function i(longName) { const q = { valueOf() { return 8 } } / 2; return eval("longName") + q / 2 }
        function j(longName) { const q = function () {} / 2; return eval("longName") + q / 2 }
        console.log(f.call({ of: 4 }, 3), g.call({ in: 4 }, 3), h(3), i(3), j(3));
        for (const of of /x/g[Symbol.split]("1x2")) console.log(of / 2 / 1);
    """,
    "arguments and strict mode": """
        function loose(a) { arguments[0] = 2; return a } function strict(a) { "use strict"; arguments[0] = 2; return a }
        console.log(loose(1), strict(1), (function () { return typeof this })(), (function () { "use strict"; return typeof this })());
    """,
    "labels and switches": """
        out: for (var i = 0; i < 3; i++) { for (;;) { if (i == 1) continue out; if (i == 2) break out; break } console.log(i) }
        switch (3) { case 1: default: console.log("default"); case 2: console.log("through"); break; case 4: console.log("no") }
    """,
    "order of evaluation": """
        var log = []; const t = (n, v) => (log.push(n), v);
        t(1, { m: () => 0 }).m(t(2), t(3)); t(4, []) [t(5, 0)] = t(6); t(7, 0) || t(8, 1) && t(9, 0); (t(10), t(11));
        console.log(log.join());
    """,
    "deleting, voiding and commas": """
        var o = { a: 1 }; console.log(delete o.a, "a" in o, void 0, (1, 2), typeof undeclared, !function () {}(), +"3", ~~-3.7);
        if (!("a" in o)) ; else console.log("no"); for (var i in { x: 1, y: 2 }) console.log(i);
    """,
    "comments that look like others": """
        var a = 1 // one */
        var b = 2; /* two // */ var c = 3
        console.log(a/**/+/* x */b, c <!--a
        )
        --> a comment at the beginning of a line
        console.log("end")
    """,
    "asynchronous": """
        const later = async () => { for await (const x of (async function* () { yield 1; yield* [2, 3] })()) console.log(x);
          await null; return "done" };
        later().then(console.log).finally(() => console.log("finally"));
    """,
    "unicode names": """
        var ünï = 1, \\u0061bc = 2, 变量 = 3, $ = 4, _ = 5; console.log(ünï, abc, 变量, $, _, "é", "\\u00e9" === "é", "😀".length);
    """,
    "long conditions": """
        function f(a, b, c) { if (a) { if (b) return 1; else if (c) return 2 } else return 3; if (!a && !b || c) { return 4 } return 5 }
        for (const a of [0, 1]) for (const b of [0, 1]) for (const c of [0, 1]) console.log(f(a, b, c));
    """,
    "getter side effects": """
        let reads = 0; const o = { get x() { reads++; return 1 } }; o.x; o.x ? 0 : 0; void o.x; const { x } = o; console.log(reads);
    """,
    "new and calls": """
        function C() { if (!new.target) return new C; this.a = 1 } C.D = function () { return { b: 2 } }
        console.log(new C().a, new (C.D)().b, C().a, new (class { c = 3 })().c, (new Date(0)).getTime(), new Date(0) / 1);
    """,
    "generators": """
        function* g() { const x = yield 1; try { yield x * 2 } finally { yield "cleanup" } }
        const i = g(); console.log(i.next().value, i.next(21).value, i.return(9).value, i.next().value, [...g()].length);
    """,
    "html-like text and braces in strings": """
        const s = "<!-- x -->", r = /<!--/, o = { "}": 1, "{": 2 }; console.log(s, r.test(s), o["}"], o["{"], `\\`}`.length);
    """,
}
