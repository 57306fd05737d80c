"""Caches for a test to use as it likes, each with a prefix of its own; and classes that tests put into them."""

from __future__ import annotations

import enum
import itertools
import os
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from noa_perf.cache import registry
from noa_perf.cache.backend import TieredCache
from noa_perf.core import redis

T = TypeVar("T")

_numbers = itertools.count()


def made(location: Any = "", **params: Any) -> TieredCache:
    """Return a cache of its own; what is in capitals stands beside OPTIONS, all else in it."""
    beside = {name: params.pop(name) for name in list(params) if name.isupper() and name in BESIDE}
    number = f"{os.getpid()}-{next(_numbers)}"
    if not location:
        location = f"memory-{number}"
    return TieredCache(location, {"KEY_PREFIX": f"t{number}", **beside, "OPTIONS": params})


BESIDE = {"KEY_PREFIX", "VERSION", "TIMEOUT", "KEY_FUNCTION", "REVERSE_KEY_FUNCTION"}


def asking(location: Any, **params: Any) -> TieredCache:
    """Return a cache whose Redis is asked each time."""
    return made(location, memory={"staleness": 0}, **params)


def bare(cache: TieredCache) -> Any:
    """Return redis-py's own client of a cache's Redis."""
    assert cache.stack.link is not None
    return redis.clients(cache.stack.link.target).get()


def forget() -> None:
    """Let go of every cache that was made."""
    registry._stacks.clear()
    registry._links.clear()


class Colour(enum.Enum):
    RED = "red"


class Weight(enum.IntEnum):
    HEAVY = 7


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


Pair = namedtuple("Pair", "a b")


@dataclass
class Parcel:
    weight: float
    labels: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stamp:
    value: int


class Text(str):
    """A subclass of a type that codecs know."""

    __slots__ = ()


class Row(dict):  # type: ignore[type-arg]
    """Another."""


class Many(list):  # type: ignore[type-arg]
    """And another."""


class Whole(int):
    """And a number."""


class Fussy(Exception):
    """Is pickled without complaint, and cannot be made anew."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.two = two


def a_function() -> None:
    """Do nothing."""


def returning(value: T) -> Callable[[], T]:
    return lambda: value


class Shouting:
    """A serializer of a site's own."""

    def dumps(self, value: Any) -> bytes:
        return repr(value).upper().encode()

    def loads(self, data: bytes) -> Any:
        return data.decode()


class Sloppy:
    """One that returns text."""

    def dumps(self, value: Any) -> str:
        return repr(value)

    def loads(self, data: bytes) -> Any:
        return data
