from __future__ import annotations

import pytest

from noa_perf.cdn.exceptions import BadManifest
from noa_perf.cdn.manifest import Asset, Manifest, Picture, Variant
from noa_perf.cdn.store import blob_of

CSS = blob_of(b"a{}")
WEBP = blob_of(b"webp")


def manifest(**given):
    assets = {
        "css/a.1.css": Asset(
            "css/a.1.css", CSS, "text/css; charset=utf-8", {"br": blob_of(b"br"), "gzip": blob_of(b"gz")}
        ),
        "grüße.2.webp": Asset("grüße.2.webp", WEBP, "image/webp"),
    }
    pictures = {"grüße.jpg": Picture(960, 640, (Variant("grüße.2.webp", "image/webp", 480, 320, WEBP.size),))}
    return Manifest(**{"paths": {"css/a.css": "css/a.1.css"}, "assets": assets, "pictures": pictures, **given})


def test_it_is_read_as_it_was_written():
    assert Manifest.from_json(manifest().to_json()) == manifest()
    assert Manifest.from_json(manifest().to_json().encode()).id == manifest().id


def test_its_id_is_of_what_it_holds_and_of_no_order():
    turned = manifest(assets=dict(reversed(manifest().assets.items())))
    assert turned.to_json() == manifest().to_json()
    assert manifest(paths={}).id != manifest().id
    assert len(manifest().id) == 16


def test_each_form_has_a_name_of_its_own():
    forms = [(name, encoding) for name, encoding, _ in manifest().assets["css/a.1.css"].forms()]
    assert forms == [("css/a.1.css", ""), ("css/a.1.css.br", "br"), ("css/a.1.css.gz", "gzip")]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "{}", '{"version": 1, "paths": {}}', '{"version": 1, "paths": {}, "assets": {"a": {}}}'],
)
def test_what_is_none_is_told_so_and_where(text):
    with pytest.raises(BadManifest, match=r"^live\.json is no manifest"):
        Manifest.from_json(text, "live.json")


def test_one_of_another_version_is_to_be_built_anew():
    with pytest.raises(BadManifest, match="version 2, and this noa_perf reads 1: build it anew"):
        Manifest.from_json(manifest().to_json().replace('"version":1', '"version":2'))
