"""Content types by a file's name: from a table of our own, for the system's differs from machine to machine."""

from __future__ import annotations

import mimetypes
import posixpath
from collections.abc import Mapping

_TYPES: Mapping[str, str] = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".eot": "application/vnd.ms-fontobject",
    ".gif": "image/gif",
    ".htm": "text/html",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mp4": "video/mp4",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
_BUILTIN = mimetypes.MimeTypes()  # Python's own, without the system's files

_TEXTS = {"text/javascript", "application/json", "image/svg+xml", "application/xml", "application/manifest+json"}
_COMPRESSIBLE = _TEXTS | {
    "application/ld+json",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "font/otf",
    "font/ttf",
    "image/x-icon",
}


def content_type(name: str, *, utf8: bool = True) -> str:
    """Return the Content-Type of a file of this name.

    Text is UTF-8, as everything that a build writes. Where it is not, ``utf8`` is false and no charset is said, which
    would count for more than what the file says itself.
    """
    kind = _kind(name)
    return f"{kind}; charset=utf-8" if utf8 and is_text(name) else kind


def is_text(name: str) -> bool:
    """Tell whether files of this name have a charset."""
    kind = _kind(name)
    return kind.startswith("text/") or kind in _TEXTS


def _kind(name: str) -> str:
    suffix = posixpath.splitext(name)[1].lower()
    return _TYPES.get(suffix) or _BUILTIN.guess_type(f"x{suffix}")[0] or "application/octet-stream"


def compressible(name: str) -> bool:
    """Tell whether files of this name are worth compressing; pictures, films and woff2 are compressed already."""
    kind = _kind(name)
    return kind.startswith("text/") or kind in _COMPRESSIBLE
