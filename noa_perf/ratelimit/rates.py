"""So much in such a time: what a rate is, and how people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from noa_perf.ratelimit.exceptions import BadPolicy

SECOND = 1_000_000
"""Microseconds."""

UNITS = {"ms": 1_000, "s": SECOND, "m": 60 * SECOND, "h": 3_600 * SECOND, "d": 86_400 * SECOND, "w": 604_800 * SECOND}
"""Microseconds of each unit, by its short name."""

_NAMES = {
    "ms": ("ms", "msec", "millisecond", "milliseconds"),
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "week", "weeks"),
}
_UNIT = {name: UNITS[short] for short, names in _NAMES.items() for name in names}
_DURATION = re.compile(r"(\d*)\s*([a-z]+)")
_RATE = re.compile(r"([\d_]+)\s*(?:/|\bper\b)\s*(\d*\s*[a-z]+)")
_CURE = 'Write it as "100/m", "5/15m", "10 per second" or (100, 60).'

MAX_PERIOD = 366 * UNITS["d"]
"""Microseconds; beyond it a quota belongs into a database."""
MAX_UNITS = 10**12
"""Units of a limit, or at once: beyond it no parts of a period are left in which Lua's numbers are exact."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``limit`` units in each ``period``."""

    limit: int
    period: int
    """Microseconds."""

    def __post_init__(self) -> None:
        """Refuse what admits nothing, and what lasts too long."""
        if self.limit < 1:
            raise BadPolicy(f"A rate of {self.limit} admits nothing. Give it at least 1, or use a deny list.")
        if self.limit > MAX_UNITS:
            raise BadPolicy(f"A rate's limit is {self.limit}; it has to be {MAX_UNITS} at most. Count in larger units.")
        if not 1_000 <= self.period <= MAX_PERIOD:
            raise BadPolicy(f"A rate's period is {self.period} µs; it has to be from a millisecond to 366 days.")

    @classmethod
    def parse(cls, written: Any) -> Rate:
        """Return the rate that ``written`` means: ``"100/m"``, ``"5/15m"``, ``"10 per second"``, ``(100, 60)``.

        A pair's second number is in seconds. Raises :class:`BadPolicy`.
        """
        if isinstance(written, cls):
            return written
        if isinstance(written, str):
            found = _RATE.fullmatch(written.strip().lower())
            if found and found[1].strip("_"):
                return cls(int(found[1].replace("_", "")), duration(found[2]))
        elif isinstance(written, (tuple, list)) and len(written) == 2 and is_whole(written[0]):
            return cls(int(written[0]), duration(written[1]))
        raise BadPolicy(f"{written!r} is not a rate. {_CURE}")

    def __str__(self) -> str:
        """Return it as people write it: ``100/m``, ``5/15m``."""
        return f"{self.limit}/{span(self.period, plain=True)}"


def duration(written: Any) -> int:
    """Return microseconds of ``"90s"``, ``"15m"``, ``"hour"``, ``"1 day"`` or a number of seconds.

    Raises :class:`BadPolicy`.
    """
    if isinstance(written, (int, float)) and not isinstance(written, bool) and 0 < written < 10**9:
        return round(written * SECOND)
    if isinstance(written, str):
        found = _DURATION.fullmatch(written.strip().lower())
        if found and found[2] in _UNIT and (many := int(found[1] or 1)):
            return many * _UNIT[found[2]]
    raise BadPolicy(f'{written!r} is not a length of time. Write "30s", "15m", "1h", "1d", or seconds as a number.')


def span(microseconds: int, *, plain: bool = False) -> str:
    """Return a length of time as people write it: ``15m``, ``90s``; ``plain`` leaves a single 1 out (``m``)."""
    for unit in reversed(UNITS):
        many, rest = divmod(microseconds, UNITS[unit])
        if many and not rest:
            return unit if plain and many == 1 else f"{many}{unit}"
    return f"{microseconds / UNITS['ms']:g}ms"


def is_whole(value: Any) -> bool:
    """Tell whether it is a whole number; True is none."""
    return isinstance(value, int) and not isinstance(value, bool)
