"""Counts that only grow, and what came since they were told the last time: who counts needs no lock."""

from __future__ import annotations

from collections.abc import Mapping


class Told:
    """Remembers counts that only grow, so that what came since the last time can be told."""

    def __init__(self) -> None:
        """Start from nothing."""
        self._before: dict[tuple[str, str], int] = {}

    def since(self, what: str, counts: Mapping[str, int]) -> dict[str, int]:
        """Return by how much each count has grown; those that have not are left out."""
        grown = {}
        for name, many in list(counts.items()):
            more = many - self._before.get((what, name), 0)
            if more:
                grown[name] = more
                self._before[what, name] = many
        return grown
