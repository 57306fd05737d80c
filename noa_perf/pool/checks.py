"""System checks of the pools: settings read, nothing asked of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core import checks

from noa_perf.core.checks import SETTINGS_CHECKS, check_section
from noa_perf.pool import databases, options
from noa_perf.pool.conf import settings

LABEL = "noa_perf_pool"

CHECKS: Mapping[str, str] = {
    **SETTINGS_CHECKS,
    "E005": "OPTIONS['noa_pool'] of a database cannot be used.",
    "E006": "A database has Django's own pool beside ours.",
    "W001": "CONN_MAX_AGE is other than 0: it says nothing here, for the pool decides.",
    "W002": "pgbouncer is set, and server-side cursors are not disabled: they do not outlive a transaction there.",
    "W003": "pgbouncer is set beside what changes a session: it would be lost, or reach somebody else.",
    "W004": "pgbouncer is set, and the database is none of PostgreSQL.",
}
"""What each id of ``noa_perf_pool`` means, for the reference."""

SESSION_OPTIONS = {
    "prepare_threshold": "a prepared statement is known to one server connection alone, unless PgBouncer (1.21 and "
    "later) has max_prepared_statements",
    "assume_role": "SET ROLE would stay with a server connection that others use next",
    "options": "PgBouncer refuses what comes with the start of a connection, or ignores it",
}
"""What OPTIONS may hold that a PgBouncer in transaction mode breaks, and why."""


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check ``NOA_PERF["POOL"]`` and the databases that have a pool of ours."""
    found = check_section(settings, LABEL)
    for alias, own in databases.pooled():
        found += of_database(alias, own)
    return found


def of_database(alias: str, own: dict[str, Any]) -> list[checks.CheckMessage]:
    """Check one database by its settings."""
    raw = databases.raw(own)
    if raw is False:
        return []
    bad = [checks.Error(one.message, hint=one.hint, id=f"{LABEL}.E005") for one in options.problems(alias, raw)]
    pgbouncer = _pgbouncer(alias, own) if isinstance(raw, dict) and raw.get("pgbouncer") is True else ()
    return [*bad, *_twice(alias, own), *_age(alias, own), *pgbouncer]


def _twice(alias: str, own: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    if own.get("OPTIONS", {}).get("pool"):
        message = f'DATABASES[{alias!r}]["OPTIONS"] has "pool", Django\'s own, beside this engine\'s.'
        yield checks.Error(message, hint='Remove "pool".', id=f"{LABEL}.E006")


def _age(alias: str, own: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    if own.get("CONN_MAX_AGE", 0) != 0:
        message = f'DATABASES[{alias!r}]["CONN_MAX_AGE"] is {own["CONN_MAX_AGE"]!r}, which says nothing here.'
        hint = 'Remove it: a request gives its connection back at its end. For an age, set "max_lifetime".'
        yield checks.Warning(message, hint=hint, id=f"{LABEL}.W001")


def _pgbouncer(alias: str, own: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    path = f"DATABASES[{alias!r}]"
    if not str(own["ENGINE"]).endswith(".postgresql"):
        message = f'{path} has "pgbouncer", and is none of PostgreSQL.'
        yield checks.Warning(message, hint="Remove it.", id=f"{LABEL}.W004")
        return
    if not own.get("DISABLE_SERVER_SIDE_CURSORS"):
        message = f"{path} has a PgBouncer in transaction mode, where server-side cursors break: .iterator() fails."
        hint = f'Set {path}["DISABLE_SERVER_SIDE_CURSORS"] = True.'
        yield checks.Warning(message, hint=hint, id=f"{LABEL}.W002")
    for name, why in SESSION_OPTIONS.items():
        if own.get("OPTIONS", {}).get(name) is not None:
            message = f'{path}["OPTIONS"] has {name!r} beside "pgbouncer": {why}.'
            hint = "Remove it, or set it for the database's user (ALTER ROLE … SET …)."
            yield checks.Warning(message, hint=hint, id=f"{LABEL}.W003")
    if own.get("TIME_ZONE"):
        message = f'{path} has TIME_ZONE beside "pgbouncer": it is set on a session that others use next.'
        hint = "Set it for the database's user: ALTER ROLE … SET timezone = '…'."
        yield checks.Warning(message, hint=hint, id=f"{LABEL}.W003")
