"""What was decided, in plain ints, until the figures are told."""

from __future__ import annotations

from typing import Literal, NamedTuple

from noa_perf.core.told import Told

CLIENTS = 1_000
"""Refused clients of a policy that are told apart between two tellings."""
OTHER = "(other)"


OUTCOMES = ("allowed", "denied", "shadowed", "uncharged", "opened", "closed")
"""What may become of a request under a policy; see :class:`Tally`."""
_SUMS = (*OUTCOMES, "looks", "left")


class Counts(NamedTuple):
    """What one policy counted in a while."""

    outcomes: dict[str, int]
    looks: int
    """Requests whose figures were read."""
    left: int
    """Hundredths of the quota that were left to them, added up."""
    refused: dict[str, int]


class Tally:
    """One policy's. Only ever grows, so that whoever counts needs no lock against whoever tells."""

    __slots__ = (*_SUMS, "_told", "refused")

    def __init__(self) -> None:
        """Start from nothing."""
        self.allowed = 0
        self.denied = 0
        """Requests over one of its limits."""
        self.shadowed = 0
        """Requests that would have been denied."""
        self.uncharged = 0
        """Requests that this policy let pass and another one did not."""
        self.opened = 0
        """Requests that passed because the storage was away."""
        self.closed = 0
        """Requests that were denied because the storage was away."""
        self.looks = 0
        """Requests whose figures somebody has read, to tell of them."""
        self.left = 0
        """Hundredths of the quota that were left to those, added up."""
        self.refused: dict[str, int] = {}
        """Clients over a limit since the last telling, and how often."""
        self._told = Told()

    def refuse(self, client: str, *, shadow: bool) -> None:
        """Note a request over a limit."""
        if shadow:
            self.shadowed += 1
        else:
            self.denied += 1
        if client not in self.refused and len(self.refused) >= CLIENTS:
            client = OTHER
        self.refused[client] = self.refused.get(client, 0) + 1

    def look(self, remaining: int, size: int) -> None:
        """Note how much of the quota a request has left."""
        self.looks += 1
        self.left += 100 * min(remaining, size) // size

    def degrade(self, on_failure: Literal["open", "closed"]) -> None:
        """Note a request about which nobody could be asked."""
        if on_failure == "open":
            self.opened += 1
        else:
            self.closed += 1

    def collect(self) -> Counts:
        """Return what was counted since the last time."""
        refused, self.refused = self.refused, {}
        since = dict.fromkeys(_SUMS, 0) | self._told.since("", {name: getattr(self, name) for name in _SUMS})
        looks, left = since.pop("looks"), since.pop("left")
        return Counts(since, looks, left, refused)


class Tallies:
    """Those of all policies of this process."""

    __slots__ = ("_by_policy", "blocked")

    def __init__(self) -> None:
        """Start from nothing."""
        self._by_policy: dict[str, Tally] = {}
        self.blocked: dict[str, int] = {}
        """Requests that a ban or a deny list refused, by which."""

    def of(self, policy: str) -> Tally:
        """Return a policy's: the same one every time."""
        found = self._by_policy.get(policy)
        return found if found is not None else self._by_policy.setdefault(policy, Tally())

    def collect(self) -> dict[str, Counts]:
        """Return what each policy counted since the last time."""
        return {name: tally.collect() for name, tally in list(self._by_policy.items())}
