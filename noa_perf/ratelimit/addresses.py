"""Addresses and networks: how they are written, which network is a client, whom a forwarding header names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Generic, TypeVar

from noa_perf.ratelimit import keys
from noa_perf.ratelimit.exceptions import BadPolicy

V = TypeVar("V")
Address = IPv4Address | IPv6Address
_Tables = tuple[tuple[int, dict[int, V]], ...]

LONGEST_ADDRESS = 100
LONGEST_HEADER = 4096
"""Characters of a forwarding header that are looked at: its last."""
MOST_HOPS = 50
LISTS = frozenset({"x-forwarded-for", "forwarded"})
"""The headers that name several hops; all others name one address."""

_PORT = r"(?::(?:[0-9]{1,5}|_[\w.-]+))?"
_ZONE = r"(?:%[\w.~%-]+)?"
_WRITTEN = re.compile(rf"(?:\[([0-9a-f:.]+){_ZONE}\]|([0-9.]+)){_PORT}|([0-9a-f:.]+){_ZONE}", re.ASCII | re.IGNORECASE)
_PAIR = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=("[^"\\]*"|[^\s";,]+)\s*(?:;|$)', re.ASCII)
_OPEN_KINDS = frozenset({"endpoint:", "method:"})
"""Kinds of client that say nothing of a person."""


def parse_address(text: str | None) -> Address | None:
    """Return the address that ``text`` means, or None.

    Quotes, brackets, a port and a zone are taken off; ``::ffff:a.b.c.d`` is a.b.c.d.
    """
    if not text or len(text) > LONGEST_ADDRESS:
        return None
    text = text.strip(" \t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].strip(" \t")
    found = _WRITTEN.fullmatch(text)
    if not found:
        return None
    try:
        return IPv4Address(found[2]) if found[2] else _unmapped(IPv6Address(found[1] or found[3]))
    except ValueError:
        return None


def client_network(address: Address, ipv4_prefix: int = 32, ipv6_prefix: int = 64) -> str:
    """Return the client that has ``address``: ``203.0.113.7``, or the network of so many bits, ``2001:db8::/64``."""
    prefix = ipv4_prefix if address.version == 4 else ipv6_prefix
    hidden = address.max_prefixlen - prefix
    if hidden <= 0:
        return str(address)
    return f"{type(address)(int(address) >> hidden << hidden)}/{prefix}"


class Networks(Generic[V]):
    """What holds for which network; the longest prefix decides. Never changes."""

    __slots__ = ("_tables",)

    def __init__(self, items: Iterable[str | tuple[str, V]] = ()) -> None:
        """Take networks (CIDR, or one address), or pairs of a network and what holds there; else that is True.

        Of two that are equal the last holds. Raises :class:`~noa_perf.ratelimit.exceptions.BadPolicy`.
        """
        found: dict[tuple[int, int], dict[int, Any]] = {}
        for item in items:
            cidr, value = (item, True) if isinstance(item, str) else item
            address, prefix = parse_network(cidr)
            shift = address.max_prefixlen - prefix
            found.setdefault((address.version, shift), {})[int(address) >> shift] = value
        self._tables: dict[int, _Tables[V]] = {
            version: tuple((shift, table) for (own, shift), table in sorted(found.items()) if own == version)
            for version in (4, 6)
        }

    def find(self, address: Address) -> V | None:
        """Return what holds for ``address``; None where no network has it."""
        address = _unmapped(address)
        number = int(address)
        for shift, table in self._tables[address.version]:
            key = number >> shift
            if key in table:
                return table[key]
        return None

    def __contains__(self, address: Address) -> bool:
        address = _unmapped(address)
        return any(int(address) >> shift in table for shift, table in self._tables[address.version])

    def __len__(self) -> int:
        return sum(len(table) for tables in self._tables.values() for _, table in tables)


def parse_network(cidr: str) -> tuple[Address, int]:
    """Return the first address of a network, and its bits. Raises BadPolicy, which says how it has to be written."""
    host, slash, bits = str(cidr).strip().partition("/")
    address = _plain_address(host)
    if address is None or (slash and not (bits.isascii() and bits.isdigit() and int(bits) <= address.max_prefixlen)):
        raise BadPolicy(f'{cidr!r} is not a network. Write "203.0.113.0/24", "2001:db8::/32" or one address.')
    prefix = int(bits) if slash else address.max_prefixlen
    hidden = address.max_prefixlen - prefix
    if beyond := int(address) & ((1 << hidden) - 1):
        first = type(address)(int(address) - beyond)
        raise BadPolicy(f'{cidr!r} has bits beyond its prefix. Write "{first}/{prefix}", or "{address}" for it alone.')
    if isinstance(address, IPv6Address) and address.ipv4_mapped and prefix >= 96:
        return address.ipv4_mapped, prefix - 96
    return address, prefix


def claimed_client(header: str, value: str, trusted: Networks[Any]) -> Address | None:
    """Return whom the header of a trusted proxy names, or None where it cannot be read.

    That is the last hop that is not trusted: what stands before it, anybody can have written. Where all are trusted,
    it is the first.
    """
    named = header.lower()
    address = None
    for place, hop in enumerate(_hops(named, value)):
        address = None if place >= MOST_HOPS else parse_address(hop)
        if address is None or address not in trusted:
            return address
    return None if len(value) > LONGEST_HEADER else address


def mask(client: str) -> str:
    """Return a client as others may see it: ``ip:203.0.113.…``, ``2001:db8:1::/48``, ``key:ab12…``."""
    if client in {"unknown", "ip:unknown"}:
        return client
    if address := _masked_address(client):
        return address
    if (parts := keys.split(client)) not in ([], [client]):
        return " + ".join(map(mask, parts))
    kind, value = kind_of(client)
    if kind in _OPEN_KINDS:
        return client
    shown = _masked_address(value) if kind == "ip:" else None
    return f"{kind}{shown or _begun(value)}"


def kind_of(client: str) -> tuple[str, str]:
    """Return what kind of client it is, colon and all, and who: ``header:x-id:`` and ``7``."""
    begins = client.find(":", len("header:") if client.startswith("header:") else 0) + 1
    return client[:begins], client[begins:]


def _masked_address(text: str) -> str | None:
    host, _, bits = text.partition("/")
    address = parse_address(host)
    if address is None:
        return None
    shown = min(int(bits) if bits.isdecimal() and len(bits) < 4 else 128, 24 if address.version == 4 else 48)
    if address.version == 6 or shown < 24:
        return client_network(address, shown, shown)
    return f"{str(address).rpartition('.')[0]}.…"


def _begun(text: str) -> str:
    return f"{text[: min(4, len(text) // 2)]}…"


def _plain_address(text: str) -> Address | None:
    if "%" in text:  # a zone means something on one machine alone
        return None
    try:
        return IPv6Address(text) if ":" in text else IPv4Address(text)
    except ValueError:
        return None


def _unmapped(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def _hops(header: str, value: str) -> Iterator[str | None]:
    """Yield the hops that ``value`` names, the nearest first; None for one that cannot be read."""
    if header not in LISTS:
        yield value
        return
    pieces = value[-LONGEST_HEADER:].split(",")
    if len(value) > LONGEST_HEADER:
        del pieces[0]  # half of it may be missing
    yield from map(_for, _elements(pieces)) if header == "forwarded" else reversed(pieces)


def _elements(pieces: list[str]) -> Iterator[str]:
    # Read from the end: a quote that the client left open must not swallow what a proxy wrote after it.
    element: list[str] = []
    is_open = False
    for piece in reversed(pieces):
        element.append(piece)
        is_open ^= bool(piece.count('"') % 2)
        if not is_open:
            yield ",".join(reversed(element))
            element.clear()
    if element:
        yield ""


def _for(element: str) -> str | None:
    """Return what ``for=`` says in one element of RFC 7239, given once and among well-formed pairs."""
    at, said = 0, []
    while at < len(element):
        pair = _PAIR.match(element, at)
        if not pair:
            return None
        at = pair.end()
        if pair[1].lower() == "for":
            said.append(pair[2])
    return said[0] if len(said) == 1 else None


def problems_of(entries: Iterable[str]) -> dict[str, str]:
    """Return what is wrong with networks of the settings: by entry, what to write."""
    found = {}
    for entry in entries:
        try:
            parse_network(entry)
        except BadPolicy as error:
            found[entry] = str(error)
    return found
