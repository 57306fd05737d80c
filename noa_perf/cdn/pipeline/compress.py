"""Compressed forms of a file, made once at the highest level: brotli 11, gzip 9, or zopfli's gzip."""

from __future__ import annotations

import gzip
import zlib
from importlib import metadata, util

WORTH = 0.95
"""The share of its bytes above which a compressed form is not worth a file of its own."""

LEAST = 256
"""Bytes below which a file fits into a packet as it is."""


def version(encoding: str, zopfli: bool) -> str:
    """Return what compresses, and its version; empty where it is not installed."""
    package = {"br": "brotli", "gzip": "zopfli" if zopfli else ""}[encoding]
    if package and util.find_spec(package) is None:
        return ""
    return f"{package} {metadata.version(package)}" if package else f"zlib {zlib.ZLIB_RUNTIME_VERSION}"


def compressed(data: bytes, encoding: str, zopfli: bool) -> bytes | None:
    """Return ``data`` in ``encoding`` (``br`` or ``gzip``); None where that saves too little."""
    if len(data) < LEAST:
        return None
    small = _brotli(data) if encoding == "br" else _gzip(data, zopfli)
    return small if len(small) <= WORTH * len(data) else None


def _brotli(data: bytes) -> bytes:
    import brotli

    return bytes(brotli.compress(data, quality=11))


def _gzip(data: bytes, zopfli: bool) -> bytes:
    if zopfli:
        from zopfli import gzip as better

        return bytes(better.compress(data))
    return gzip.compress(data, 9, mtime=0)  # a time in it would make each build another
