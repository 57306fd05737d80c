"""System checks of the metrics: settings, and the databases that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core import checks
from django.db import connections

from noa_perf.core import conf
from noa_perf.core.checks import SETTINGS_CHECKS, check_section
from noa_perf.metrics.conf import settings

LABEL = "noa_perf_metrics"

CHECKS: Mapping[str, str] = {
    **SETTINGS_CHECKS,
    "E005": "DATABASE or READY_DATABASES names a database that DATABASES does not have.",
    "E006": "The rollup's database cannot insert-or-update (Oracle): name another.",
    "E007": "The times after which figures are thinned and deleted are not in order.",
}
"""What each id of ``noa_perf_metrics`` means, for the reference."""


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check ``NOA_PERF["METRICS"]``; opens no connection."""
    return [*check_section(settings, LABEL), *_databases(), *_times()]


def _databases() -> Iterator[checks.CheckMessage]:
    own = settings()
    named = {"DATABASE": (own.database,) if own.rollup else (), "READY_DATABASES": own.ready_databases}
    for key, aliases in named.items():
        for alias in aliases:
            if alias not in connections:
                message = f"{settings.path}[{key!r}] names {alias!r}, which is none of DATABASES."
                known = ", ".join(repr(each) for each in connections)
                yield checks.Error(message, hint=f"Name one of {known}.", id=f"{LABEL}.E005")
    if own.rollup and conf.enabled("METRICS") and own.database in connections:
        yield from _upserts(own.database)


def _upserts(alias: str) -> Iterator[checks.CheckMessage]:
    if not connections[alias].features.supports_update_conflicts:
        message = f"The rollup's database {alias!r} ({connections[alias].vendor}) cannot insert or update in one."
        hint = (
            f'Name a SQLite, PostgreSQL, MySQL or MariaDB database in {settings.path}["DATABASE"], or set ROLLUP off.'
        )
        yield checks.Error(message, hint=hint, id=f"{LABEL}.E006")


def _times() -> Iterator[checks.CheckMessage]:
    own = settings()
    if not own.keep_10_seconds <= own.keep_1_minute <= own.retention:
        message = f"{settings.path} thins after {own.keep_10_seconds:g} s and {own.keep_1_minute:g} s,"
        yield checks.Error(
            f"{message} and deletes after {own.retention:g} s.",
            hint="Let KEEP_10_SECONDS be at most KEEP_1_MINUTE, and that at most RETENTION.",
            id=f"{LABEL}.E007",
        )
