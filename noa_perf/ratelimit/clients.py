"""Who is listed or banned, as people write it: an address, a network, a user or a hashed key, in one form each."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from noa_perf.ratelimit.addresses import Address, parse_network
from noa_perf.ratelimit.exceptions import BadPolicy

Kind = Literal["network", "user", "key"]

_KINDS: dict[str, Kind] = {"ip": "network", "user": "user", "key": "key"}
_WRITTEN = {kind: prefix for prefix, kind in _KINDS.items()}
_plain = re.compile(r"\S{1,200}").fullmatch


class Client(NamedTuple):
    """Somebody who can be listed or banned."""

    kind: Kind
    value: str
    """A network with its prefix (``203.0.113.7/32``), the primary key of a user, the hash of an API key."""

    @classmethod
    def parse(cls, written: str) -> Client:
        """Return who is meant by ``203.0.113.7``, ``ip:2001:db8::/32``, ``user:17`` or ``key:<hash>``.

        Raises :class:`~noa_perf.ratelimit.exceptions.BadPolicy`, which says how it has to be written.
        """
        prefix, colon, rest = written.strip().partition(":")
        kind = _KINDS.get(prefix) if colon else None
        return cls.of("network", written) if kind is None else cls.of(kind, rest)

    @classmethod
    def of(cls, kind: Kind, value: str) -> Client:
        """Return the client of this kind, its value in the one form that is kept. Raises ``BadPolicy``."""
        if kind == "network":
            address, bits = parse_network(value)
            return cls(kind, f"{address}/{bits}")
        if not _plain(value.strip()):
            raise BadPolicy(
                f"{value!r} is no {kind}. Write user:17 or key:<hash>, without blanks, 200 letters at most."
            )
        return cls(kind, value.strip())

    @property
    def text(self) -> str:
        """The short form, which limits and bans use too: ``ip:203.0.113.7``, ``ip:203.0.113.0/24``, ``user:17``."""
        alone = "/128" if ":" in self.value else "/32"
        return f"{_WRITTEN[self.kind]}:{self.value.removesuffix(alone) if self.kind == 'network' else self.value}"

    @property
    def network(self) -> tuple[Address, int] | None:
        """The first address and the bits, if it is a network."""
        return parse_network(self.value) if self.kind == "network" else None


def has(client: Client, address: Address, bits: int | None = None) -> bool:
    """Tell whether a client is a network in which an address lies, or all of the network of so many bits there."""
    if client.network is None:
        return False
    first, prefix = client.network
    hidden = first.max_prefixlen - prefix
    is_inside = bits is None or bits >= prefix
    return first.version == address.version and is_inside and int(first) >> hidden == int(address) >> hidden


def within(client: str, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """Return the network, as ``ip:203.0.113.0/24``, in which a client lies; empty if it is as large, or none."""
    network = Client.parse(client).network
    if network is None:
        return ""
    address, bits = network
    prefix = ipv4_prefix if address.version == 4 else ipv6_prefix
    hidden = address.max_prefixlen - prefix
    return f"ip:{type(address)(int(address) >> hidden << hidden)}/{prefix}" if bits > prefix else ""
