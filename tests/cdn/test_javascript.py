from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
from itertools import pairwise

import pytest

from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.pipeline import javascript, minifier
from noa_perf.cdn.pipeline.javascript import references, tokens
from noa_perf.cdn.pipeline.minifier import Minifier, Unsettled, find_esbuild
from noa_perf.cdn.pipeline.tdewolff import Died, Helper, Refused
from tests.cdn.files import grows_with
from tests.cdn.snippets import SNIPPETS
from tests.servers.node import Node
from tests.servers.registry import get

TOOLS = ("esbuild", "tdewolff", "rjsmin")


def esbuild():
    return find_esbuild(folder=get(Node).packages().parent)


@pytest.fixture(scope="module")
def minifiers():
    made = {tool: Minifier(tool, esbuild() if tool == "esbuild" else "") for tool in TOOLS}
    yield made
    for each in made.values():
        each.close()


@pytest.mark.server
@pytest.mark.once
@pytest.mark.parametrize("tool", TOOLS)
def test_what_was_made_small_computes_the_same(minifiers, tool, tmp_path):
    node = get(Node)
    for name, text in SNIPPETS.items():
        small = minifiers[tool].minified(text)
        (tmp_path / "as_it_is.js").write_text(text)
        (tmp_path / "small.js").write_text(small)
        was, now = (node.run_script(tmp_path / f"{each}.js") for each in ("as_it_is", "small"))
        assert was.strip(), name
        assert now == was, f"{tool}, {name}:\n{small}"
        assert len(small.encode()) <= len(text.encode())


@pytest.mark.server
@pytest.mark.once
@pytest.mark.parametrize("tool", TOOLS)
def test_most_of_it_does_get_small(minifiers, tool):
    untouched = [name for name, text in SNIPPETS.items() if minifiers[tool].minified(text) == text]
    assert len(untouched) < len(SNIPPETS) // 3, untouched


def test_a_script_with_a_zero_byte_stays_as_it_is():
    text = "var   a   =  1;\0"
    assert Minifier("tdewolff").minified(text) == text


def test_names_that_eval_may_ask_for_are_never_shortened():
    text = "function f(argument){ var local = 41; return eval('local + argument') }"
    small = Minifier("tdewolff").minified(text)
    assert "argument" in small
    assert "local = 41" in small or "local=41" in small


@pytest.mark.parametrize(
    "text",
    [
        "function f(longName){ return (eval)('longName') }",
        "function f(longName){ return ev\\u0061l('longName') }",
        "function f(longName){ const q = function(){} / 2; eval('longName'); return longName / 3 }",
        "function f(longName){ const q = this.of / 2; eval('longName'); return longName / 3 }",
        "function f(longName){ const q = this?.in / 2; eval('longName'); return longName / 3 }",
        "function f(longName){ const q = of / 2; eval('longName'); return longName / 3 }",
        "function f(longName){ const q = x.if(1) / 2; eval('longName'); return longName / 3 }",
        "function f(longName){ const q = {a: 1} / 2; eval('longName'); return longName / 3 }",
        "function f(longName){ const q = yield / 2; eval('longName'); return longName / 3 }",
        "function f(longName){ if (longName) {} /[/]`/.test(eval('longName')) }",
        "function f(longName, another){ return longName.toString() }",
        "function f(longName, another = g()){ return longName.toString() }",
        "const f = (longName, another) => longName.toString()",
        "const o = {m(longName, another){ return longName.toString() }}",
        "const o = {a, catch(longName, another){ return longName.toString() }}",
    ],
)
def test_where_names_or_parameters_count_or_may_none_is_touched(text):
    made = Minifier("tdewolff")
    small = made.minified(text)
    made.close()
    assert small.count("longName") == text.count("longName")
    assert small.count("another") == text.count("another")


@pytest.mark.parametrize(
    "text",
    [
        "function f(longName){ return longName.eval / longName.with(1) / 2 }",
        "function f(longName){ for (const one of [/a/g, longName]) print(one, {} / 2, longName / 2) }",
        "function f(longName){ if (longName) /b/.test(longName); while (longName) longName = longName / 2 }",
        "class A { m(longName, two = [1, 2], {three} = {}, ...rest){ return [longName, two, three, rest] } }",
        "const f = (longName, two,) => longName + two, g = longName => longName",
        "async function f(longName){ for await (const one of longName) { if (one) { print(one); break } } }",
    ],
)
def test_where_none_does_names_get_short(text):
    made = Minifier("tdewolff")
    assert "longName" not in made.minified(text)
    made.close()


def read(text):
    return list(tokens(text)), list(references("import " + text)), minifier._beyond_tdewolff(text)


@pytest.mark.parametrize("piece", ["(/a[", '\\"', "\\'", "}/a["])
def test_scripts_that_are_cut_off_are_read_once(piece):
    assert grows_with(read, piece) < 10


def test_the_word_eval_in_a_string_is_no_eval():
    text = "function f(argument){ var local = 'eval(with(' + argument; return local + local }"
    helper = Minifier("tdewolff")
    small = helper.minified(text)
    helper.close()
    assert "argument" not in small


def test_what_cannot_be_read_loses_blanks_and_no_more():
    text = "this is   no script {{{ (   "
    helper = Minifier("tdewolff")
    assert [each.text for each in tokens(helper.minified(text))] == [each.text for each in tokens(text)]
    helper.close()


def test_a_helper_that_dies_costs_one_file(monkeypatch):
    helper = Helper(60.0)
    assert helper.minified("application/javascript", "var  a =  1") == "var a=1"
    helper._process.kill()
    helper._process.wait()
    assert helper.minified("application/javascript", "var  a =  2") == "var a=2"
    process = helper._running()
    process.kill()
    monkeypatch.setattr(process, "poll", lambda: None)  # found dead only while it is asked
    with pytest.raises(Died, match="hung or died"):
        helper.minified("application/javascript", "var  a =  3")
    assert helper.minified("application/javascript", "var  a =  4") == "var a=4"
    helper.close()


def test_a_helper_that_hangs_is_killed():
    helper = Helper(0.2)
    process = helper._running()
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(Died):
        helper.minified("application/javascript", "var a")
    assert process.poll() is not None


def test_what_the_helper_cannot_read_is_no_death():
    helper = Helper(60.0)
    with pytest.raises(Refused) as raised:
        helper.minified("application/javascript", "var (")
    assert not isinstance(raised.value, Died)
    helper.close()


@pytest.mark.parametrize("end", ["exec sleep 9", "kill -9 $$"])
def test_an_esbuild_that_hangs_or_is_killed_settles_nothing(tmp_path, monkeypatch, end):
    program = tmp_path / "esbuild"
    program.write_text(f'#!/bin/sh\ncase "$1" in --version) echo 1.2.3;; *) {end};; esac\n')
    program.chmod(0o755)
    made = Minifier("esbuild", str(program))
    assert made.version.startswith("esbuild 1.2.3")
    monkeypatch.setattr(minifier, "PATIENCE", 0.5)
    with pytest.raises(Unsettled) as raised:
        made.minified("var  a  =  1;")
    assert raised.value.text == "var a=1;"


def test_a_version_tells_of_rjsmin_too(monkeypatch):
    with_it = Minifier("tdewolff").version
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "rjsmin" else find(name))
    without = Minifier("tdewolff").version
    assert "rjsmin" in with_it
    assert "rjsmin" not in without


def test_the_helper_is_never_imported_by_whoever_builds():
    code = (
        "import sys; from noa_perf.cdn.pipeline import build, minifier; m = minifier.Minifier('tdewolff');"
        "assert m.minified('var  a = 1') == 'var a=1'; m.close(); assert 'minify' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rjsmin_is_not_believed_where_it_changes_a_template():
    # As d3 has it: a template within a template, with a blank that counts.
    text = 'var a = 1;   var s = `${a === 1 ? ")" : `, ${a})`}`;   console.log(s)'
    assert ", ${a}" in Minifier("rjsmin").minified(text)


def test_a_tool_that_is_not_there_is_named(monkeypatch):
    with pytest.raises(BuildError, match="ESBUILD"):
        Minifier("esbuild", "/no/such/esbuild")
    monkeypatch.setattr("shutil.which", lambda *args, **kwargs: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for tool, cure in (("esbuild", "npm install esbuild"), ("tdewolff", "noa-perf"), ("rjsmin", "noa-perf")):
        with pytest.raises(BuildError, match=cure):
            Minifier(tool)
    nothing = Minifier("auto")
    assert (nothing.tool, nothing.version) == ("off", "none")


MODULE = r"""
import a from "./a.js";import"./b.js"; import {x as y} from "../c.js"; export * from './d.js'; export {a} from "./e.js";
const q = import("./f.js"), u = new URL("g.png", import.meta.url), v = import(`./t.js`);
import def, {default as i} from "./i.js" with {type: "json"};
let no = "import z from './no1.js'", r = /import "\.\/no2.js"/, t = `import "./no3.js" ${ `${import("./h.js")}` }`;
x.import("./no4.js"); from("./no5.js"); export default "./no6.js"; // import "./no7.js"
export const k = "./no8.js"; import bare from "lodash"; new URL("no9.png", base); import(`./no${1}.js`);
if (x) /"/.test(y); import {"x y" as z, default as w} from "./s.js"; export {w as "from"} from "./x.js";
import.meta.resolve("./m.js"); import.meta.resolve("./no10/" + x); import("./no11/" + x);
my.import.meta.resolve("./no12.js");
export const s = {from: "./no13.js"}; class A { m() { return this.in / 2 } n() { import("./w.js"); return 1 / 2 } };
const v8 = {} / 2; import("./y.js"); 1 / 2; import "./last.js"
//# sourceMappingURL=module.js.map
"""


def test_files_that_a_module_names():
    found = [(each.target, each.kind) for each in references(MODULE)]
    imports = ["./a.js", "./b.js", "../c.js", "./d.js", "./e.js", "./f.js"]
    assert found == [
        *((name, "import") for name in imports),
        ("g.png", "url"),
        ("./t.js", "import"),
        ("./i.js", "import"),
        ("./h.js", "import"),
        ("lodash", "import"),
        *((name, "import") for name in ("./s.js", "./x.js", "./m.js", "./w.js", "./y.js", "./last.js")),
        ("module.js.map", "map"),
    ]
    for each in references(MODULE):
        assert MODULE[each.start : each.end] == each.target


def test_escapes_in_names_are_undone():
    (found,) = references(r'import "./caf\u00e9\x2ejs"')
    assert found.target == "./café.js"


@pytest.mark.parametrize(
    "text", ["`", "'", '"a', "/*", "${", "}", "`${`${", "/", "import", 'import "', "\\", "import(`"]
)
def test_scripts_that_end_too_soon_are_read_to_their_end(text):
    list(javascript.tokens(text))
    list(references("import " + text))


def test_random_text_is_read_to_its_end():
    chance = random.Random(7)
    for _ in range(3_000):
        text = "".join(chance.choice('/*\'"`${}()[]\\\n a1=import"./x"') for _ in range(chance.randrange(40)))
        tokens = list(javascript.tokens(text))
        assert all(text[each.start : each.end] == each.text for each in tokens)
        assert all(one.end <= two.start for one, two in pairwise(tokens))
        list(references("export " + text))
