"""What a storage can do: charge several limits at once or none, and tell what is left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from noa_perf.ratelimit.decision import Decision, Verdict
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.tally import Tally

What = Literal["hit", "test", "take", "give"]
"""``hit`` charges if all limits agree, ``test`` never; ``take`` charges what is left at most, ``give`` gives back."""


class Charge(NamedTuple):
    """What one policy is to charge one client."""

    policy: Policy
    client: str
    """As :func:`noa_perf.ratelimit.keys.join` writes it."""
    cost: int = 1


def agreed(verdicts: Sequence[Verdict]) -> bool:
    """Tell whether a request passes: whether all limits agree that are not in shadow mode."""
    return all(one.allowed or one.policy.shadow for one in verdicts)


Hit = Callable[[str, int], Decision | None]
"""Charges a client units under one policy; None where that has to be done in the usual way."""
LONGEST = 200
"""Characters of a client's name; a longer one is kept as a hash."""


class Storage(ABC):
    """Keeps what each client has used. Raises :class:`~noa_perf.ratelimit.exceptions.StorageDown`, and nothing else."""

    shared = False
    """Whether all processes count together."""

    @abstractmethod
    def run(self, what: What, charges: Sequence[Charge]) -> list[Verdict]:
        """Do it for all charges at once; return a verdict for each limit of each policy, in order."""

    @abstractmethod
    async def arun(self, what: What, charges: Sequence[Charge]) -> list[Verdict]:
        """Do the same on an event loop."""

    def bind(self, policy: Policy, tally: Tally) -> Hit | None:
        """Return a quicker way to charge one policy, and count it, if there is one."""
        return None

    @abstractmethod
    def reset(self, policy: Policy, client: str) -> bool:
        """Forget a client, and what blocks it; tell whether there was anything."""

    @abstractmethod
    async def areset(self, policy: Policy, client: str) -> bool:
        """Do the same on an event loop."""

    @abstractmethod
    def block(self, policy: Policy, client: str, microseconds: int) -> None:
        """Refuse a client whatever is left; 0 ends that."""

    @abstractmethod
    async def ablock(self, policy: Policy, client: str, microseconds: int) -> None:
        """Do the same on an event loop."""

    @abstractmethod
    def forget(self, client: str, *, dry: bool = False) -> int:
        """Forget a client under every policy, also where it is counted together with something; return how many counts.

        Looks through all that is kept. Of names that are too long a digest is kept, which tells of nobody. ``dry``
        only counts.
        """

    def reachable(self, ask: bool) -> bool:
        """Tell whether it answers; unless to ``ask`` it, whether it is not left alone for now."""
        return True
