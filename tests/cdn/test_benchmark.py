"""What the benchmark makes of its figures: bars, an exit code, and a word for what is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import _verdict, cdn
from benchmarks._cdn_edge import assets, shown
from benchmarks._cdn_subjects import OURS
from noa_perf.cdn.manifest import Manifest, Picture, Variant
from tests.cdn.files import sources

EDGE = {"the page": {"assets": 3, "bytes": [1_000, 400], "asked": [60, 3]}}
WELL: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("javascript", "esbuild"): [{"seconds": 0.1, "bytes": [50, 54]}],
    ("javascript", "tdewolff"): [{"seconds": 0.3, "bytes": [50, 56]}],
    ("javascript", "terser"): [{"seconds": 2.5, "bytes": [50, 50]}],
    ("edges", "esbuild"): [{"asked": 25, "wrong": []}],
    ("edges", "tdewolff"): [{"asked": 25, "wrong": []}],
    ("edges", "rjsmin"): [{"asked": 25, "wrong": ["numbers"]}],
    ("images", OURS): [{"pictures": {"a": {"jpeg": 100, "avif": 60, "webp": 80}}, "seconds": 1.0}],
    ("build", OURS): [{"first": 10.0, "second": 0.5, "served": 100}],
    ("deploy", OURS): [
        {"assets": 5_000, "first": {"seconds": 9.0, "requests": 5_006, "uploaded": 5_000},
         "again": {"seconds": 1.0, "requests": 8, "uploaded": 0}}
    ],
    cdn.EDGE: [EDGE],
}  # fmt: skip


def deployed(requests):
    told = WELL["deploy", OURS][0]
    return [{**told, "again": {**told["again"], "requests": requests}}]


@pytest.mark.parametrize(
    ("spoilt", "missed"),
    [
        ({}, []),
        ({("javascript", "esbuild"): [{"seconds": 0.1, "bytes": [50, 55]}]}, ["bytes of scripts"]),
        ({("javascript", "esbuild"): [{"seconds": 0.126, "bytes": [50, 54]}]}, ["terser's time"]),
        ({("edges", "tdewolff"): [{"asked": 25, "wrong": ["numbers"]}]}, ["odd scripts"]),
        ({("images", OURS): [{"pictures": {"a": {"jpeg": 100, "avif": 73, "webp": 80}}}]}, ["AVIF"]),
        ({("images", OURS): [{"pictures": {"a": {"jpeg": 100, "avif": 60, "webp": 86}}}]}, ["WebP"]),
        ({("build", OURS): [{"first": 10.0, "second": 1.01, "served": 100}]}, ["one file changed"]),
        ({("deploy", OURS): deployed(10)}, ["5,000 unchanged"]),
        ({cdn.EDGE: [{"the page": {"assets": 3, "bytes": [1_000, 401], "asked": [60, 3]}}]}, ["bytes of its"]),
        ({cdn.EDGE: [{"the page": {"assets": 3, "bytes": [1_000, 400], "asked": [60, 13]}}]}, ["at the origin"]),
    ],
)
def test_a_bar_that_does_not_hold_ends_with_1(capsys, spoilt, missed):
    results = WELL | spoilt
    assert _verdict.end("json", "", cdn.rows(results), cdn.bars(results)) == bool(missed)
    printed = json.loads(capsys.readouterr().out)
    names = [one["name"] for one in printed["bars"] if not one["holds"]]
    assert len(names) == len(missed)
    assert all(part in name for part, name in zip(missed, names, strict=True))
    assert {"subject": "rjsmin", "kind": "edges", "rounds": WELL["edges", "rjsmin"]} in printed["rows"]


def test_half_and_twice_are_one_in_the_mean():
    assert cdn.mean([0.5, 2.0]) == pytest.approx(1.0)
    pictures = {"a": {"jpeg": 1_000, "avif": 500}, "b": {"jpeg": 10, "avif": 20}}
    assert cdn.against({("images", OURS): [{"pictures": pictures}]}, "avif") == pytest.approx(1.0)


def test_times_are_compared_within_their_round():
    rounds = {
        ("javascript", "esbuild"): [{"seconds": 1.0}, {"seconds": 5.0}, {"seconds": 1.0}],
        ("javascript", "terser"): [{"seconds": 30.0}, {"seconds": 150.0}, {"seconds": 10.0}],
    }
    assert cdn.ratio(rounds, ("javascript", "esbuild"), ("javascript", "terser"), "seconds") == 30.0


def test_what_cannot_be_measured_is_named_and_the_rest_goes_on(monkeypatch):
    def measure(kind, name, given=""):
        if name == "terser":
            raise cdn.Missing("no such thing")
        return WELL.get((kind, name), [{"seconds": 1.0, "bytes": [1], "first": 1.0, "second": 1.0, "served": 1}])[0]

    monkeypatch.setattr(cdn, "measure", measure)
    missing: dict[tuple[str, str], str] = {}
    results = cdn.rounds(2, missing)
    assert missing == {("edges", "terser"): "no such thing", ("javascript", "terser"): "no such thing"}
    assert len(results["javascript", "esbuild"]) == 2
    page = cdn.page({key: told for key, told in WELL.items() if key not in missing}, missing)
    assert "Missing: javascript, terser (no such thing)." in page
    assert cdn.lost(missing) == [("javascript", "terser")]
    assert cdn.lost({("edges", "rjsmin"): "x", cdn.EDGE: "x", ("build", "whitenoise"): "x"}) == []


def test_without_an_edge_its_bars_are_left_out_and_it_is_named():
    results = {key: told for key, told in WELL.items() if key != cdn.EDGE}
    missing = {cdn.EDGE: "varnish needs varnishd"}
    assert len(cdn.bars(results)) == len(cdn.bars(WELL)) - 2
    assert "Missing: edge" in cdn.page(results, missing)


def test_the_assets_of_a_page_are_those_that_it_names_and_what_these_name():
    found = sources({
        "a.css": '@import "b.css"; a { background: url(c.png) }', "b.css": "", "c.png": b"",
        "a.js": 'import "./b.js"', "b.js": 'import "./a.js"', "x.css": "",
    })  # fmt: skip
    html = (
        '<link href="/static/a.css"><script src="/static/a.js"></script><a href="/x.css"></a><img src="/static/c.png">'
    )
    assert assets(html, found) == ["a.css", "a.js", "c.png", "b.css", "b.js"]


def test_of_a_picture_the_least_that_fills_the_window_is_taken():
    variants = tuple(Variant(f"{width}.avif", "image/avif", width, 1, 1) for width in (480, 1_280, 1_920))
    manifest = Manifest(
        paths={"a.jpg": "a.1.jpg", "b.jpg": "b.1.jpg", "c.css": "c.1.css"}, assets={},
        pictures={"a.jpg": Picture(1_920, 1, variants), "b.jpg": Picture(700, 1, (variants[0],))},
    )  # fmt: skip
    assert [shown(manifest, path) for path in manifest.paths] == ["1280.avif", "480.avif", "c.1.css"]


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(("kind", "name"), [("javascript", "esbuild"), ("javascript", "terser"), ("edges", "rjsmin")])
def test_scripts_are_measured(kind, name):
    from tests.servers.node import Node
    from tests.servers.registry import get

    get(Node).packages()
    found = cdn.measure(kind, name)
    assert found.get("seconds", 1) > 0
    # As the package itself is, what it makes of a template within a template is another text.
    assert name != "rjsmin" or "templates within templates" in found["wrong"]
