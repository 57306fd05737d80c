"""What every algorithm can do, whatever it keeps of a client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

EXACT = 2**52
"""Up to here Lua's numbers, which are doubles, are exact integers, and so is the sum of any two."""


class Figures(NamedTuple):
    """What one limit says of one client at some moment. Times are microseconds from then."""

    allowed: bool
    remaining: int
    """Units that are left."""
    reset: int
    """Until the whole quota is there again; 0 if it is."""
    retry: int
    """Until what was asked for would pass; 0 if it does, -1 if it never will: it costs more than there ever is."""


class Algorithm(ABC):
    """Arithmetic on what is kept of one client: its state, None for one that was not seen of late.

    Times are whole microseconds on one clock; units are whole too. Redis does the same in Lua, in the file of the
    same name, and a test holds the two against each other step by step. Where the clock was set back, time stands
    still at worst for one period.
    """

    __slots__ = ("arguments", "capacity")

    lua: ClassVar[str]
    """Its name in Lua."""
    mutable: ClassVar[bool] = False
    """Whether a state is changed in place, so that its figures have to be read at once."""

    arguments: tuple[int, int, int, int]
    """What Lua is told of a limit."""
    capacity: int
    """The most units that are ever left."""

    @abstractmethod
    def admit(self, state: Any, now: int, cost: int) -> Any:
        """Return the state after ``cost`` units are taken, or None where they are not there."""

    def commit(self, state: Any, now: int, cost: int) -> Any:
        """Return what to keep of what :meth:`admit` returned, once all limits of a request agree."""
        return state

    @abstractmethod
    def figures(self, state: Any, now: int, cost: int, allowed: bool) -> Figures:
        """Tell of a state: what is left, and when ``cost`` units will be there where they are not (``allowed``)."""

    @abstractmethod
    def give(self, state: Any, now: int, cost: int, at: int = 0) -> Any:
        """Return the state after units are given back: those taken at the moment ``at``, or else the latest."""

    def weight(self, state: Any) -> int:
        """Return how much room a state takes, in states of the usual size."""
        return 1
