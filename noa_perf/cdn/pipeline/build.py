"""The build, from top to bottom: read, make small, make variants, name by content, compress, and list it all."""

from __future__ import annotations

import hashlib
import logging
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.manifest import Asset, Blob, Manifest, Picture, Variant
from noa_perf.cdn.patterns import matches
from noa_perf.cdn.pipeline import compress, css, images, javascript
from noa_perf.cdn.pipeline.minifier import Minifier, Unsettled
from noa_perf.cdn.pipeline.references import Reference, Target, knots, resolve, rewrite, written
from noa_perf.cdn.pipeline.sources import Source
from noa_perf.cdn.store import Store
from noa_perf.cdn.types import compressible, content_type, is_text
from noa_perf.cdn.working import Progress, at_once, silent

T = TypeVar("T")

logger = logging.getLogger("noa_perf.cdn")

DIGITS = 12
"""Hexadecimal digits of the hash in a name: 48 bits, as Django's own, so that WhiteNoise knows them as immutable."""

_STEP = "3"
"""Raised when a step makes something else of the same input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to build."""

    static_url: str = "/static/"
    keep: tuple[str, ...] = ()
    javascript: str = "auto"
    esbuild: str = ""
    css: str = "auto"
    css_targets: tuple[str, ...] = ()
    precompress: tuple[str, ...] = ("br", "gzip")
    zopfli: bool = False
    formats: tuple[str, ...] = ("avif", "webp")
    widths: tuple[int, ...] = (480, 960, 1920)
    max_pixels: int = 50_000_000
    workers: int = 0
    """Threads; 0: as many as there are processors."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that another one names, and that is not there."""

    source: str
    target: str


@dataclass(slots=True)
class Built:
    """What came of a build."""

    manifest: Manifest
    missing: list[Missing] = field(default_factory=list)
    before: dict[str, int] = field(default_factory=dict)
    """Bytes of the sources by their Content-Type."""
    made: int = 0
    """Steps that ran; the others were remembered."""
    without: list[str] = field(default_factory=list)
    """What was left out for want of a package."""


@dataclass(slots=True)
class _File:
    """One file on its way."""

    path: str
    source: Blob
    blob: Blob
    """Its bytes now."""
    references: list[tuple[Reference, Target]] = field(default_factory=list)
    name: str = ""
    utf8: bool = True
    """Whether its bytes are that, if it is text."""


class Build:
    """One build; :meth:`run` does it."""

    def __init__(self, store: Store, options: Options, progress: Progress = silent) -> None:
        """Keep what is made in ``store``; call ``progress(label, total, items)`` around each long stretch."""
        self.store = store
        self.options = options
        self.progress = progress
        self.made = 0

    def run(self, sources: Mapping[str, Source]) -> Built:
        """Build ``sources``.

        Raises :class:`~noa_perf.cdn.exceptions.BuildError` for what cannot be read or built.
        """
        script = Minifier(self.options.javascript, self.options.esbuild)
        with closing(script):
            self._script = script
            self._versions = {".js": script.version, ".mjs": script.version, ".css": self._css_version()}
            files = {each.path: each for each in self._each("Minify", self._read, list(sources.values()))}
        missing = [each for file in files.values() for each in self._link(file, files)]
        self._name(files)
        self._foreign = {file.name for file in files.values() if not file.utf8}
        pictures, variants = self._pictures(files)
        blobs = {file.name: file.blob for file in files.values()} | variants
        assets = dict(self._each("Compress", self._asset, sorted(blobs.items())))
        paths = {file.path: file.name for file in files.values()}
        return Built(
            Manifest(paths=paths, assets=assets, pictures=pictures),
            missing, self._before(files), self.made, self._without(),
        )  # fmt: skip

    # The files themselves.

    def _read(self, source: Source) -> _File:
        data = source.read()
        blob = self.store.put(data)
        utf8 = not is_text(source.path) or _is_utf8(data)
        if not utf8 and source.path.lower().endswith((".css", ".js", ".mjs")):
            logger.warning(
                "noa_perf.cdn: %s is not UTF-8: it is published as it is, and what it names keeps its plain name.",
                source.where,
            )
        return _File(source.path, blob, self._minified(source.path, blob), utf8=utf8)

    def _minified(self, path: str, blob: Blob) -> Blob:
        """Return the bytes of a style sheet or script made small; of another file, or a kept one, its own."""
        suffix = posixpath.splitext(path)[1].lower()
        version = self._versions.get(suffix, "none")
        # *.min.*: somebody has made it small already, and wrote a source map for it.
        if version == "none" or ".min." in posixpath.basename(path) or matches(path, self.options.keep):
            return blob
        make = self._small_css if suffix == ".css" else self._script.minified

        def small() -> bytes | None:
            try:
                text = self.store.get(blob).decode("utf-8-sig")
            except UnicodeDecodeError:
                return None  # in another encoding, which its @charset or the page tells
            made = make(text).encode()
            return made if len(made) < blob.size else None

        targets = self.options.css_targets if suffix == ".css" else ()
        try:
            return self._transformed(small, "minify", version, targets, blob.sha256) or blob
        except Unsettled as error:  # not remembered: the next build tries again
            logger.warning("noa_perf.cdn: %s is less small than it might be: %s.", path, error)
            return self.store.put(error.text.encode())

    def _small_css(self, text: str) -> str:
        return css.minified(text, self.options.css_targets)

    def _css_version(self) -> str:
        if self.options.css == "lightningcss" and not css.installed():
            raise BuildError(
                "NOA_PERF['CDN']['CSS'] is 'lightningcss', and it is not installed: pip install noa-perf[cdn]."
            )
        return "none" if self.options.css == "off" else css.version()

    # What they name of one another.

    def _link(self, file: _File, files: Mapping[str, _File]) -> Iterator[Missing]:
        scan = {".css": css.references, ".js": javascript.references, ".mjs": javascript.references}
        scanner = scan.get(posixpath.splitext(file.path)[1].lower())
        for reference in self._scanned(scanner, file.blob) if scanner else ():
            target = resolve(file.path, reference, self.options.static_url)
            if target is None:
                continue
            if target.path in files:
                file.references.append((reference, target))
            elif reference.kind != "map":  # a tool for developers says so itself
                yield Missing(file.path, reference.target)

    def _scanned(self, scanner: Callable[[str], Iterable[Reference]], blob: Blob) -> Iterator[Reference]:
        known = self.store.recall("references", _STEP, scanner.__module__, blob.sha256)
        if known is None:
            self.made += 1
            text = self._text(blob)
            found = [] if text is None else [*scanner(text)]
            known = [[each.start, each.end, each.target, each.kind] for each in found]
            self.store.remember(known, "references", _STEP, scanner.__module__, blob.sha256)
        for each in known:
            yield Reference(*each)

    def _text(self, blob: Blob) -> str | None:
        try:
            return self.store.get(blob).decode()
        except UnicodeDecodeError:
            return None

    def _name(self, files: Mapping[str, _File]) -> None:
        """Give each file the name that its content hashes to, once those that it names have theirs.

        Files that name one another share a hash of all their contents, as they are before names are written in.
        """
        graph = {path: [target.path for _, target in file.references] for path, file in files.items()}
        for group in knots(graph):
            knot = len(group) > 1 or group[0] in graph[group[0]]
            if knot:
                outside = {path: self._rewritten(files[path], files, set(group)) for path in group}
                together = hashlib.sha256()
                for path in group:
                    together.update(f"{path}\0{hashlib.sha256(outside[path]).hexdigest()}\n".encode())
                for path in group:
                    files[path].name = named(path, together.hexdigest())
            for path in group:
                file = files[path]
                if file.references:
                    file.blob = self.store.put(self._rewritten(file, files, set()))
                if not knot:
                    file.name = named(path, file.blob.sha256)

    def _rewritten(self, file: _File, files: Mapping[str, _File], leave: set[str]) -> bytes:
        targets = dict(file.references)

        def new(reference: Reference) -> str | None:
            target = targets[reference]
            if target.path in leave:
                return None
            return written(file.path, reference, target, files[target.path].name, self.options.static_url)

        return rewrite(self.store.get(file.blob).decode(), targets, new).encode()

    # Pictures.

    def _pictures(self, files: Mapping[str, _File]) -> tuple[dict[str, Picture], dict[str, Blob]]:
        version = images.version()
        if not version or not self.options.formats:
            return {}, {}
        wanted = [
            file
            for path, file in sorted(files.items())
            if path.lower().endswith(images.SUFFIXES) and not matches(path, self.options.keep)
        ]
        pictures, blobs = {}, {}
        for path, picture, variants in self._each("Pictures", lambda file: self._picture(file, version), wanted):
            if picture is not None:
                pictures[path] = picture
                blobs.update(variants)
        return pictures, blobs

    def _picture(self, file: _File, version: str) -> tuple[str, Picture | None, dict[str, Blob]]:
        options = self.options
        made_by = (version, options.formats, options.widths, options.max_pixels)
        ingredients = ("picture", _STEP, *made_by, file.source.sha256)
        known = self.store.recall(*ingredients)
        if known is None or (known and not all(self.store.has(Blob(*each[4])) for each in known[2])):
            self.made += 1
            known = self._process(file)
            self.store.remember(known, *ingredients)
        if not known:
            return file.path, None, {}
        blobs = {}
        variants = []
        for format_, width, height, size, blob in known[2]:
            name = named(f"{file.path}.{width}w.{format_}", blob[0])
            blobs[name] = Blob(*blob)
            variants.append(Variant(name, images.TYPES[format_], width, height, size))
        return file.path, Picture(known[0], known[1], tuple(variants)), blobs

    def _process(self, file: _File) -> list[Any]:
        options = self.options
        made = images.processed(
            self.store.get(file.source), file.path,
            formats=options.formats, widths=options.widths, max_pixels=options.max_pixels,
        )  # fmt: skip
        if made is None:
            return []
        variants = []
        for each in made.variants:
            blob = self.store.put(each.data)
            variants.append([each.format, each.width, each.height, blob.size, [blob.sha256, blob.md5, blob.size]])
        return [made.width, made.height, variants]

    # The list.

    def _asset(self, item: tuple[str, Blob]) -> tuple[str, Asset]:
        name, blob = item
        encoded = {}
        for encoding in self.options.precompress if compressible(name) else ():
            version = compress.version(encoding, self.options.zopfli)
            if version and (small := self._compressed(blob, encoding, version)):
                encoded[encoding] = small
        return name, Asset(name, blob, content_type(name, utf8=name not in self._foreign), encoded)

    def _compressed(self, blob: Blob, encoding: str, version: str) -> Blob | None:
        def make() -> bytes | None:
            return compress.compressed(self.store.get(blob), encoding, self.options.zopfli)

        return self._transformed(make, "compress", encoding, version, blob.sha256)

    def _transformed(self, make: Callable[[], bytes | None], *ingredients: Any) -> Blob | None:
        def counted() -> bytes | None:
            self.made += 1
            return make()

        return self.store.transformed(counted, ingredients[0], _STEP, *ingredients[1:])

    def _each(self, label: str, work: Callable[[T], Any], items: Sequence[T]) -> Iterator[Any]:
        return at_once(label, work, items, self.options.workers, self.progress)

    def _without(self) -> list[str]:
        lacking = [] if images.version() or not self.options.formats else ["variants of pictures (noa-perf[images])"]
        if self.options.javascript == "auto" and self._script.tool == "off":
            lacking.append("small JavaScript (noa-perf[cdn])")
        if self.options.css == "auto" and not css.installed():
            lacking.append("small CSS (noa-perf[cdn])")
        if "br" in self.options.precompress and not compress.version("br", False):
            lacking.append("brotli (noa-perf[cdn])")
        return lacking

    @staticmethod
    def _before(files: Mapping[str, _File]) -> dict[str, int]:
        sums: dict[str, int] = {}
        for file in files.values():
            kind = content_type(file.path).partition(";")[0]
            sums[kind] = sums.get(kind, 0) + file.source.size
        return sums


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def named(path: str, sha256: str) -> str:
    """Return a path with a hash before its suffix."""
    stem, suffix = posixpath.splitext(path)
    return f"{stem}.{sha256[:DIGITS]}{suffix}"
