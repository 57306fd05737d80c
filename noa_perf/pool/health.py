"""Tells probes and the doctor whether this process' pools have connections to give."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connections

from noa_perf.core.health import Health, register
from noa_perf.core.muting import muted
from noa_perf.pool import databases, registry


def install() -> None:
    """Ask from now on."""
    register("pool", serving)


def serving(deep: bool) -> Health:
    """Tell whether nobody waits and servers are reached; on a terminal a connection of each pool is asked for."""
    if deep:
        _ask_all()
    troubles = list(_troubles())
    if not troubles:
        return Health(ok=True, message="Nobody waits for a connection, and servers are reached.")
    cure = "See manage.py pool_status, and the log of noa_perf.pool for who holds connections and what a server says."
    return Health(ok=False, message=" ".join(troubles), cure=cure)


def _troubles() -> Iterator[str]:
    for keeper in registry.keepers():
        pool, state = keeper.pool, keeper.pool.state()
        if not pool.reachable:
            yield f"Pool {pool.name!r} cannot open connections."
        elif state.waiting:
            yield f"Pool {pool.name!r} has all {state.limit} connections in use, and {state.waiting} wait."


def _ask_all() -> None:
    for alias in databases.aliases():
        connection = connections[alias]
        held = connection.connection is not None
        try:
            with muted(), connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        finally:
            if not held:
                connection.close()
