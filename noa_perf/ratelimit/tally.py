"""What was decided, in plain ints, until the figures are told."""

from __future__ import annotations

from typing import Literal, NamedTuple

CLIENTS = 1_000
"""Refused clients of a policy that are told apart between two tellings."""
OTHER = "(other)"


OUTCOMES = ("allowed", "denied", "shadowed", "uncharged", "opened", "closed")
"""What may become of a request under a policy; see :class:`Tally`."""


class Counts(NamedTuple):
    """What one policy counted in a while."""

    outcomes: dict[str, int]
    refused: dict[str, int]


class Tally:
    """One policy's. Only ever grows, so that whoever counts needs no lock against whoever tells."""

    __slots__ = (*OUTCOMES, "_told", "refused")

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
        self.refused: dict[str, int] = {}
        """Clients over a limit since the last telling, and how often."""
        self._told: dict[str, int] = {}

    def refuse(self, client: str, *, shadow: bool) -> None:
        """Note a request over a limit."""
        if shadow:
            self.shadowed += 1
        else:
            self.denied += 1
        if client not in self.refused and len(self.refused) >= CLIENTS:
            client = OTHER
        self.refused[client] = self.refused.get(client, 0) + 1

    def degrade(self, on_failure: Literal["open", "closed"]) -> None:
        """Note a request about which nobody could be asked."""
        if on_failure == "open":
            self.opened += 1
        else:
            self.closed += 1

    def collect(self) -> Counts:
        """Return what was counted since the last time."""
        now = {name: getattr(self, name) for name in OUTCOMES}
        refused, self.refused = self.refused, {}
        since = {name: now[name] - self._told.get(name, 0) for name in OUTCOMES}
        self._told = now
        return Counts(since, refused)


class Tallies:
    """Those of all policies of this process."""

    __slots__ = ("_by_policy",)

    def __init__(self) -> None:
        """Start from nothing."""
        self._by_policy: dict[str, Tally] = {}

    def of(self, policy: str) -> Tally:
        """Return a policy's: the same one every time."""
        found = self._by_policy.get(policy)
        return found if found is not None else self._by_policy.setdefault(policy, Tally())

    def collect(self) -> dict[str, Counts]:
        """Return what each policy counted since the last time."""
        return {name: tally.collect() for name, tally in list(self._by_policy.items())}
