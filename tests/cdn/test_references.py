from __future__ import annotations

import pytest

from noa_perf.cdn.pipeline.references import Reference, Target, knots, resolve, rewrite, written


def named(target, kind="url"):
    return Reference(0, len(target), target, kind)


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("../img/a.png", "url", Target("img/a.png", "", False)),
        ("a%20b.png?v=1#x", "url", Target("css/a b.png", "?v=1#x", False)),
        ("/static/img/a.png", "url", Target("img/a.png", "", True)),
        ("/elsewhere/a.png", "url", None),
        ("https://example.org/a.png", "url", None),
        ("//example.org/a.png", "url", None),
        ("data:image/png;base64,AAA=", "url", None),
        ("#icon", "url", None),
        ("", "url", None),
        ("../../../secret", "url", Target("../../secret", "", False)),
        ("lodash", "import", None),
        ("./a.js", "import", Target("css/a.js", "", False)),
        ("a.js", "url", Target("css/a.js", "", False)),
        ("./", "url", None),
        ("..", "url", None),
        ("../img/?x", "url", None),
        ("/static/img/", "url", None),
        ("./", "import", None),
    ],
)
def test_which_file_is_meant(target, kind, expected):
    assert resolve("css/app.css", named(target, kind), "/static/") == expected


def test_new_names_are_written_as_the_old_ones_were():
    assert written("css/app.css", named("x"), Target("img/a b.png", "#i", False), "img/a b.12.png", "/static/") == (
        "../img/a%20b.12.png#i"
    )
    assert written("a.css", named("x"), Target("b.png", "", True), "b.12.png", "/static/") == "/static/b.12.png"
    assert written("js/a.js", named("./b.js", "import"), Target("js/b.js", "", False), "js/b.12.js", "/static/") == (
        "./b.12.js"
    )
    assert written("js/a.js", named("../b.js", "import"), Target("b.js", "", False), "b.12.js", "/static/") == (
        "../b.12.js"
    )


def test_names_are_replaced_where_they_stand():
    references = [Reference(7, 8, "b", "url"), Reference(2, 3, "a", "url"), Reference(4, 5, "x", "url")]
    assert rewrite("_ a x  b _", references, lambda each: {"a": "AA", "b": ""}.get(each.target)) == ("_ AA x   _")


def test_files_come_after_those_that_they_name():
    graph = {"a": ["b", "c"], "b": ["d"], "c": ["d", "a"], "d": [], "e": ["e"], "f": ["gone"]}
    groups = knots(graph)
    assert sorted(map(tuple, groups)) == [("a", "c"), ("b",), ("d",), ("e",), ("f",)]
    assert groups.index(["d"]) < groups.index(["b"]) < groups.index(["a", "c"])


def test_a_chain_longer_than_the_stack():
    graph = {f"{place:05}": [f"{place + 1:05}"] for place in range(20_000)} | {"20000": []}
    assert knots(graph)[0] == ["20000"]
    assert len(knots(graph)) == 20_001
