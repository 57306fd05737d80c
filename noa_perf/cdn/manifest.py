"""What a release holds: which file is published under which name, in which forms, with which bytes. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from noa_perf.cdn.exceptions import BadManifest

VERSION = 1

_HASH = re.compile(r"\.[0-9a-f]{12}(?=\.[^./]+$)")

SUFFIXES: Mapping[str, str] = {"br": ".br", "gzip": ".gz"}
"""What a compressed form adds to a name, by its Content-Encoding."""


@dataclass(frozen=True, slots=True, order=True)
class Blob:
    """Some bytes, by what they hash to."""

    sha256: str
    """Hexadecimal; what is verified at the edge, and what the store calls it."""
    md5: str
    """Hexadecimal; the ETag of an object on S3 that was uploaded in one piece."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One published file."""

    name: str
    """Below the root: ``css/app.3f2a9c0d1b7e.css``; what is published under it never changes."""
    blob: Blob
    type: str
    """Its Content-Type, charset included where it is text: ``text/css; charset=utf-8``."""
    encoded: Mapping[str, Blob] = field(default_factory=dict)
    """Its compressed forms that are worth it, by Content-Encoding (``br``, ``gzip``)."""

    def forms(self) -> Iterator[tuple[str, str, Blob]]:
        """Yield each form's name, Content-Encoding (empty: as it is) and bytes."""
        yield self.name, "", self.blob
        for encoding, blob in self.encoded.items():
            yield self.name + SUFFIXES[encoding], encoding, blob


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of a picture."""

    name: str
    """Below the root; an asset of the manifest."""
    type: str
    """``image/avif`` …"""
    width: int
    """Pixels."""
    height: int
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, and its variants, the largest of each type last."""

    width: int
    """Pixels, as it is shown: turned as its EXIF says."""
    height: int
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A release; two builds of the same sources by the same tools are equal to the byte."""

    paths: Mapping[str, str]
    """The published name of each file, by the path that ``{% static %}`` is given."""
    assets: Mapping[str, Asset]
    """What is published, by name: each file of ``paths``, variants of pictures, source maps."""
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    """The images, by the path that ``{% picture %}`` is given."""

    def names(self) -> dict[str, str]:
        """Return the published name of each file by its path, and of each variant by its name without the hash.

        So ``{% static "hero.jpg.480w.avif" %}`` links to a variant, and WhiteNoise knows its name as immutable.
        """
        variants = (each.name for picture in self.pictures.values() for each in picture.variants)
        return {_HASH.sub("", name): name for name in variants} | dict(self.paths)

    @property
    def id(self) -> str:
        """The release's name: 16 hexadecimal digits that its content hashes to."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return it as JSON, equal to the byte for equal manifests."""
        document = {
            "version": VERSION,
            "paths": dict(self.paths),
            "assets": {name: _asset(asset) for name, asset in self.assets.items()},
            "pictures": {path: _picture(picture) for path, picture in self.pictures.items()},
        }
        return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "the manifest") -> Manifest:
        """Return what :meth:`to_json` wrote.

        Raises :class:`~noa_perf.cdn.exceptions.BadManifest`, which names ``where``.
        """
        try:
            document = json.loads(text)
            if document["version"] != VERSION:
                raise BadManifest(
                    f"{where} has version {document['version']!r}, and this noa_perf reads {VERSION}: build it anew."
                )
            return cls(
                paths={_text(path): _text(name) for path, name in document["paths"].items()},
                assets={name: _read_asset(name, each) for name, each in document["assets"].items()},
                pictures={path: _read_picture(each) for path, each in document["pictures"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadManifest(f"{where} is no manifest of noa_perf ({type(error).__name__}: {error}).") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _asset(asset: Asset) -> dict[str, Any]:
    forms = {encoding: _blob(blob) for encoding, blob in asset.encoded.items()}
    return {"blob": _blob(asset.blob), "type": asset.type, **({"encoded": forms} if forms else {})}


def _blob(blob: Blob) -> list[Any]:
    return [blob.sha256, blob.md5, blob.size]


def _picture(picture: Picture) -> dict[str, Any]:
    variants = [[one.name, one.type, one.width, one.height, one.size] for one in picture.variants]
    return {"width": picture.width, "height": picture.height, "variants": variants}


def _read_asset(name: str, document: Mapping[str, Any]) -> Asset:
    encoded = {encoding: Blob(*blob) for encoding, blob in document.get("encoded", {}).items()}
    return Asset(name, Blob(*document["blob"]), document["type"], encoded)


def _read_picture(document: Mapping[str, Any]) -> Picture:
    return Picture(document["width"], document["height"], tuple(Variant(*each) for each in document["variants"]))
