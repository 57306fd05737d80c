"""The build over what others wrote: nothing is lost, scripts run, style sheets mean the same."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cached_property
from pathlib import Path

import pytest

from noa_perf.cdn.pipeline import css, javascript
from noa_perf.cdn.pipeline.references import resolve
from noa_perf.cdn.pipeline.sources import Source
from noa_perf.cdn.store import Store
from tests.cdn import corpus, cssom
from tests.cdn.browser import page
from tests.servers.node import Node
from tests.servers.registry import get

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.once]

SCRIPTS = Path(__file__).parent / "scripts"
RUN = (
    "lodash/lodash.js",
    "d3/dist/d3.js",
    "react/umd/",
    "react-dom/umd/",
    "three/",
    "bootstrap/dist/js/bootstrap.bundle",
)
"""What the minified files of both tools are run of."""
READ = (".css", ".js", ".mjs")


class Made:
    """One build of the corpus."""

    def __init__(self, folder, tool, wanted):
        self.store = Store(folder / "store")
        self.tool = tool
        self.wanted = wanted
        self.built = corpus.build(self.store, wanted, tool)
        self.manifest = self.built.manifest

    @cached_property
    def named(self):
        """What each style sheet and script names of ours: references, and names below the root."""
        return {path: list(named(self, path)) for path in self.manifest.paths if path.endswith(READ)}

    def text(self, path):
        return self.store.get(self.manifest.assets[self.manifest.paths[path]].blob).decode()


@pytest.fixture(scope="module")
def wanted():
    return corpus.sources()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, wanted):
    """All of it, scripts by tdewolff's minifier, for which no process is started file by file."""
    return Made(tmp_path_factory.mktemp("whole"), "tdewolff", wanted)


@pytest.fixture(scope="module", params=["esbuild", "tdewolff"])
def made(request, tmp_path_factory, wanted, whole):
    if request.param == "tdewolff":
        return whole
    some = {path: source for path, source in wanted.items() if path.startswith(RUN) and "/nodes/" not in path}
    return Made(tmp_path_factory.mktemp("esbuild"), "esbuild", some)


def named(made, path):
    """Yield what a published file names of ours: the reference, and the name below the root."""
    scan = css.references if path.endswith(".css") else javascript.references
    for reference in scan(made.text(path)):
        target = resolve(made.manifest.paths[path], reference, "/static/")
        if target is not None:
            yield reference, target.path


def test_nothing_is_lost(whole):
    assert len(whole.wanted) > 350
    assert set(whole.manifest.paths) == set(whole.wanted)
    for asset in whole.manifest.assets.values():
        for _, _, blob in asset.forms():
            assert len(whole.store.get(blob)) == blob.size  # get() compares the hash
    untouched = [path for path in whole.wanted if not path.endswith(READ)]
    assert untouched
    for path in untouched:
        blob = whole.manifest.assets[whole.manifest.paths[path]].blob
        assert whole.store.get(blob) == whole.wanted[path].read(), path


def test_what_files_name_is_there(whole):
    """Of three.js some folders were left out, and bare names are packages, none of ours."""
    lacking = {(each.source, each.target) for each in whole.built.missing}
    assert all(source.startswith("three/examples/jsm/") for source, _ in lacking), lacking
    found = 0
    for path, references in whole.named.items():
        for reference, name in references:
            if (path, reference.target) not in lacking and reference.kind != "map":
                assert name in whole.manifest.assets, f"{path} names {reference.target}"
                found += 1
    assert found > 500


def test_source_maps_are_named_where_files_are_published_as_they_are(whole):
    for path in ("bootstrap/dist/css/bootstrap.min.css", "bootstrap/dist/js/bootstrap.bundle.min.js"):
        assert [name for reference, name in whole.named[path] if reference.kind == "map"] == [
            whole.manifest.paths[path + ".map"]
        ]


def test_a_second_build_is_equal_to_the_byte_and_makes_nothing(whole):
    again = corpus.build(whole.store, whole.wanted, whole.tool)
    assert again.made == 0
    assert again.manifest.to_json() == whole.manifest.to_json()


@pytest.mark.parametrize(
    ("path", "at_least"), [("three/examples/jsm/curves/NURBSUtils.js", 3), ("admin/img/search.svg", 2)]
)
def test_one_changed_file_makes_anew_only_what_depends_on_it(whole, path, at_least):
    naming = defaultdict(set)
    paths = {name: path for path, name in whole.manifest.paths.items()}
    for each, references in whole.named.items():
        for _, name in references:
            naming[paths.get(name)].add(each)
    depend, todo = set(), {path}
    while todo:
        each = todo.pop()
        depend.add(each)
        todo |= naming[each] - depend
    source = whole.wanted[path]
    comment = b"<!-- -->" if path.endswith(".svg") else b"\nexport const another = 1;\n"
    changed = Source(path, lambda: source.read() + comment, source.where)
    after = corpus.build(whole.store, {**whole.wanted, path: changed}, whole.tool)
    assert at_least <= len(depend) < 30
    assert {each for each, name in whole.manifest.paths.items() if after.manifest.paths[each] != name} == depend
    # The file is minified, and read for names; what depends on it is compressed.
    assert after.made <= 2 + len(depend)


# Scripts run.


def both(made, tmp_path, script):
    """Run a script of ``scripts/`` over the original files and the published ones; return what each printed."""
    node = get(Node)
    printed = []
    for which, files in (
        ("original", corpus.original(made.wanted)),
        ("published", corpus.published(made.store, made.built)),
    ):
        folder = tmp_path / which
        corpus.lay_out(folder, files)
        names = {path: path for path in made.wanted} if which == "original" else dict(made.manifest.paths)
        (folder / "package.json").write_text('{"type": "module"}')
        three = folder / "node_modules" / "three"
        three.mkdir(parents=True)
        (three / "package.json").write_text('{"type": "module", "exports": {".": "./index.js"}}')
        (three / "index.js").write_text(f'export * from "../../{names["three/build/three.module.js"]}";\n')
        (folder / "names.json").write_text(json.dumps(names))
        printed.append(node.run_script(SCRIPTS / script, folder))
    return printed


@pytest.mark.parametrize("script", ["lodash.mjs", "d3.mjs", "react.mjs", "three.mjs"])
def test_minified_scripts_print_what_the_original_ones_do(made, tmp_path, script):
    was, now = both(made, tmp_path, script)
    assert len(was.splitlines()) >= 20
    assert now == was


def test_the_scripts_that_run_did_get_small(made):
    for path in ("lodash/lodash.js", "d3/dist/d3.js", "three/build/three.module.js", "react/umd/react.development.js"):
        assert made.manifest.assets[made.manifest.paths[path]].blob.size < 0.6 * len(made.wanted[path].read()), path


def played(opened, scripts, style, body, play):
    """Load a page with these scripts, play, and return the states that it went through."""
    opened.set_content(f"<!doctype html><title>x</title><style>{style}</style><body>{body}</body>")
    for script in scripts:
        opened.add_script_tag(content=script)
    return opened.evaluate(f"async () => {{ {play} }}")


BODY = """
<button id="m" data-bs-toggle="modal" data-bs-target="#modal">m</button>
<div class="modal fade" id="modal" tabindex="-1"><div class="modal-dialog"><div class="modal-content">
  <button class="btn-close" data-bs-dismiss="modal"></button>text</div></div></div>
<div class="dropdown"><button id="d" class="dropdown-toggle" data-bs-toggle="dropdown">d</button>
  <ul class="dropdown-menu"><li><a class="dropdown-item" href="#">one</a></li></ul></div>
<button id="c" data-bs-toggle="collapse" data-bs-target="#part">c</button><div class="collapse" id="part">part</div>
<ul class="nav nav-tabs">
  <li><button id="t" class="nav-link" data-bs-toggle="tab" data-bs-target="#two">2</button></li></ul>
<div class="tab-content"><div class="tab-pane active" id="one">1</div><div class="tab-pane" id="two">2</div></div>
<div class="alert alert-dismissible fade show"><button id="a" class="btn-close" data-bs-dismiss="alert"></button></div>
<span id="tip" data-bs-toggle="tooltip" title="a tip">tip</span>
<div class="accordion" id="acc"><button id="q" data-bs-toggle="collapse" data-bs-target="#in">q</button>
  <div id="in" class="collapse" data-bs-parent="#acc">in</div></div>
"""
PLAY = """
  const states = [], errors = [];
  const note = () => states.push(document.body.outerHTML.replace(/(tooltip)\\d+/g, "$1"));
  const by = (id) => document.getElementById(id);
  const after = (element, event, act) => new Promise((done) => {
    element.addEventListener(event, () => { note(); done(); }, { once: true }); act(); });
  note();
  await after(by("modal"), "shown.bs.modal", () => by("m").click());
  await after(by("modal"), "hidden.bs.modal", () => document.querySelector("#modal .btn-close").click());
  await after(by("d"), "shown.bs.dropdown", () => by("d").click());
  await after(by("d"), "hidden.bs.dropdown", () => by("d").click());
  await after(by("part"), "shown.bs.collapse", () => by("c").click());
  await after(by("part"), "hidden.bs.collapse", () => by("c").click());
  await after(by("in"), "shown.bs.collapse", () => by("q").click());
  await after(by("t"), "shown.bs.tab", () => by("t").click());
  const alert = document.querySelector(".alert");
  await after(alert, "closed.bs.alert", () => by("a").click());
  const tip = new bootstrap.Tooltip(by("tip"), { animation: false });
  await after(by("tip"), "shown.bs.tooltip", () => tip.show());
  tip.dispose(); note();
  states.push(Object.keys(bootstrap).sort().join(), bootstrap.Modal.VERSION, bootstrap.Modal.NAME);
  return states;
"""


def test_bootstrap_does_the_same_in_a_browser(made, whole):
    path = "bootstrap/dist/js/bootstrap.bundle.js"
    sheet = "bootstrap/dist/css/bootstrap.css"
    was, now = made.wanted[path].read().decode(), made.text(path)
    assert len(now) < 0.5 * len(was)
    # Whoever wants no motion gets none: nothing has to be waited for.
    with page(reduced_motion="reduce") as opened:
        before = played(opened, [was], whole.wanted[sheet].read().decode(), BODY, PLAY)
        after = played(opened, [now], whole.text(sheet), BODY, PLAY)
    assert len(set(before)) >= 12
    assert after == before


CLICKS = """
  const root = document.getElementById("root"), states = [];
  const h = React.createElement;
  const reducer = (list, item) => [...list, item];
  function App({ start }) {
    const [count, set] = React.useState(start), [list, add] = React.useReducer(reducer, []);
    const double = React.useMemo(() => count * 2, [count]);
    React.useEffect(() => { document.title = `count ${count}`; }, [count]);
    return h(React.Fragment, null,
      h("button", { onClick: () => { set(count + 1); add({ id: count }); }, style: { width: count + 10 } }, "more"),
      h("input", { value: `v${double}`, onChange: () => {}, "aria-label": "value" }),
      count > 2 ? h("b", { dangerouslySetInnerHTML: { __html: "<i>x</i>" } }) : null,
      h("ul", null, list.map((each) => h("li", { key: each.id, className: `c${each.id}` }, each.id))));
  }
  const made = ReactDOM.createRoot(root);
  const note = () => states.push(document.title + root.innerHTML);
  ReactDOM.flushSync(() => made.render(h(React.StrictMode, null, h(App, { start: 1 })))); note();
  for (let time = 0; time < 3; time++) { ReactDOM.flushSync(() => root.querySelector("button").click()); note(); }
  ReactDOM.flushSync(() => made.unmount()); note();
  states.push(React.version, Object.keys(ReactDOM).sort().join());
  return states;
"""


def test_react_does_the_same_in_a_browser(made):
    paths = ["react/umd/react.development.js", "react-dom/umd/react-dom.development.js"]
    with page() as opened:
        scripts = [made.wanted[path].read().decode() for path in paths]
        before = played(opened, scripts, "", '<div id="root"></div>', CLICKS)
        after = played(opened, [made.text(path) for path in paths], "", '<div id="root"></div>', CLICKS)
    assert len(set(before)) == 7
    assert after == before


# Style sheets mean the same.


def as_named(made, path):
    """Return a published text with the names that files had before."""
    text = made.text(path)
    before = {name: path for path, name in made.manifest.paths.items()}
    for _, name in made.named[path]:
        text = text.replace(name.rpartition("/")[2], before[name].rpartition("/")[2])
    return text


def sheets(made):
    for path, source in made.wanted.items():
        if path.endswith(".css") and ".min." not in path:
            yield path, source.read().decode(), as_named(made, path)


def test_style_sheets_mean_the_same_to_a_browser(whole):
    seen, saved = 0, 0
    with page() as opened:
        reader = cssom.Reader(opened)
        for path, was, now in sheets(whole):
            assert reader.differences(was, now) == [], path
            seen, saved = seen + 1, saved + len(was) - len(now)
    assert seen > 20
    assert saved > 700_000


def test_nothing_that_is_for_other_browsers_is_lost(whole):
    for path, was, now in sheets(whole):
        assert cssom.foreign(now) == cssom.foreign(was), path


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("a { width: 1px }", "a { width: 2px }", "2px"),
        ("a { width: 1px } .b { width: 2px }", ".b { width: 2px } a { width: 1px }", "stands where"),
        ("a { margin: 0 }", "a { margin: 0 0 1px }", "margin-bottom"),
        ("a { border: var(--x) solid }", "a { border: var(--y) solid }", "--y"),
        ("a { --x: 1px }", "a { --x: 1px 2px }", "--x"),
        ("@media print { a { color: red } }", "@media screen { a { color: red } }", "print"),
        ("a { color: red !important }", "a { color: red }", "important"),
        ("a { margin-left: 1px; margin-inline-end: 2px }", "a { margin-inline-end: 2px; margin-left: 1px }", "and"),
        ("@keyframes x { to { color: blue } }", "@keyframes x { to { color: #00e } }", "@keyframes x"),
        ("@layer a, b; x { color: red }", "@layer b, a; x { color: red }", "layers"),
        ("a { width: 1em }", "a { width: 16px }", "16px"),
        ("a { & b { width: 1px } }", "a b { width: 1px }", "style a"),
        ("a { color: red } @font-face { font-family: x; src: url(a) }", "a { color: red }", "font-face"),
        ("@supports (display: grid) { a { color: red } }", "a { color: red }", "grid"),
        ("a { width: 1px } .b { width: 2px } a { width: 1px }", "a { width: 1px } .b { width: 2px }", "stands where"),
    ],
)
def test_a_browser_tells_sheets_apart(one, other, told):
    with page() as opened:
        differences = cssom.Reader(opened).differences(one, other)
    assert differences
    assert told in differences[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a { color: red } a { width: 1px }", "a { color: #f00; width: 1px }"),
        ("a { color: tan } .b { color: tan }", "a, .b { color: tan }"),
        ("a { color: tan; color: red }", "a { color: red }"),
        ("a { margin: 1px; margin-left: 2px }", "a { margin: 1px 1px 1px 2px }"),
        ("a { color: red !important } a { color: tan }", "a { color: red !important }"),
        ("a { font-weight: bold; background: none }", "a { font-weight: 700; background: 0 0 }"),
    ],
)
def test_a_browser_takes_these_for_the_same(one, other):
    with page() as opened:
        assert cssom.Reader(opened).differences(one, other) == []
