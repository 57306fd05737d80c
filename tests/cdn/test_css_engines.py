"""Style sheets are for browsers of all ages and engines: nothing is written that only some of them know."""

from __future__ import annotations

import pytest

from noa_perf.cdn.pipeline.css import minified


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@media (min-width: 600px) { a { color: red } }", "@media (min-width:600px){a{color:red}}"),
        (
            "@media (max-height: calc(1em + 2px)) { a { color: red } }",
            "@media (max-height:calc(1em + 2px)){a{color:red}}",
        ),
        (
            "@media (-webkit-min-device-pixel-ratio: 2), (min-resolution: 2dppx) { a { color: red } }",
            "@media (-webkit-min-device-pixel-ratio:2),(min-resolution:2dppx){a{color:red}}",
        ),
        ('@import url("a.css") screen and (min-width: 3px);', '@import "a.css" screen and (min-width:3px);'),
        # Whoever writes the new form has it; what is text stays text.
        ("@media (width >= 600px) { a { color: red } }", "@media (width>=600px){a{color:red}}"),
        (
            '@media (min-width: 1px) { a { content: "@media (width>=1px)"; color: red } }',
            '@media (min-width:1px){a{content:"@media (width>=1px)";color:red}}',
        ),
        ("a { top: 0px; right: 0px; bottom: 0px; left: 0px }", "a{top: 0px;right: 0px;bottom: 0px;left: 0px}"),
        ("a { overflow-x: auto; overflow-y: hidden }", "a{overflow-x: auto;overflow-y: hidden}"),
        # border would set border-image too.
        (
            "a { border-width: 1px 2px; border-style: solid; border-color: #ff0000 }",
            "a{border-width: 1px 2px;border-style: solid;border-color: #ff0000}",
        ),
        (
            "a { -webkit-text-decoration: underline dotted; text-decoration: underline dotted }",
            "a{-webkit-text-decoration: underline dotted;text-decoration: underline dotted}",
        ),
    ],
)
def test_what_older_browsers_read_stays(text, expected):
    assert minified(text) == expected


def test_beside_such_a_rule_and_around_it_all_gets_small():
    odd = "a { top: 0; right: 0; bottom: 0; left: 0 }"
    text = f".b {{ color: #ff0000 }} @media print {{ .c {{ color: #ff0000 }} {odd} .d {{ color: #ff0000 }} }}"
    assert minified(text) == (
        ".b{color:red}@media print{.c{color:red}a{top: 0;right: 0;bottom: 0;left: 0}.d{color:red}}"
    )


def test_whoever_names_browsers_gets_what_they_know():
    text = "a { top: 0; right: 0; bottom: 0; left: 0 } @media (min-width: 600px) { a { color: red } }"
    assert minified(text, ["chrome 125"]) == "a{inset:0}@media (width>=600px){a{color:red}}"
    assert "min-width" in minified(text, ["safari 14"])
