"""What an entry of CACHES says to this backend: its own OPTIONS, Django's and django-redis's, as one frozen record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from os.path import commonprefix
from typing import Any, Literal

from django.core.cache.backends.base import default_key_func
from django.utils.module_loading import import_string

from noa_perf.cache import moving
from noa_perf.cache.codecs import compressors
from noa_perf.cache.codecs.codec import COMPRESS_FROM, installed
from noa_perf.cache.patterns import escaped
from noa_perf.core.breaker import BreakerPolicy
from noa_perf.core.conf import Problem, Shape, bounded

SIZES = {"": 1, "B": 1, "K": 10**3, "KB": 10**3, "KIB": 2**10, "M": 10**6, "MB": 10**6, "MIB": 2**20, "GB": 10**9,
         "GIB": 2**30}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOptions:
    """``OPTIONS["memory"]``: what this process keeps for itself."""

    max_entries: int = bounded(10_000, least=1)
    """Entries that are kept at most."""
    max_bytes: int | str = "64MiB"
    """Bytes that they may take, with what keeping them takes: a number, or text like ``"64MiB"``."""
    staleness: float = bounded(1.0, least=0.0)
    """Seconds for which memory answers without asking Redis: what another process wrote is seen after that at the
    latest. 0: Redis is always asked."""
    stale_when_down: float = bounded(30.0, least=0.0)
    """Seconds for which memory goes on answering while Redis is away."""
    isolation: Literal["copy", "shared"] = "copy"
    """``copy``: each reader gets its own, as from any cache. ``shared``: all get the same object, which nobody may
    change; several times as fast for what is not a plain number or text."""
    jitter: float = bounded(0.1, least=0.0, most=0.9)
    """Part of ``staleness`` by which entries cease to be fresh early, at random, so that not all are asked for again
    at once."""
    expiry_jitter: float = bounded(0.0, least=0.0, most=0.9)
    """Part of its timeout by which an entry expires early, at random, so that what was stored together does not go
    together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOptions:
    """``OPTIONS["breaker"]``: when Redis is left alone, and for how long."""

    window: float = bounded(10.0, least=0.1)
    """Seconds within which failures and slow calls are counted."""
    failures: int = bounded(5, least=1)
    """Failures within the window with which Redis is left alone."""
    slow_seconds: float = bounded(0.1, least=0.001)
    """Seconds beyond which an answer was slow."""
    slow_calls: int = bounded(20, least=1)
    """Slow answers within the window with which it is left alone too."""
    cooldown: float = bounded(1.0, least=0.01)
    """Seconds after which it is tried again; doubled with each try that fails."""
    max_cooldown: float = bounded(30.0, least=0.01)
    """Seconds beyond which that does not grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOptions:
    """``OPTIONS``: what belongs to the backend itself."""

    memory: dict[str, Any] | None = field(default_factory=dict)
    """The memory tier. None: nothing is kept in memory, and while Redis is away everything is missing."""
    codec: Literal["auto", "json", "msgpack", "pickle"] = "auto"
    """How values become bytes. ``auto``: numbers and text as they are, plain values as MessagePack where that is
    installed, all else as a signed pickle."""
    compress: Literal["auto", "none", "lz4", "zstd", "zlib"] = "auto"
    """``auto``: lz4 or Zstandard, whichever is installed."""
    compress_from: int = bounded(COMPRESS_FROM, least=0)
    """Bytes from which compressing is tried."""
    max_value_bytes: int | str = "32MiB"
    """Bytes that a value may take, compressed or not: more is refused, in writing and in reading."""
    trust_pickles: bool = False
    """Whether pickles that carry no signature of ours are read, as django-redis and Django's own backend write them.
    Whoever can write to that Redis can then run code here."""
    sign: bool = False
    """Whether all values are signed, not pickles alone; but integers, which Redis adds to."""
    budget: float = bounded(1.0, least=0.0)
    """Seconds that a request may spend waiting for Redis; beyond, memory alone answers. 0: there is no limit."""
    breaker: dict[str, Any] = field(default_factory=dict)
    """When Redis is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """All of it, as the tiers use it; equal for aliases that can share them."""

    max_entries: int
    max_bytes: int
    evict: int
    staleness: float
    stale_when_down: float
    copies: bool
    jitter: float
    expiry_jitter: float
    codec: str
    serializer: str
    compress: str
    compress_from: int
    max_value_bytes: int
    trust_pickles: bool
    sign: bool
    budget: float
    breaker: BreakerPolicy

    @property
    def keeps(self) -> bool:
        """Whether what is in Redis is kept in memory too: to be served while it is fresh, or while Redis is away."""
        return self.staleness > 0 or self.stale_when_down > 0


def shapes(setting: str) -> tuple[Shape[OwnOptions], Shape[MemoryOptions], Shape[BreakerOptions]]:
    """Return the shapes of OPTIONS and of the two dicts in it, as found at ``setting`` (``CACHES["default"]``)."""
    path = f'{setting}["OPTIONS"]'
    return (
        Shape(OwnOptions, path, written=str),
        Shape(MemoryOptions, f'{path}["memory"]', written=str),
        Shape(BreakerOptions, f'{path}["breaker"]', written=str),
    )


OWN = frozenset(OwnOptions.__dataclass_fields__)
DJANGO = frozenset({"MAX_ENTRIES", "CULL_FREQUENCY", "serializer"})
OF_OTHERS = frozenset({"SERIALIZER", "COMPRESSOR", "REVERSE_KEY_FUNCTION", *moving.OPTIONS, *moving.UNLESS})


def parse(params: Mapping[str, Any], setting: str) -> CacheOptions:
    """Return what an entry of CACHES (without BACKEND and LOCATION) says; what is wrong keeps its default."""
    given = options_of(params)
    own_shape, memory_shape, breaker_shape = shapes(setting)
    own = own_shape.load({key: value for key, value in given.items() if key in OWN})
    memory = memory_shape.load({} if own.memory is None else own.memory)
    if own.memory is None:
        memory = replace(memory, staleness=0.0, stale_when_down=0.0)
    most, evict = _bounds(params, given, memory)
    codec_name, serializer = _codec(given, own)
    return CacheOptions(
        max_entries=most,
        max_bytes=size(memory.max_bytes) or size(MemoryOptions().max_bytes) or 0,
        evict=evict,
        staleness=float(memory.staleness),
        stale_when_down=float(memory.stale_when_down),
        copies=memory.isolation == "copy",
        jitter=memory.jitter,
        expiry_jitter=memory.expiry_jitter,
        codec=codec_name,
        serializer=serializer,
        compress=_compress(given, own),
        compress_from=own.compress_from,
        max_value_bytes=size(own.max_value_bytes) or size(OwnOptions().max_value_bytes) or 0,
        trust_pickles=own.trust_pickles,
        sign=own.sign,
        budget=float(own.budget),
        breaker=_policy(breaker_shape.load(own.breaker)),
    )


def options_of(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return OPTIONS, or nothing where that is no dict."""
    found = params.get("OPTIONS", {})
    return found if isinstance(found, Mapping) else {}


def of_redis(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the OPTIONS that are for Redis."""
    return {key: value for key, value in options_of(params).items() if key not in OWN | DJANGO | OF_OTHERS}


def problems(params: Mapping[str, Any], setting: str) -> list[Problem]:
    """Return what is wrong with the OPTIONS that are not for Redis."""
    own_shape, memory_shape, breaker_shape = shapes(setting)
    if not isinstance(params.get("OPTIONS", {}), Mapping):
        return own_shape.problems_of(params["OPTIONS"])
    given = options_of(params)
    found = own_shape.problems_of({key: value for key, value in given.items() if key in OWN})
    if isinstance(given.get("memory"), Mapping):
        found += memory_shape.problems_of(given["memory"])
        found += _size_problems(given["memory"], "max_bytes", memory_shape.path)
    if isinstance(given.get("breaker"), Mapping):
        found += breaker_shape.problems_of(given["breaker"])
    return found + _size_problems(given, "max_value_bytes", own_shape.path) + _missing_packages(given, own_shape.path)


def size(value: int | str) -> int | None:
    """Return the bytes that ``67108864`` or ``"64MiB"`` means, or None if that means none."""
    if isinstance(value, int):
        return value if value > 0 else None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if found is None or found[2].upper() not in SIZES:
        return None
    return int(float(found[1]) * SIZES[found[2].upper()]) or None


@lru_cache(maxsize=256)
def pattern(prefix: str, key_func: Callable[..., Any], version: str) -> str:
    """Return the pattern of all keys with ``prefix``; nothing where keys do not tell.

    With Django's own key function it matches every version that is a number; where the alias' own ``version`` is none,
    that version alone.
    """
    if key_func is default_key_func:
        return f"{escaped(prefix)}:{'[0-9]*' if version.isdigit() else escaped(version)}:*"
    try:
        own = [str(key_func(f"{chr(96 + number)}:key", prefix, number)) for number in range(1, 27)]
        others = [str(key_func("key:1", other, 1)) for other in (f"{prefix}x", f"x{prefix}", "")]
    except Exception:  # a site's own function may want anything at all
        return ""
    # What all keys begin with, however the rest is made: hashed, for one.
    begin = commonprefix(own)  # noqa: RUF071  (no path: characters are what is wanted)
    tells = prefix != "" and prefix in begin and not any(other.startswith(begin) for other in others)
    return f"{escaped(begin)}*" if tells else ""


def _size_problems(given: Mapping[str, Any], name: str, path: str) -> list[Problem]:
    value = given.get(name)
    if not isinstance(value, (int, str)) or size(value) is not None:
        return []
    written = f"{path}[{name!r}]"
    return [Problem("value", f"{written} is {value!r}.", 'Give a number of bytes, or text like "64MiB".')]


def _missing_packages(given: Mapping[str, Any], path: str) -> list[Problem]:
    found = []
    wanted = {"compress": compressors.package(str(given.get("compress", "")))}
    wanted["codec"] = "msgpack" if given.get("codec") == "msgpack" else ""
    for name, package in wanted.items():
        if package and not installed(package):
            hint = f"Install it: pip install {package}; or leave the option out."
            found.append(
                Problem("value", f"{path}[{name!r}] is {given[name]!r}, and {package} is not installed.", hint)
            )
    return found


def _bounds(params: Mapping[str, Any], given: Mapping[str, Any], memory: MemoryOptions) -> tuple[int, int]:
    """Return entries at most and how many go when there are as many: Django's two options mean what they always did."""
    most = given.get("MAX_ENTRIES", params.get("max_entries"))
    if not isinstance(most, int) or most < 1:
        return memory.max_entries, 1
    often = given.get("CULL_FREQUENCY", 3)
    if not isinstance(often, int) or often < 0:
        often = 3
    return most, max(1, most // often) if often else 0


def _codec(given: Mapping[str, Any], own: OwnOptions) -> tuple[str, str]:
    """Return the codec, and the dotted path of a serializer of the site's own."""
    named = given.get("SERIALIZER", given.get("serializer"))
    if "codec" in given or not isinstance(named, str):
        return own.codec, ""
    ours = moving.serializer(named)
    return "auto", named if ours is None else ours


def _compress(given: Mapping[str, Any], own: OwnOptions) -> str:
    named = given.get("COMPRESSOR")
    if "compress" in given or not isinstance(named, str):
        chosen: str = own.compress
    else:
        chosen = moving.compressor(named)
    package = compressors.package(chosen)
    return chosen if not package or installed(package) else "auto"


def custom_serializer(path: str, given: Mapping[str, Any]) -> Any:
    """Return the site's own serializer: an object with dumps and loads. Raises ImportError where there is none."""
    found = import_string(path)
    if not callable(found):
        return found
    try:
        return found(given)  # as django-redis makes them
    except TypeError:
        return found()  # as Django does


def _policy(given: BreakerOptions) -> BreakerPolicy:
    return BreakerPolicy(
        window=given.window,
        failures=given.failures,
        slow_seconds=given.slow_seconds,
        slow_calls=given.slow_calls,
        cooldown=given.cooldown,
        max_cooldown=max(given.cooldown, given.max_cooldown),
    )
