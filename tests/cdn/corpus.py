"""Static files that others wrote: packages from npm, and what the finders find here; their builds, as folders."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from noa_perf.cdn.pipeline.build import Build, Built, Options
from noa_perf.cdn.pipeline.minifier import find_esbuild
from noa_perf.cdn.pipeline.sources import Source, found
from noa_perf.cdn.store import Store
from tests.servers.node import Node
from tests.servers.registry import get

FILES = {
    "bootstrap": ("dist/css/bootstrap.*", "dist/css/bootstrap-reboot.*", "dist/js/*"),
    "d3": ("dist/*.js",),
    "lodash": ("lodash.js", "core.js"),
    "react": ("umd/*.js",),
    "react-dom": ("umd/*.js",),
    "tailwindcss": ("dist/tailwind.css", "dist/base.css"),
    # Modules that name each other, in circles too; "three" itself they name as a package.
    "three": ("build/three.js", "build/three.module.js", "examples/jsm/math/*.js", "examples/jsm/curves/*.js",
              "examples/jsm/nodes/**/*.js", "examples/jsm/geometries/*.js", "examples/jsm/utils/*.js"),
}  # fmt: skip


def sources() -> dict[str, Source]:
    """Return the files of the packages, of Django's admin, and of the test project."""
    packages = get(Node).packages()
    files = [
        path
        for package, patterns in FILES.items()
        for pattern in patterns
        for path in sorted((packages / package).glob(pattern))
        if path.is_file() and ".rtl." not in path.name  # the same once more, from right to left
    ]
    fetched = {path.relative_to(packages).as_posix(): path for path in files}
    return {name: Source(name, path.read_bytes, str(path)) for name, path in fetched.items()} | found(())


def esbuild() -> str:
    """Return the path of the corpus' esbuild."""
    program = find_esbuild(folder=get(Node).packages().parent)
    assert program
    return program


def build(store: Store, wanted: dict[str, Source], tool: str) -> Built:
    """Build with ``tool`` for JavaScript; brotli at its highest level would take most of the time, and is left out."""
    options = Options(javascript=tool, esbuild=esbuild() if tool == "esbuild" else "", precompress=("gzip",), workers=2)
    return Build(store, options).run(wanted)


def lay_out(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files below a folder, where Node takes ``three`` for a package and its files for modules."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def original(wanted: dict[str, Source]) -> dict[str, bytes]:
    """Return the files as they were written, by path."""
    return {path: source.read() for path, source in wanted.items()}


def published(store: Store, built: Built) -> dict[str, bytes]:
    """Return the files as they are published, by name."""
    read = partial(store.get)
    return {name: read(asset.blob) for name, asset in built.manifest.assets.items()}
