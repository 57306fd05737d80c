"""What the pool asks of whoever opens, checks, tidies and closes connections: nothing here knows a database."""

from __future__ import annotations

from typing import Protocol, TypeVar

C = TypeVar("C")


class Driver(Protocol[C]):
    """One kind of connection to one place."""

    def open(self, seconds: float) -> C:
        """Return a new connection, ready for use; raise whatever the driver raises, after about ``seconds`` at most."""

    def close(self, connection: C) -> None:
        """Close it, whatever state it is in; raises nothing and waits for nobody."""

    def alive(self, connection: C) -> bool:
        """Tell without a round trip whether an idle connection is still there. Raises nothing."""

    def ping(self, connection: C, seconds: float) -> bool:
        """Tell by a round trip, for which there are ``seconds``. Raises nothing."""

    def tidy(self, connection: C) -> tuple[str, ...]:
        """Put it back to how a new one is; return what was found, empty where nothing was.

        Raises where that cannot be done; the connection is closed then.
        """

    def disown(self, connection: C) -> None:
        """Cut it off in a child that was forked, so that nothing said here reaches the server. Raises nothing."""

    def transient(self, error: Exception) -> bool:
        """Tell whether opening may succeed a little later: the server restarts, or has no room just now."""
