"""What an edge has to offer: purging, and an address under which viewers reach it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, TypeVar
from urllib.parse import quote, urlsplit

from noa_perf.cdn.exceptions import BadPurge

T = TypeVar("T")

_PORTS = {"http": 80, "https": 443}
_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
_EITHER = "[]|^'"
"""What browsers send as it is, and functions that quote addresses may have escaped."""
# What browsers leave as it is in a path, and in a query (the URL Standard): all of ASCII but what has to be escaped.
_PATH_SAFE = "!$%&()*+,-./:;=@\\_~" + _EITHER
_QUERY_SAFE = "!$%&()*+,-./:;=?@[\\]^_`{|}~"


class Provider(ABC):
    """One edge. Each purge returns what was done in words, or raises
    :class:`~noa_perf.cdn.exceptions.PurgeError`."""

    options: ClassVar[type]
    """The frozen dataclass of what its entry in ``NOA_PERF["CDN"]["PROVIDERS"]`` may hold, beside ``BACKEND``."""
    tag_header: ClassVar[str] = ""
    """The response header that tells it the tags of what it keeps; empty where it knows no tags."""
    tag_separator: ClassVar[str] = " "
    supports_tags: ClassVar[bool] = True
    supports_prefixes: ClassVar[bool] = True
    supports_soft: ClassVar[bool] = True
    """Whether what is purged can go on being served while it is fetched anew."""

    def __init__(self, name: str) -> None:
        """Be called ``name``."""
        self.name = name

    @property
    @abstractmethod
    def url(self) -> str:
        """Where viewers reach it: scheme and host, without a slash at the end."""

    @abstractmethod
    def purge_urls(self, urls: Sequence[str]) -> str:
        """Forget these addresses; a path is one at :attr:`url`."""

    @abstractmethod
    def purge_prefixes(self, prefixes: Sequence[str]) -> str:
        """Forget all addresses that begin so; a path is at :attr:`url`."""

    @abstractmethod
    def purge_tags(self, tags: Sequence[str], *, soft: bool) -> str:
        """Forget all that has one of these tags; ``soft``: serve it until it is fetched anew."""

    @abstractmethod
    def purge_all(self) -> str:
        """Forget all of this site."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with its options and the cure, for the system checks; the network is not asked."""
        yield from ()


def host_of(address: str) -> str:
    """Return the host of ``http://...`` as browsers send it in ``Host``; ``BadPurge`` where it has none."""
    try:
        parts = urlsplit(address)
        name, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise BadPurge(f"{address!r} is no address: {error}.") from error
    if parts.scheme not in _PORTS:
        raise BadPurge(f"{address!r} is no address: write http:// or https:// first.")
    host = f"[{name}]" if ":" in name else _ascii(name, address)
    return host if port in {None, _PORTS[parts.scheme]} else f"{host}:{port}"


def _ascii(name: str, address: str) -> str:
    try:
        # Of httpx, as browsers do it; Python's own knows the rules of 2003.
        import idna

        host = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except (ImportError, UnicodeError) as error:
        raise BadPurge(f"{address!r} has a host that cannot be written in ASCII: {error}.") from error
    if not re.fullmatch(r"[a-z0-9._-]+", host):
        raise BadPurge(f"{address!r} has no host.")
    return host


def target_of(address: str) -> str:
    """Return path and query of an address, or of a path, as browsers ask for them; what is escaped stays so."""
    rest = address if address.startswith("/") else re.sub(r"^\w+://[^/?#\\]*", "", address)
    path, mark, query = rest.partition("#")[0].partition("?")
    path = "/" + path.replace("\\", "/").removeprefix("/")
    return _escaped(path, _PATH_SAFE) + mark + _escaped(query, _QUERY_SAFE)


def spellings(target: str) -> list[str]:
    """Return the ways in which one target may be asked for: an edge keeps each by itself."""
    raw = _ESCAPE.sub(lambda found: _plain(found[0]), target)
    path, mark, query = target.partition("?")
    quoted = re.sub(f"[{re.escape(_EITHER)}]", lambda found: quote(found[0]), path) + mark + query
    found = [target, raw, quoted]
    found += [_ESCAPE.sub(lambda code: code[0].lower(), each) for each in found]
    found += [_ESCAPE.sub(lambda code: code[0].upper(), each) for each in found]
    return list(dict.fromkeys(found))


def pattern(target: str) -> str:
    """Return a regular expression for what begins as the target, in all its spellings."""
    parts = re.split(f"({_ESCAPE.pattern}|[{re.escape(_EITHER)}])", target)
    return "^" + "".join(_alike(each) if place % 2 else re.escape(each) for place, each in enumerate(parts))


def _alike(part: str) -> str:
    plain = _plain(part)
    code = part if len(part) > 1 else quote(part)
    code = re.sub("[a-zA-Z]", lambda found: f"[{found[0].upper()}{found[0].lower()}]", code)
    return f"({re.escape(plain)}|{code})" if plain in _EITHER else code


def _plain(code: str) -> str:
    """Return what an escape stands for, if it may come either way; else the escape."""
    return {quote(each): each for each in _EITHER}.get(code.upper(), code)


def _escaped(text: str, safe: str) -> str:
    # What a terminal gave as bytes that are no UTF-8 goes out as these bytes.
    return quote(text, safe=safe, errors="surrogateescape")


def chunks(items: Sequence[T], many: int) -> Iterable[Sequence[T]]:
    """Return the items in groups of ``many`` at most."""
    return (items[start : start + many] for start in range(0, len(items), many))
