"""What a page's assets weigh, and how often the origin is asked for them: without anything, and through the edge."""

from __future__ import annotations

import http.client
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import waitress.server
import whitenoise

from noa_perf.cdn import building
from noa_perf.cdn.manifest import Manifest
from noa_perf.cdn.pipeline import css, javascript
from noa_perf.cdn.pipeline.build import Build
from noa_perf.cdn.pipeline.references import resolve
from noa_perf.cdn.pipeline.sources import Source
from noa_perf.cdn.publish import deploy
from noa_perf.cdn.releases import Releases
from noa_perf.cdn.store import Store
from noa_perf.cdn.targets.folder import Folder
from tests.servers.varnish import Varnish

VISITORS = 20
"""Each with an empty cache, one after the other."""
SLOT = 1120
"""Pixels at which a window of 1,280 shows the shop's picture: its ``sizes`` say so."""
_LINKS = re.compile(r"""(?:src|href)="/static/([^"]+)\"""")


class Origin:
    """A folder served by whitenoise and waitress on loopback, which counts what it is asked for."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self.asked = 0
        served = whitenoise.WhiteNoise(_nothing, root=str(folder), prefix="static/")

        def counted(environ: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            self.asked += 1
            return served(environ, start)  # type: ignore[no-any-return]

        self._server = waitress.server.create_server(counted, host="127.0.0.1", port=0, threads=4)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.effective_port}"

    def stop(self) -> None:
        """End it."""
        self._server.close()
        self._thread.join(10)


def _nothing(environ: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("404 Not Found", [])
    return []


@contextmanager
def origin(folder: Path) -> Iterator[Origin]:
    """Serve a folder meanwhile."""
    made = Origin(folder)
    try:
        yield made
    finally:
        made.stop()


def assets(html: str, sources: Mapping[str, Source]) -> list[str]:
    """Return the assets of a page: those that it links to, and the style sheets and modules that these name."""
    found = list(dict.fromkeys(_LINKS.findall(html)))
    for path in found:
        scan = {".css": css.references, ".js": javascript.references}.get(Path(path).suffix)
        for reference in scan(sources[path].read().decode()) if scan else ():
            target = resolve(path, reference, "/static/")
            if target and target.path.endswith((".css", ".js")) and target.path in sources and target.path not in found:
                found.append(target.path)
    return found


def shown(manifest: Manifest, path: str) -> str:
    """Return what a browser that knows AVIF takes of an asset: of a picture the least that fills its slot."""
    picture = manifest.pictures.get(path)
    variants = [each for each in picture.variants if each.type == "image/avif"] if picture else []
    if not picture or not variants:
        return manifest.paths[path]
    filling = [each for each in variants if each.width >= min(SLOT, picture.width)]
    return min(filling, key=lambda each: each.width).name if filling else variants[-1].name


def weigh(url: str, names: Iterable[str]) -> int:
    """Return the bytes of bodies that a visitor with an empty cache is sent."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    total = 0
    for name in names:
        connection.request("GET", f"/static/{name}", headers={"Accept-Encoding": "br, gzip"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or not body:
            raise AssertionError(f"{url}/static/{name} answered {answer.status}")
        total += len(body)
    connection.close()
    return total


def measure(varnish: Varnish, pages: Mapping[str, str], sources: Mapping[str, Source], esbuild: str) -> dict[str, Any]:
    """Return of each page's assets the bytes for a visitor, and what the origin was asked for by all of them."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        plain, built = Path(place) / "plain", Path(place) / "built"
        for path, source in sources.items():
            (plain / path).parent.mkdir(parents=True, exist_ok=True)
            (plain / path).write_bytes(source.read())
        store = Store(Path(place) / "store")
        # As the shop's own settings say, so that its pictures have the widths that its pages ask for.
        manifest = Build(store, replace(building.options(), esbuild=esbuild)).run(sources).manifest
        deploy(manifest, store, Releases(Folder(built)), brake=1.0)
        with origin(plain) as before, origin(built) as after:
            for page, html in pages.items():
                paths = assets(html, sources)
                varnish.put_before(after.url)
                before.asked = after.asked = 0
                without = [weigh(before.url, paths) for _ in range(VISITORS)]
                names = [shown(manifest, path) for path in paths]
                through = [weigh(varnish.urls()["varnish"], names) for _ in range(VISITORS)]
                found[page] = {
                    "assets": len(paths), "bytes": [without[0], through[0]], "asked": [before.asked, after.asked],
                }  # fmt: skip
    return found
