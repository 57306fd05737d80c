"""What is wrong with how the pools are set up, and, where servers are asked, with how they and their pools meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db import DatabaseError, connections

from noa_perf.core.findings import Finding
from noa_perf.pool import checks, databases, servers
from noa_perf.pool.options import PoolOptions
from noa_perf.pool.servers import Server


def of_settings() -> Iterator[Finding]:
    """Yield what the system checks say of databases that have a pool."""
    for alias, own in databases.pooled():
        for message in checks.of_database(alias, own):
            severity = "high" if message.is_serious() else "medium"
            yield _finding(alias, str(message.id).rpartition(".")[2], message.msg, message.hint or "", severity)


def of_servers(processes: int) -> Iterator[Finding]:
    """Ask each server, and yield what does not fit a site of so many processes."""
    asked: dict[str, Server] = {}
    for alias in databases.aliases():
        own = databases.load(alias)
        if own is None:
            continue
        try:
            asked[alias] = servers.ask(alias)
            yield from _of_server(alias, own, asked[alias])
        except DatabaseError as error:
            summary = f"Its server does not answer ({type(error).__name__}), so it could not be looked at."
            cure = "See whether it runs, and lets this site's user in."
            yield _finding(alias, "unreachable", summary, cure, "high")
    yield from crowds(asked, processes)


def crowds(asked: dict[str, Server], processes: int) -> Iterator[Finding]:
    """Yield the servers that take fewer connections than all pools and others may have."""
    for together in _by_server(asked):
        server = asked[together[0]]
        most = sum(own.max_size for own in map(databases.load, together) if own is not None)
        wanted = most * processes + server.others
        if wanted > server.room:
            summary = (
                f"{processes} processes with {most} connections each, and {server.others} that others hold now, are "
                f"{wanted}; the server takes {server.room} (max_connections {server.most}, less {server.reserved})."
            )
            fit = max(0, (server.room - server.others) // processes)
            cure = f"Lower max_size to {fit} in all, run fewer processes, or raise max_connections."
            yield _finding(", ".join(together), "crowd", summary, cure, "high")


def _of_server(alias: str, own: PoolOptions, server: Server) -> Iterator[Finding]:
    if server.idle_timeout and server.idle_timeout < own.ping_after:
        name = "idle_session_timeout" if server.vendor == "postgresql" else "wait_timeout"
        summary = f"The server closes a session that idles for {server.idle_timeout:g} s ({name}), and the pool asks "
        summary += f"after one only once it has idled for {own.ping_after:g} s (ping_after)."
        yield _finding(alias, "idle_timeout", summary, f"Lower ping_after, or raise {name}.", "medium")
    if server.above_read_only:
        summary = f"Its user has {', '.join(server.above_read_only)} on *.*: read_only does not bind it, so a replica "
        summary += "would take its writes."
        yield _finding(alias, "rights", summary, "Grant the rights on the site's own database alone.", "medium")
    if server.vendor == "postgresql" and own.max_size > 1:
        yield from _of_pooler(alias, own)


def _of_pooler(alias: str, own: PoolOptions) -> Iterator[Finding]:
    if not own.pgbouncer and servers.shares_sessions(alias):
        summary = "A pooler in transaction mode stands before its server: what is set on a session reaches others."
        cure = f'Set {databases.path(alias)}["pgbouncer"] to True, and DISABLE_SERVER_SIDE_CURSORS.'
        yield _finding(alias, "pgbouncer", summary, cure, "high")


def _by_server(aliases: Iterable[str]) -> list[list[str]]:
    found: dict[tuple[Any, ...], list[str]] = {}
    for alias in aliases:
        settings = connections.settings[alias]
        found.setdefault(tuple(settings.get(name) for name in ("ENGINE", "HOST", "PORT")), []).append(alias)
    return list(found.values())


def _finding(alias: str, kind: str, summary: str, cure: str, severity: str) -> Finding:
    return Finding(kind=f"pool_{kind}", subject=alias, summary=summary, cure=cure, severity=severity, alias=alias)
