"""What a story may ask of Redis, as data: the same for a sync and an async client."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeVar

from noa_perf.core.redis import Script

T = TypeVar("T")
Argument = str | bytes | int


SCANNED = 500
"""Keys that a server looks at for one SCAN."""


class Get(NamedTuple):
    """Asks for the bytes of one key, or None."""

    key: str


class GetMany(NamedTuple):
    """Asks for the bytes of several keys, None for each that is not there."""

    keys: tuple[str, ...]


class Command(NamedTuple):
    """Asks for one command's reply."""

    arguments: tuple[Argument, ...]


class Batch(NamedTuple):
    """Asks for the replies of several commands, sent together; each stands for itself, and may be an exception."""

    commands: Sequence[tuple[Argument, ...]]


class Lua(NamedTuple):
    """Asks for what a script returns."""

    script: Script
    keys: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()
    again: bool = False
    """Whether it only reads, and so may be run twice."""


class Scan(NamedTuple):
    """Asks for some keys that match a pattern: a list of them, and the place to go on from, None at the end."""

    pattern: str
    place: tuple[int, int] | None = (0, 0)
    """Number of the node, and Redis' own cursor there."""
    batch: int = SCANNED


Wish = Get | GetMany | Command | Batch | Lua | Scan
Story = Generator[Wish, Any, T]
