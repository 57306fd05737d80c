"""Figures by group of keys: the first words of a key, never what tells one key of the group from another."""

from __future__ import annotations

import re
from functools import lru_cache

from noa_perf.metrics.recorder import OTHER

MAX_GROUPS = 200
LONGEST_WORD = 32

DJANGO = ("views.decorators.cache.cache_page", "views.decorators.cache.cache_header", "django.contrib.sessions")
"""What Django's own keys begin with."""

_WORD = re.compile(r"(template\.cache\.[A-Za-z_]+|[A-Za-z_]*[A-Za-z])(?:[:/|.\-]|_\d)")


@lru_cache(maxsize=8_192)
def group_of(key: str) -> str:
    """Return ``product`` for ``product:7`` and ``product_7``, ``template.cache.menu`` for a fragment; else ``(other)``.

    A word that nothing follows may be somebody's name as well as a group's: it is none.
    """
    for known in DJANGO:
        if key.startswith(known):
            return known
    found = _WORD.match(key)
    return found[1] if found is not None and len(found[1]) <= LONGEST_WORD and "@" not in key else OTHER


class Counts:
    """What was asked of one group of keys, in plain ints."""

    __slots__ = ("far_hits", "misses", "stale", "writes")

    def __init__(self) -> None:
        """Start from nothing."""
        self.far_hits = self.misses = self.stale = self.writes = 0


class Groups:
    """Counts by group, of at most :data:`MAX_GROUPS`."""

    def __init__(self) -> None:
        """Start from none."""
        self._counts: dict[str, Counts] = {}

    def of(self, key: str) -> Counts:
        """Return the counts of a key's group."""
        group = group_of(key)
        found = self._counts.get(group)
        if found is None:
            if len(self._counts) >= MAX_GROUPS:
                group = OTHER
            found = self._counts.setdefault(group, Counts())
        return found

    def drain(self) -> dict[str, Counts]:
        """Return the counts since the last time."""
        drained, self._counts = self._counts, {}
        return drained
