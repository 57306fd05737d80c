"""Verifying: every file of a release is fetched through an edge and compared with what was published."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urljoin

from noa_perf.cdn.exceptions import BadProvider
from noa_perf.cdn.manifest import Asset, Manifest
from noa_perf.cdn.patterns import matches
from noa_perf.cdn.working import Progress, at_once

AT_ONCE = 16
_YEAR = 31_536_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What an edge answered."""

    status: int
    headers: Mapping[str, str]
    """By name in small letters."""
    body: bytes
    """As it came: not decoded."""
    cut: bool = False
    """Whether the connection ended before the body did."""
    error: str = ""
    """Why there is no answer; empty if there is one."""


class Fetch(Protocol):
    """Asks for an address as a client that takes one encoding."""

    def __call__(self, url: str, encoding: str) -> Answer:
        """Return the answer, whatever it is; no redirect is followed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which an edge does not serve what was published."""

    kind: str
    """``missing``, ``stale``, ``truncated``, ``encoding``, ``type``, ``headers``, ``unreachable``."""
    provider: str
    name: str
    encoding: str
    """What the client took; empty: no encoding."""
    text: str


@dataclass(slots=True)
class Checked:
    """What one provider's files were like."""

    provider: str
    requests: int
    hits: int
    """Answers that the edge said to have kept."""
    oldest: int
    """The greatest Age, in seconds."""
    faults: list[Fault]


def verify(
    manifest: Manifest, provider: str, base: str, fetch: Fetch,
    progress: Progress,
) -> Checked:  # fmt: skip
    """Fetch each file below ``base``, in each form that it has, through ``fetch``; return what is wrong."""
    wanted = [(asset, encoding) for asset in manifest.assets.values() for encoding in ("", *asset.encoded)]

    def ask(item: tuple[Asset, str]) -> tuple[Asset, str, Answer]:
        asset, encoding = item
        return asset, encoding, fetch(urljoin(base, quote(asset.name, errors="surrogateescape")), encoding)

    checked = Checked(provider, len(wanted), 0, 0, [])
    for asset, encoding, answer in at_once(f"Verify {provider}", ask, wanted, AT_ONCE, progress):
        checked.hits += "HIT" in answer.headers.get("x-cache", "").upper()
        checked.oldest = max(checked.oldest, _number(answer.headers.get("age", "")))
        faults = [Fault(kind, provider, asset.name, encoding, text) for kind, text in compare(asset, encoding, answer)]
        checked.faults += faults
    return checked


def compare(asset: Asset, wanted: str, answer: Answer) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with an answer to a client that takes ``wanted`` (empty: no encoding)."""
    if answer.error:
        yield "unreachable", answer.error
        return
    if answer.status in {404, 410}:
        yield "missing", f"answers {answer.status}."
        return
    if answer.status != 200:
        yield "missing", f"answers {answer.status}, not 200."
        return
    encoding = answer.headers.get("content-encoding", "").strip().lower().replace("identity", "")
    yield from _body(asset, wanted, encoding, answer)
    yield from _headers(asset, answer.headers)


def _body(asset: Asset, wanted: str, encoding: str, answer: Answer) -> Iterator[tuple[str, str]]:
    length = _number(answer.headers.get("content-length", ""), -1)
    if answer.cut or (length >= 0 and len(answer.body) < length):
        yield "truncated", f"ends after {_bytes(len(answer.body))}."
        return
    if encoding not in {"", wanted}:
        yield "encoding", f"is encoded as {encoding}, and was asked for as {wanted or 'it is'}."
        return
    try:
        plain = _decoded(answer.body, encoding)
    except ValueError:
        yield "encoding", f"says that it is encoded as {encoding}, and cannot be decoded."
        return
    if hashlib.sha256(plain).hexdigest() != asset.blob.sha256:
        yield from _other(asset, wanted, plain)
    elif wanted and not encoding:
        yield (
            "encoding",
            f"comes as it is, although {wanted} was published: {asset.blob.size:,} bytes more than needed.",
        )


def _other(asset: Asset, wanted: str, plain: bytes) -> Iterator[tuple[str, str]]:
    sent = hashlib.sha256(plain).hexdigest()
    form = next((name for name, blob in asset.encoded.items() if blob.sha256 == sent), "")
    if form:
        yield "encoding", f"is encoded as {form}, and no header says so."
    elif len(plain) < asset.blob.size:
        yield "truncated", f"has {_bytes(len(plain))}, and should have {asset.blob.size:,}."
    else:
        yield "stale", f"is not what was published ({_bytes(len(plain))}, {asset.blob.size:,} expected)."


def _headers(asset: Asset, headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if _type(headers.get("content-type", "")) != _type(asset.type):
        yield "type", f"is {headers.get('content-type') or 'without a Content-Type'}, and should be {asset.type}."
    control = headers.get("cache-control", "").lower()
    age = re.search(r"max-age=(\d+)", control)
    if "immutable" not in control or age is None or int(age[1]) < _YEAR:
        yield "headers", f"has Cache-Control {control or '(none)'!r}, and should be kept for a year, immutable."
    if asset.encoded and "accept-encoding" not in headers.get("vary", "").lower():
        yield "headers", "has other forms, and no Vary: Accept-Encoding: a cache between may mix them up."


def _type(text: str) -> tuple[str, str]:
    kind, _, rest = text.lower().partition(";")
    kind = {"application/javascript": "text/javascript"}.get(kind.strip(), kind.strip())
    # Without a charset scripts and styles are read as the page's, JSON and SVG as UTF-8.
    charset = re.search(r"charset=\"?([\w-]+)", rest)
    return kind, charset[1] if charset and kind.startswith("text/") else ""


def _decoded(body: bytes, encoding: str) -> bytes:
    if not encoding:
        return body
    try:
        if encoding == "gzip":
            return gzip.decompress(body)
        import brotli

        return bytes(brotli.decompress(body))
    except ImportError as error:
        raise BadProvider("Comparing brotli needs brotli: pip install noa-perf[cdn].") from error
    except Exception as error:  # brotli's own error, zlib's, gzip's: none has a common base
        raise ValueError(str(error)) from error


def _bytes(many: int) -> str:
    return f"{many:,} {'byte' if many == 1 else 'bytes'}"


def _number(text: str, default: int = 0) -> int:
    return int(text) if text.isdigit() else default


@contextmanager
def fetching(timeout: float) -> Iterator[Fetch]:
    """Yield what asks over HTTP, with connections that are kept meanwhile.

    Raises :class:`~noa_perf.cdn.exceptions.BadProvider` where httpx is not installed.
    """
    try:
        import httpx
    except ImportError as error:
        raise BadProvider("Verifying needs httpx: pip install noa-perf[varnish].") from error
    limits = httpx.Limits(max_connections=AT_ONCE)

    def fetch(url: str, encoding: str) -> Answer:
        headers = {"Accept-Encoding": encoding or "identity"}
        body: list[bytes] = []
        status, told = 0, {}
        try:
            with client.stream("GET", url, headers=headers) as answer:
                status, told = answer.status_code, {name.lower(): value for name, value in answer.headers.items()}
                body.extend(answer.iter_raw())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            if status:
                return Answer(status, told, b"".join(body), cut=True)
            return Answer(0, {}, b"", error=f"did not answer ({type(error).__name__}).")
        return Answer(status, told, b"".join(body))

    with httpx.Client(timeout=timeout, limits=limits, trust_env=False, follow_redirects=False) as client:
        yield fetch


def chosen(manifest: Manifest, patterns: Sequence[str]) -> Manifest:
    """Return the part of a release whose paths match one of the patterns; all of it, where there are none."""
    if not patterns:
        return manifest
    assets = {name: asset for name, asset in manifest.assets.items() if matches(name, patterns)}
    paths = {path: name for path, name in manifest.paths.items() if matches(path, patterns)}
    assets |= {name: manifest.assets[name] for name in paths.values()}
    return Manifest(paths=paths, assets=assets)
