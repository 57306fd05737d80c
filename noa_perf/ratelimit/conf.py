"""The section ``NOA_PERF["RATELIMIT"]``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from noa_perf.core.conf import Section, bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitSettings:
    """Rate limits: what holds for all policies, and the policies themselves."""

    enabled: bool = True
    """Whether anything is counted or denied."""
    policies: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the middleware holds, by name: a rate (``"100/m"``), a list of rates, or a dict; see "Policies"."""
    storage: str = ""
    """Where counts are kept: a URL as a cache's LOCATION has it (``redis://``, ``rediss://``, ``redis+sentinel://``,
    ``redis+cluster://`` …). Empty: in the memory of each process, which counts for itself."""
    storage_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What ``OPTIONS`` of a cache may hold for that Redis: password, TLS, Sentinel's names."""
    timeout: float = bounded(0.1, least=0.001)
    """Seconds that each wait for Redis may take: to connect, for a connection, for the answer. Less where
    ``STORAGE_OPTIONS`` say less."""
    key_prefix: str = "noa_perf:rl"
    """What the keys in Redis begin with; sites that share one Redis need one each."""
    max_keys: int = bounded(100_000, least=100)
    """Counts that memory holds at most (about 250 bytes each); the longest idle are forgotten first."""
    headers: Literal["draft11", "draft6", "legacy", "off"] = "draft11"
    """Which headers answers carry: ``RateLimit`` and ``RateLimit-Policy`` as the draft of the IETF has them,
    ``RateLimit-Limit`` and its like of draft 6, ``X-RateLimit-*``, or none. ``Retry-After`` comes with a denial."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (CIDR) of the proxies in front of this site, whose forwarding header is believed; nobody else's is.
    ``unix`` stands for whoever comes by a Unix socket."""
    client_ip_header: str = "X-Forwarded-For"
    """The one header in which the trusted proxies name the client: ``X-Forwarded-For``, ``Forwarded``, ``X-Real-IP``,
    ``CF-Connecting-IP`` …"""
    ipv4_prefix: int = bounded(32, least=8, most=32)
    """Bits of an IPv4 address that make a client."""
    ipv6_prefix: int = bounded(64, least=16, most=128)
    """Bits of an IPv6 address that make a client: who has one address has a /64."""
    api_key_header: str = "Authorization"
    """The header whose value is the key for ``by="api_key"``; only its hash is kept."""
    tenant: str = ""
    """Dotted path of a function of the request that names the tenant, for ``by="tenant"``."""
    template: str = "noa_perf/ratelimit/denied.html"
    """The page that a browser gets with a denial."""
    allow: tuple[str, ...] = ()
    """Who is never limited: networks (``203.0.113.0/24``), users (``user:17``), hashed API keys (``key:…``)."""
    deny: tuple[str, ...] = ()
    """Who is always refused, likewise."""
    abuse: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Rules that ban whoever does something too often, by name; see "Abuse"."""
    escalate_after: int = bounded(0, least=0)
    """How many banned addresses of one network, within ``ESCALATE_WITHIN``, ban the network as a whole; 0: never.
    Behind one network of a mobile carrier there may be thousands of people."""
    escalate_within: float = bounded(3_600.0, least=1)
    """Seconds."""
    escalate_ipv4_prefix: int = bounded(24, least=8, most=31)
    """Bits of the network that is banned then."""
    escalate_ipv6_prefix: int = bounded(64, least=16, most=127)
    """Likewise. It says something only where it is less than ``IPV6_PREFIX``, for a client is a network already: with
    56 here and 64 there, who gets a new /64 from the same provider is not a new client for ever."""
    refresh_seconds: float = bounded(2.0, least=0.1)
    """How often a process looks for lists and bans that others have changed."""
    retention_days: int = bounded(30, least=1)
    """After how many days a ban that is over is deleted with its address."""


settings = Section("RATELIMIT", RateLimitSettings)
