"""Measures one subject in a process of its own: ``python -m benchmarks._cdn_worker KIND NAME ARGUMENT``."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import _cdn_subjects as subjects
from tests.servers.node import PLACE, Node

PACKAGES = PLACE / "node_modules"
SHOP = Path(__file__).resolve().parent.parent / "testproject" / "shop" / "static"
PHOTOGRAPHS = (
    "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg",
    "rocket.jpg",
)  # fmt: skip
"""All colour photographs that scikit-image's wheel holds; of the stereo pair the left one."""
ASSETS = 5_000
Figures = dict[str, Any]


def javascript(name: str, _: str) -> Figures:
    """Return how long the scripts took, and what they weigh then."""
    files = [PACKAGES / path for path in subjects.SCRIPTS]
    if name == "terser":
        return dict(json.loads(_node("_cdn_terser.mjs", PACKAGES, "", *files)))
    small = subjects.minifier(name, subjects.esbuild(PACKAGES))
    small("var  warm = 1")  # what is started once for a build
    texts = [file.read_text() for file in files]
    begin = time.perf_counter()
    made = [small(text) for text in texts]
    return {"seconds": time.perf_counter() - begin, "bytes": [len(each.encode()) for each in made]}


def edges(name: str, _: str) -> Figures:
    """Return which of the odd scripts of the tests print something else once they are small."""
    from tests.cdn.snippets import SNIPPETS

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, text in enumerate(SNIPPETS.values()):
            (folder / f"was{number}.js").write_text(text)
        _make_small(name, folder, list(SNIPPETS.values()))
        wrong = [
            title for number, title in enumerate(SNIPPETS)
            if _printed(folder / f"was{number}.js") != _printed(folder / f"{number}.js")
        ]  # fmt: skip
    return {"asked": len(SNIPPETS), "wrong": wrong}


def _make_small(name: str, folder: Path, texts: list[str]) -> None:
    if name != "terser":
        small = subjects.minifier(name, subjects.esbuild(PACKAGES))
        for number, text in enumerate(texts):
            (folder / f"{number}.js").write_text(small(text))
        return
    for number in range(len(texts)):
        with tempfile.TemporaryDirectory() as own, contextlib.suppress(RuntimeError):
            _node("_cdn_terser.mjs", PACKAGES, own, folder / f"was{number}.js")
            shutil.copy(f"{own}/0.js", folder / f"{number}.js")
        if not (folder / f"{number}.js").exists():  # it did not read it, and whoever asked keeps his file
            shutil.copy(folder / f"was{number}.js", folder / f"{number}.js")


def _printed(file: Path) -> str:
    try:
        return _node(file)
    except RuntimeError as error:
        return f"failed: {str(error)[:200]}"


def _node(script: str | Path, *arguments: Path | str) -> str:
    import subprocess

    path = script if isinstance(script, Path) else Path(__file__).with_name(script)
    program = shutil.which("node") or Node.programs["node"]
    done = subprocess.run([program, str(path), *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return done.stdout


def images(name: str, _: str) -> Figures:
    """Return of each photograph the bytes as JPEG, and as the variants that look as good; seconds for all."""
    import skimage
    from PIL import Image

    from noa_perf.cdn.pipeline import images as pipeline

    found: Figures = {}
    begin = time.perf_counter()
    for photograph in PHOTOGRAPHS:
        with Image.open(Path(skimage.__file__).with_name("data") / photograph) as image:
            plain = pipeline._upright(image)
        assert plain is not None
        jpeg, png = io.BytesIO(), io.BytesIO()
        plain.save(jpeg, "JPEG", quality=pipeline.REFERENCE)
        plain.save(png, "PNG", compress_level=1)  # without loss, so that every variant is kept
        sizes = {"jpeg": len(jpeg.getvalue())}
        for format_ in ("avif", "webp"):
            made = pipeline.processed(png.getvalue(), photograph, formats=(format_,), widths=(), max_pixels=50_000_000)
            assert made is not None
            (each,) = made.variants
            sizes[format_] = len(each.data)
            if pipeline.similarity(plain, each.data) < pipeline.similarity(plain, jpeg.getvalue()):
                raise AssertionError(f"{photograph} as {format_} looks worse than the JPEG")
        found[photograph] = sizes
    return {"pictures": found, "seconds": time.perf_counter() - begin}


def build(name: str, place: str) -> Figures:
    """Return how long ``collectstatic`` takes: the first time, and again after one file changed; and all its bytes."""
    storage = next(each for each in subjects.STORAGES if each.name == name)
    folder = Path(place)
    sources = folder / "sources"
    for path in subjects.BUILT:
        (sources / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGES / path, sources / path)
    own = sources / "own" / "site.css"
    own.parent.mkdir()
    own.write_text("body { margin: 0px }\n")
    _configure(storage, folder, sources)
    first = _collect()
    own.write_text("body { margin: 1px }\n")
    second = _collect()
    return {"first": first, "second": second, **_served(storage, folder / "static")}


def _configure(storage: subjects.Storage, folder: Path, sources: Path) -> None:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="a benchmark has no secret to keep", BASE_DIR=folder, DEBUG=False,
        INSTALLED_APPS=["django.contrib.staticfiles", "django.contrib.admin", "django.contrib.auth",
                        "django.contrib.contenttypes", "rest_framework", "noa_perf.cdn"],
        STATIC_URL="/static/", STATIC_ROOT=str(folder / "static"), STATICFILES_DIRS=[str(sources), str(SHOP)],
        STORAGES={"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
                  "staticfiles": {"BACKEND": storage.backend}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        NOA_PERF={"CDN": {"ESBUILD": subjects.esbuild(PACKAGES)}},
    )  # fmt: skip
    django.setup()


def _collect() -> float:
    from django.core.management import call_command

    begin = time.perf_counter()
    call_command("collectstatic", interactive=False, verbosity=0)
    return time.perf_counter() - begin


def _served(storage: subjects.Storage, root: Path) -> Figures:
    """Return the bytes of all style sheets and scripts as a browser that knows brotli gets them."""
    total = 0
    for name in _published(storage, root):
        if name.endswith((".css", ".js")):
            forms = [root / name, root / f"{name}.br", root / f"{name}.gz"]
            total += min(each.stat().st_size for each in forms if each.exists())
    return {"served": total}


def _published(storage: subjects.Storage, root: Path) -> list[str]:
    if storage.name == subjects.OURS:
        from django.contrib.staticfiles.storage import staticfiles_storage

        manifest = staticfiles_storage.live.manifest()  # type: ignore[attr-defined]
        return list(manifest.paths.values())
    return list(json.loads((root / "staticfiles.json").read_text())["paths"].values())


def deploy(name: str, url: str) -> Figures:
    """Return how many requests a deploy of unchanged assets makes, and how long it and the first one took."""
    from noa_perf.cdn.manifest import Asset, Manifest
    from noa_perf.cdn.publish import deploy as publish
    from noa_perf.cdn.releases import Releases
    from noa_perf.cdn.store import Store
    from noa_perf.cdn.targets.s3 import Bucket

    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place))
        assets = {}
        for number in range(ASSETS):
            blob = store.put(f"asset {number}".encode())
            asset = f"own/{number}.{blob.sha256[:12]}.txt"
            assets[asset] = Asset(asset, blob, "text/plain; charset=utf-8")
        manifest = Manifest(paths={each: each for each in assets}, assets=assets)
        client = _client(url)
        client.create_bucket(Bucket="assets")
        sent: list[str] = []
        client.meta.events.register("before-send.s3", lambda request, **more: sent.append(request.method))
        figures: Figures = {"assets": ASSETS}
        for which in ("first", "again"):
            sent.clear()
            begin = time.perf_counter()
            done = publish(manifest, store, Releases(Bucket(client, "assets")), brake=0.3)
            figures[which] = {
                "seconds": time.perf_counter() - begin, "requests": len(sent), "uploaded": done.uploaded
            }  # fmt: skip
        return figures


def _client(url: str) -> Any:
    import boto3
    from botocore.config import Config

    from tests.servers.s3 import CREDENTIALS

    return boto3.client(
        "s3", endpoint_url=url, region_name=CREDENTIALS["region_name"],
        aws_access_key_id=CREDENTIALS["access_key"], aws_secret_access_key=CREDENTIALS["secret_key"],
        config=Config(proxies={}, max_pool_connections=32, retries={"max_attempts": 3}),
    )  # fmt: skip


KINDS = {"javascript": javascript, "edges": edges, "images": images, "build": build, "deploy": deploy}


@contextlib.contextmanager
def place_for(kind: str, given: str) -> Iterator[str]:
    """Give a build a folder of its own."""
    if kind != "build":
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield folder


if __name__ == "__main__":
    kind, name, given = sys.argv[1:4]
    with place_for(kind, given) as argument:
        print(json.dumps(KINDS[kind](name, argument)))
