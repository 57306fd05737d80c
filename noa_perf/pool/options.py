"""What ``DATABASES[alias]["OPTIONS"]["noa_pool"]`` may hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from noa_perf.core.conf import Problem, Shape, bounded
from noa_perf.pool.exceptions import BadPoolOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """One alias' pool, in each process."""

    min_size: int = bounded(1, least=0)
    """Connections that are kept open even where nobody wants one."""
    max_size: int = bounded(10, least=1)
    """Connections that there are at most in one process. All processes together must stay below what the server
    takes (``max_connections``)."""
    timeout: float = bounded(10.0, least=0.001)
    """Seconds that a request waits for a connection at most, be it for one to come back or for the server."""
    max_waiting: int = bounded(0, least=0)
    """How many may wait at a time; one more is turned away at once. 0: as many as like."""
    max_idle: float = bounded(600.0, least=0.001)
    """Seconds after which a connection that demand does not call for is closed."""
    max_lifetime: float = bounded(3_600.0, least=0.001)
    """Seconds that a connection lives at most, less up to a tenth, so that they do not all end together."""
    ping_after: float = bounded(30.0, least=0)
    """Seconds of idling after which a connection is asked whether it is there before it is given out. One that its
    server closed is found without asking."""
    ping_timeout: float = bounded(1.0, least=0.001)
    """Seconds that such an answer may take."""
    leak_threshold: float = bounded(60.0, least=0)
    """Seconds after which whoever holds a connection is reported, with the stack that took it. 0: never."""
    reset: Literal["dirty", "always", "never"] = "dirty"
    """When a session is put back to how a new one is: where a statement changed it, after every use (where stored
    functions change it unseen), or never."""
    pgbouncer: bool = False
    """Whether a PgBouncer in transaction mode stands before the server: nothing of a session outlives a transaction
    there, so nothing is reset, and health is asked without session state."""
    password: str | Callable[[], str] | None = None
    """Who is asked for the password each time that a connection is opened: a callable, or its dotted path."""


PATH = 'DATABASES[{alias!r}]["OPTIONS"]["noa_pool"]'


class _Options(Shape[PoolOptions]):
    def __init__(self, alias: str) -> None:
        super().__init__(PoolOptions, PATH.format(alias=alias), written=str.lower)


def problems(alias: str, raw: Any) -> list[Problem]:
    """Return what is wrong with an alias' options."""
    if raw in (None, True):
        return []
    shape = _Options(alias)
    found = shape.problems_of(raw)
    if not found and (loaded := shape.load(raw)).min_size > loaded.max_size:
        message = f"{shape.path} has min_size {loaded.min_size} above max_size {loaded.max_size}."
        found.append(Problem("value", message, "Lower min_size, or raise max_size."))
    return found


def load(alias: str, raw: Any) -> PoolOptions:
    """Return the options of an alias; ``None`` and ``True`` stand for the defaults.

    Raises :class:`BadPoolOptions`: a pool of another size than was meant can take a server down.
    """
    for problem in problems(alias, raw):
        raise BadPoolOptions(f"{problem.message} {problem.hint}")
    return _Options(alias).load(raw if isinstance(raw, dict) else {})
