from __future__ import annotations

import gzip
import hashlib
import logging
import random
import re

import brotli
import pytest

from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.pipeline import build as building
from noa_perf.cdn.pipeline.sources import Source
from noa_perf.cdn.pipeline.tdewolff import Died, Helper
from noa_perf.cdn.store import Store
from tests.cdn.files import build, photo, sources, text_of

SITE = {
    "css/app.css": '@import "base.css";\na { background: url("../img/a.svg#x"); color: #ff0000 }\n',
    "css/base.css": "b { background: url(/static/img/a.svg) ; margin : 0px }\n"
    + "".join(f".c{place} {{ color: tan; width: {place}px }}\n" for place in range(40)),
    "img/a.svg": "<svg xmlns='http://www.w3.org/2000/svg'><path d='M0 0L1 1'/></svg>" * 10,
    "img/photo.jpg": photo(),
    "js/app.js": 'import { b } from "./lib/b.js";\nimport("./late.js");\nconsole.log(b);\n',
    "js/lib/b.js": 'export const b = 1;\nexport const where = new URL("../../img/a.svg", import.meta.url);\n',
    "js/late.js": "export default 1;\n",
    "empty.txt": "",
    "odd name (1).txt": "text",
    "binary.bin": bytes(range(256)) * 4,
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_nothing_is_lost_and_everything_resolves(store):
    built = build(store, SITE)
    manifest = built.manifest
    assert set(manifest.paths) == set(SITE)
    assert not built.missing
    css = text_of(store, built, "css/app.css")
    assert manifest.paths["css/base.css"].rpartition("/")[2] in css
    assert "../" + manifest.paths["img/a.svg"] + "#x" in css
    assert "/static/" + manifest.paths["img/a.svg"] in text_of(store, built, "css/base.css")
    app = text_of(store, built, "js/app.js")
    assert "./lib/" + manifest.paths["js/lib/b.js"].rpartition("/")[2] in app
    assert "./" + manifest.paths["js/late.js"].rpartition("/")[2] in app
    assert "../../" + manifest.paths["img/a.svg"] in text_of(store, built, "js/lib/b.js")
    for path in ("binary.bin", "img/photo.jpg", "img/a.svg"):
        content = SITE[path] if isinstance(SITE[path], bytes) else SITE[path].encode()
        assert store.get(manifest.assets[manifest.paths[path]].blob) == content


def test_names_hash_what_is_in_the_file(store):
    built = build(store, SITE)
    for path, name in built.manifest.paths.items():
        (digits,) = re.findall(r"\.([0-9a-f]{12})(?:\.[^./]+)?$", name)
        data = store.get(built.manifest.assets[name].blob)
        assert digits == hashlib.sha256(data).hexdigest()[:12], path


def test_a_second_build_does_nothing_and_is_equal_to_the_byte(store, tmp_path):
    first = build(store, SITE)
    assert first.made > 0
    second = build(store, SITE)
    assert second.made == 0
    assert second.manifest.to_json() == first.manifest.to_json()
    afresh = build(Store(tmp_path / "other"), SITE, workers=1)
    assert afresh.manifest.to_json() == first.manifest.to_json()


def test_one_changed_file_makes_anew_only_what_depends_on_it(store):
    before = build(store, SITE).manifest
    changed = build(store, SITE | {"img/a.svg": SITE["img/a.svg"] + "<!-- -->"})
    after = changed.manifest
    depend = {"img/a.svg", "css/app.css", "css/base.css", "js/lib/b.js", "js/app.js"}
    assert {path for path in SITE if before.paths[path] != after.paths[path]} == depend
    # Compressed forms of what is worth it, in two encodings; nothing is minified and no picture made again.
    assert changed.made <= 2 * len(depend)
    assert after.pictures == before.pictures


def test_files_that_name_one_another_get_names_all_the_same(store):
    ring = {
        "a.js": 'import "./b.js";\nexport const a = 1;\n',
        "b.js": 'import "./c.js";\nexport const b = 1;\n',
        "c.js": 'import "./a.js";\nexport const c = 1;\n',
        "self.css": "@import 'self.css'; a { color: red }",
    }
    one = build(store, ring)
    for path, other in (("a.js", "b.js"), ("b.js", "c.js"), ("c.js", "a.js"), ("self.css", "self.css")):
        assert one.manifest.paths[other] in text_of(store, one, path)
    two = build(store, ring | {"c.js": ring["c.js"].replace("1", "2")})
    assert all(one.manifest.paths[path] != two.manifest.paths[path] for path in ("a.js", "b.js", "c.js"))
    assert one.manifest.paths["self.css"] == two.manifest.paths["self.css"]


def test_what_is_named_and_not_there_is_told_and_left(store):
    built = build(
        store,
        {
            "css/a.css": 'a{background:url("../no.png")}b{background:url(../../out.png)}',
            "b.js": "//# sourceMappingURL=b.js.map\n",
        },
    )
    assert sorted((each.source, each.target) for each in built.missing) == [
        ("css/a.css", "../../out.png"), ("css/a.css", "../no.png"),
    ]  # fmt: skip
    assert "../no.png" in text_of(store, built, "css/a.css")


def test_a_source_map_of_a_kept_file_follows_it(store):
    built = build(store, {
        "a.min.js": "var a = 1;\n//# sourceMappingURL=a.min.js.map\n", "a.min.js.map": "{}",
        "b.min.css": "a { color: #ff0000 }\n/*# sourceMappingURL=b.min.css.map */", "b.min.css.map": "{}",
    }, javascript="tdewolff")  # fmt: skip
    assert text_of(store, built, "a.min.js").endswith(f"sourceMappingURL={built.manifest.paths['a.min.js.map']}\n")
    assert "#ff0000" in text_of(store, built, "b.min.css")
    assert built.manifest.paths["b.min.css.map"] in text_of(store, built, "b.min.css")


def test_what_is_kept_is_published_as_it_is(store):
    contents = {
        "vendor/a.css": "a  {  color : #ff0000 }",
        "own.css": "a  {  color : #ff0000 }",
        "vendor/b.jpg": photo(),
    }
    built = build(store, contents, keep=("vendor/*",))
    assert text_of(store, built, "vendor/a.css") == contents["vendor/a.css"]
    assert text_of(store, built, "own.css") == "a{color:red}"
    assert not built.manifest.pictures


def test_compressed_forms_are_the_file_again_and_worth_it(store):
    built = build(store, SITE)
    forms = 0
    for asset in built.manifest.assets.values():
        data = store.get(asset.blob)
        for encoding, blob in asset.encoded.items():
            small = store.get(blob)
            assert (brotli.decompress if encoding == "br" else gzip.decompress)(small) == data
            assert len(small) <= 0.95 * len(data)
            forms += 1
    assert forms >= 4
    assert not built.manifest.assets[built.manifest.paths["img/photo.jpg"]].encoded
    assert not built.manifest.assets[built.manifest.paths["empty.txt"]].encoded
    noise = build(store, {"noise.txt": random.Random(1).randbytes(4_000)})
    assert not noise.manifest.assets[noise.manifest.paths["noise.txt"]].encoded


def test_zopfli_is_smaller_and_still_gzip(store):
    built, more = (
        build(store, {"a.css": SITE["css/base.css"]}, precompress=("gzip",), zopfli=z) for z in (False, True)
    )
    (one,), (two,) = (each.manifest.assets.values() for each in (built, more))
    assert two.encoded["gzip"].size <= one.encoded["gzip"].size
    assert gzip.decompress(store.get(two.encoded["gzip"])) == store.get(two.blob)


def test_what_is_not_utf_8_stays_as_it_is(store):
    latin = "a { content: 'é' }".encode("latin-1")
    bom = "\ufeffa  { color: #ff0000 }".encode()
    built = build(store, {"latin.css": latin, "latin.js": latin, "bom.css": bom}, javascript="tdewolff")
    for path in ("latin.css", "latin.js"):
        assert store.get(built.manifest.assets[built.manifest.paths[path]].blob) == latin
    assert text_of(store, built, "bom.css") == "a{color:red}"


def test_what_is_not_utf_8_says_its_charset_itself(store, caplog):
    caplog.set_level(logging.WARNING, "noa_perf.cdn")
    latin = '@charset "iso-8859-1"; a { content: "é" }'.encode("latin-1")
    built = build(store, {"a.css": latin, "a.js": latin, "a.txt": latin, "b.css": "a{content:'é'}", "c.bin": latin})
    kinds = {path: built.manifest.assets[name].type for path, name in built.manifest.paths.items()}
    assert kinds == {
        "a.css": "text/css", "a.js": "text/javascript", "a.txt": "text/plain", "b.css": "text/css; charset=utf-8",
        "c.bin": "application/octet-stream",
    }  # fmt: skip
    assert sorted(each.args[0] for each in caplog.records if "not UTF-8" in each.message) == ["a.css", "a.js"]


def test_what_a_minifier_died_over_is_made_again(store, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "noa_perf.cdn")
    script = {"a.js": "function outer(argument) {\n  // why\n  let another = argument + 2;\n  return another;\n}\n"}

    def dies(*args):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Helper, "minified", dies)
        first = build(store, script, javascript="tdewolff")
    assert "// why" not in text_of(store, first, "a.js")
    assert "argument" in text_of(store, first, "a.js")
    assert "a.js is less small" in caplog.text
    second = build(store, script, javascript="tdewolff")
    afresh = build(Store(tmp_path / "other"), script, javascript="tdewolff")
    assert second.manifest == afresh.manifest
    assert "argument" not in text_of(store, second, "a.js")
    assert build(store, script, javascript="tdewolff").made == 0


def test_a_store_of_strange_notes_is_as_one_without(store):
    first = build(store, SITE)
    for place, note in enumerate(sorted(store.folder.glob("notes/*/*"))):
        note.write_bytes([b"[1]", b'{"a": 1}', b"5", b'[[1, 2, "x"]]', b"[1, 2, 3]"][place % 5])
    assert build(store, SITE).manifest == first.manifest


def test_a_name_that_is_not_utf_8_is_refused():
    with pytest.raises(BuildError, match=r"caf\\udce9\.css.*not UTF-8.*IGNORE"):
        sources({"css/caf\udce9.css": ""})


def test_a_store_that_lost_files_makes_them_again(store):
    first = build(store, SITE)
    for path in sorted(store.folder.glob("blobs/*/*"))[::2]:
        path.unlink()
    second = build(store, SITE)
    assert second.manifest == first.manifest
    assert all(store.has(blob) for asset in second.manifest.assets.values() for _, _, blob in asset.forms())


def test_what_cannot_be_read_ends_the_build_with_its_name(store):
    def fails():
        raise BuildError("a.css cannot be read")

    wanted = sources({"b.css": "b{c:d}"}) | {"a.css": Source("a.css", fails, "a.css")}
    with pytest.raises(BuildError, match=r"a\.css"):
        building.Build(store, building.Options(javascript="off")).run(wanted)


@pytest.mark.parametrize("path", ["../a.css", "/etc/passwd", "a/../../b", "..", "a\0b"])
def test_paths_that_lead_out_are_refused(path):
    with pytest.raises(BuildError, match="leads out"):
        sources({path: ""})


def test_a_full_disk_is_said_to_be_one(store, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("noa_perf.cdn.store.write_whole", full)
    with pytest.raises(BuildError, match=r"BUILD_DIR.*with room"):
        build(store, SITE)
