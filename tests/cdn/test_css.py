from __future__ import annotations

import random

import pytest

from noa_perf.cdn.pipeline import css
from noa_perf.cdn.pipeline.css import fallbacks, minified, references, stripped
from tests.cdn.files import grows_with


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('a { b: url("a(b) c.png") }', 'url("a(b) c.png")'),
        ("a { width: calc(100% - 2px) }", "calc(100% - 2px)"),
        ("a { color: red; &:hover { color: tan } }", "&:hover"),
        ("@layer x, y; @layer y { a { color: red } }", "@layer"),
        ("@scope (.a) to (.b) { img { border: 0 } }", "to (.b)"),
        ("@media (width >= 600px) { a { color: red } }", "(width>=600px)"),
        ("@container (width > 1px) { a { color: red } }", "@container"),
        ("@supports not (display: grid) { a { float: left } }", "@supports not"),
        ("a { --x: ; --y:  {a: b} }", "--x: ;"),
        ("/*! licence */ a { color: red }", "licence"),
        ("@starting-style { a { opacity: 0 } }", "@starting-style"),
    ],
)
def test_what_is_new_or_odd_survives(text, kept):
    assert kept in minified(text)
    assert len(minified(text)) <= len(text)


@pytest.mark.parametrize(
    "text",
    [
        "a { width: 90%; width: min(90%, 3rem) }",
        "a { height: 100vh; height: 100dvh }",
        "a { color: red; color: oklch(.5 .2 30) }",
        "a { width: 1px; width: -webkit-fill-available; width: stretch }",
        "a { background-color: red; background: linear-gradient(red, blue) }",
        ".a { height: 100vh } .a { height: 100dvh }",
        "@media print { .a { height: 100vh; height: 100dvh } .b { color: red } }",
    ],
)
def test_no_fallback_is_lost(text):
    small = minified(text)
    assert fallbacks(text)
    assert fallbacks(small) == fallbacks(text)
    assert len(small) < len(text)


def test_rules_beside_one_with_a_fallback_get_as_small_as_ever():
    text = ".a { color: #ff0000 } .b { width: 1px; width: min(1px, 2px) } .c { color: #ff0000 }"
    assert minified(text) == ".a{color:red}.b{width: 1px;width: min(1px,2px)}.c{color:red}"


def test_whoever_names_browsers_decides_about_fallbacks():
    text = "a { height: 100vh; height: 100dvh }"
    assert minified(text, ["chrome 125"]) == "a{height:100dvh}"
    assert "100vh" in minified(text, ["chrome 60"])


@pytest.mark.parametrize(
    "text",
    [
        "a { *zoom: 1; filter: progid:DXImageTransform.Microsoft.gradient(startColorstr='#80000000') }",
        "a { color: expression(alert(1) ",
        "a { b: c } }}} d { e: f }",
        'a { content: "open',
        "a { b: url( }",
    ],
)
def test_what_lightningcss_does_not_read_is_only_stripped(text):
    small = minified(text)
    assert "".join(small.split()).startswith("".join(text.split())[:8])
    assert len(small) <= len(text)


def test_a_small_file_is_not_made_larger():
    assert minified("a{b:c}") == "a{b:c}"
    assert minified("") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/**/.b { c: d }", "a/**/.b{c: d}"),
        ("a { c: 1px/* x */2px }", "a{c: 1px/**/2px}"),
        ("a { c: 1px /* x */ 2px ; }", "a{c: 1px 2px}"),
        ("a  >  b ,\n c { d : e ; ; }", "a > b,c{d : e}"),
        ("a { --x:  a /* k */  b ; c: d }", "a{--x:  a /* k */  b ;c: d}"),
        ("a { b: c ;; d: e }", "a{b: c;;d: e}"),
        ('a { b: "  ;  }" ; }', 'a{b: "  ;  }"}'),
        ("a { b: url( x y.png ) }", "a{b: url( x y.png )}"),
    ],
)
def test_stripping_changes_nothing_that_means_something(text, expected):
    assert stripped(text) == expected
    assert stripped(expected) == expected


SHEET = r"""
@import "a.css"; @import url(b.css) screen; @namespace svg url(http://www.w3.org/2000/svg);
@font-face { src: url("c.eot?#iefix") format("embedded-opentype"), local("No"), url( d.woff2 ) }
a { background: url('e f.png'), image-set("g.avif" 1x, url(h.png) 2x); content: "no.png"; --x: url(i\(1\).png) }
/* url(no2.png) */ b { mask: URL(j.svg#icon); cursor: url(data:image/png;base64,AAA=) }
/*# sourceMappingURL=k.css.map */
"""


def test_files_that_a_style_sheet_names():
    found = list(references(SHEET))
    names = ["a.css", "b.css", "c.eot?#iefix", "d.woff2", "e f.png", "g.avif", "h.png", "i(1).png", "j.svg#icon"]
    assert [each.target for each in found] == [*names, "data:image/png;base64,AAA=", "k.css.map"]
    assert found[-1].kind == "map"
    plain = [each for each in found if "(" not in each.target]
    assert all(SHEET[each.start : each.end] == each.target for each in plain)


def test_an_address_without_an_end_names_no_file():
    assert not list(references("a{b:url(c.png"))
    assert not list(references("a{b:url( c.png\\"))


def read(text):
    for work in (references, css._rules):
        list(work(text))
    stripped(text)
    fallbacks(text)
    css._as_old_as("(min-", text)


@pytest.mark.parametrize("piece", ["a{b:url(", '\\"', "\\'"])
def test_sheets_that_are_cut_off_are_read_once(piece):
    assert grows_with(read, piece) < 10


def test_rules_in_rules_in_rules_are_taken_apart_to_some_depth():
    deep = "@media (min-width:1px) { a { height: 1vh; height: 1dvh } " * 300 + "}" * 300
    small = minified(deep)
    assert fallbacks(small) == fallbacks(deep)
    assert len(small) < len(deep)


def test_random_text_is_read_to_its_end():
    chance = random.Random(5)
    for _ in range(3_000):
        text = "".join(chance.choice("/*'\"(){}[];:,@a-. \n\\#url(!1") for _ in range(chance.randrange(40)))
        list(references(text))
        fallbacks(text)
        assert "".join(css._rules(text)) in text
        assert len(stripped(text)) <= len(text) + text.count("/*")
        minified(text)
