"""The section ``NOA_PERF["CDN"]``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from django.conf import settings as django_settings

from noa_perf.core.conf import Section, bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class CdnSettings:
    """Assets: how they are built, and the edges in front of them. Where they are published stands in ``STORAGES``."""

    enabled: bool = True
    """Whether responses get headers for edges. Building and publishing go on: they are on no request's path."""
    build_dir: str = ""
    """A folder for what was built (content-addressed, so that a second build is quick). Empty: ``.noa_perf/cdn`` below
    ``BASE_DIR``, or below where the process started. It can be deleted at any time."""
    ignore: tuple[str, ...] = ("CVS", ".*", "*~")
    """Patterns of files that are not published, as ``collectstatic --ignore`` takes them."""
    keep: tuple[str, ...] = ()
    """Patterns of paths that are published as they are, neither minified nor made into variants."""
    javascript: Literal["auto", "esbuild", "tdewolff", "rjsmin", "off"] = "auto"
    """What makes JavaScript small. ``auto``: esbuild where its native binary is found, otherwise tdewolff's minifier
    where it is installed, otherwise nothing."""
    esbuild: str = ""
    """Path of esbuild's native binary. Empty: looked for in ``node_modules`` and on PATH."""
    css: Literal["auto", "lightningcss", "off"] = "auto"
    """What makes CSS small."""
    css_targets: tuple[str, ...] = ()
    """The browsers that CSS is for, as a browserslist: ``["defaults"]``. Given, newer CSS is written out for them, and
    fallbacks that none of them needs are dropped; empty, nothing is taken for granted."""
    precompress: tuple[Literal["br", "gzip"], ...] = ("br", "gzip")
    """Compressed forms that are published beside a file, where they save 5% at least."""
    zopfli: bool = False
    """Whether gzip's form is made by zopfli: a few percent smaller, a hundred times slower."""
    image_formats: tuple[Literal["avif", "webp"], ...] = ("avif", "webp")
    """Formats that images are made into, each kept where it is smaller; the original is published always."""
    image_widths: tuple[int, ...] = (480, 960, 1920)
    """Widths, in pixels, of the variants of each image that is wider."""
    image_max_pixels: int = bounded(50_000_000, least=1_000)
    """Pixels above which an image is refused: a small file may unpack to gigabytes."""
    workers: int = bounded(0, least=0)
    """Threads that build or upload at once; 0: as many as there are processors to build, 16 to upload."""
    keep_releases: int = bounded(5, least=1)
    """Releases that ``cdn_gc`` keeps, the live one included."""
    grace: float = bounded(7 * 86_400.0, least=0)
    """Seconds for which ``cdn_gc`` keeps a release that is no longer live: pages in caches and open tabs ask for its
    files."""
    brake: float = bounded(0.3, least=0, most=1)
    """The part of a release's files above which removing them needs ``--force``."""
    purge: tuple[str, ...] = ()
    """Tags that are purged at all providers when another release goes live: those of pages that link to assets."""
    headers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Cache headers of pages, by the beginning of their path; see "Headers"."""
    providers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The edges, by name: ``{"BACKEND": dotted path, ...}``; see "Providers"."""


settings = Section("CDN", CdnSettings)


def build_dir() -> Path:
    """Return the folder of what was built."""
    given = settings().build_dir
    return (
        Path(given) if given else Path(getattr(django_settings, "BASE_DIR", None) or Path.cwd()) / ".noa_perf" / "cdn"
    )
