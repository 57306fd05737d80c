"""Compressors by name, each bounded in what it may blow up to; optional ones are asked for when first needed."""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from noa_perf.cache.exceptions import Refused


@dataclass(frozen=True, slots=True)
class Compressor:
    """One way to make bytes fewer."""

    name: str
    number: int
    """As written in entries."""
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]
    """Given the compressed bytes and the size to come to; never makes more than that."""


def _zlib() -> Compressor:
    def decompress(data: bytes, size: int) -> bytes:
        worker = zlib.decompressobj()
        found = worker.decompress(data, size + 1)
        if not worker.eof:
            raise Refused("corrupt")
        return found

    return Compressor("zlib", 1, zlib.compress, decompress)


def _lz4() -> Compressor:
    block: Any = importlib.import_module("lz4.block")
    # Frames name a size of their own that nobody checked; a block is given the one that we know.
    return Compressor(
        "lz4",
        2,
        lambda data: block.compress(data, store_size=False),
        lambda data, size: block.decompress(data, uncompressed_size=size),
    )


def _zstd() -> Compressor:
    zstd: Any = importlib.import_module("zstandard")

    def decompress(data: bytes, size: int) -> bytes:
        if zstd.frame_content_size(data) != size:  # what it says is what would be allocated
            raise Refused("corrupt")
        return bytes(zstd.ZstdDecompressor().decompress(data, max_output_size=size))

    # Neither object is safe over threads, and making one is cheap beside its work.
    return Compressor("zstd", 3, lambda data: bytes(zstd.ZstdCompressor(level=1).compress(data)), decompress)


_MAKERS: Mapping[str, tuple[int, Callable[[], Compressor], str]] = {
    "zlib": (1, _zlib, ""),
    "lz4": (2, _lz4, "lz4"),
    "zstd": (3, _zstd, "zstandard"),
}
NAMES = ("none", "auto", *_MAKERS)


@cache
def named(name: str) -> Compressor | None:
    """Return the compressor ``name``; None for ``none``, and for ``auto`` where neither lz4 nor zstandard is installed.

    Raises ImportError where one asked for by its own name is not installed.
    """
    if name == "auto":
        return next((found for found in map(_if_installed, ("lz4", "zstd")) if found is not None), None)
    return _MAKERS[name][1]() if name in _MAKERS else None


@cache
def numbered(number: int) -> Compressor | None:
    """Return the compressor that an entry names by ``number``, or None where it is unknown or not installed."""
    name = next((name for name, (own, _, _) in _MAKERS.items() if own == number), None)
    return None if name is None else _if_installed(name)


def foreign(data: bytes, most: int) -> bytes:
    """Return what another package's zlib, gzip, LZMA, bz2, lz4 or Zstandard compressed.

    Raises ValueError where that is too much, LookupError where it is nobody's. Their frames say nothing that could be
    trusted, so each is unpacked only as far as ``most`` bytes, in no more memory than a few times as much.
    """
    for start, unpack in _FOREIGN:
        if data.startswith(start):
            found = unpack(data, most + 1)
            if len(found) > most:
                raise ValueError(f"more than {most} bytes")
            return found
    raise LookupError("nobody's format")


def _foreign_lz4(data: bytes, most: int) -> bytes:
    frame: Any = importlib.import_module("lz4.frame")
    return bytes(frame.LZ4FrameDecompressor().decompress(data, max_length=most))


def _foreign_zstd(data: bytes, most: int) -> bytes:
    zstd: Any = importlib.import_module("zstandard")
    found = bytearray()
    with zstd.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(data) as reader:
        while len(found) < most and (piece := reader.read(min(most - len(found), 2**16))):
            found += piece
    return bytes(found)


_WINDOW = 2**25
"""Bytes of what came before that a frame may refer to; zstd's own levels up to 19 need 8 MiB."""
_LZMA_MEMORY = 2**27
"""Likewise; xz's own levels need 65 MiB at most."""


_FOREIGN: tuple[tuple[bytes, Callable[[bytes, int], bytes]], ...] = (
    (b"\x78", lambda data, most: zlib.decompressobj().decompress(data, most)),
    (b"\x1f\x8b", lambda data, most: zlib.decompressobj(31).decompress(data, most)),
    (b"\xfd7zXZ", lambda data, most: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(data, most)),
    (b"BZh", lambda data, most: bz2.BZ2Decompressor().decompress(data, most)),
    (b"\x04\x22\x4d\x18", _foreign_lz4),
    (b"\x28\xb5\x2f\xfd", _foreign_zstd),
)


def package(name: str) -> str:
    """Return the package that the compressor ``name`` needs, or nothing."""
    return _MAKERS[name][2] if name in _MAKERS else ""


def _if_installed(name: str) -> Compressor | None:
    try:
        return _MAKERS[name][1]()
    except ImportError:
        return None
