"""The ways to keep database connections that are measured, each set up as its own documentation says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

MOST = 20
"""Connections that each may open at most."""
PATIENCE = 60
"""Seconds that each lets a thread wait for one."""

Settings = dict[str, Any]
"""An entry of DATABASES."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One way, on one database."""

    name: str
    package: str
    vendor: str
    """``postgresql`` or ``mysql``."""
    set_up: Callable[[Settings], Settings]
    role: str = "primary"
    bounded: bool = True
    """Whether it keeps within :data:`MOST` connections, however many threads there are."""

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} ({version(self.package)})"

    @property
    def installed(self) -> bool:
        """Whether its package is here."""
        try:
            version(self.package)
        except PackageNotFoundError:
            return False
        return True

    def fits(self, threads: int) -> bool:
        """Whether so many threads need no more than :data:`MOST` connections of it."""
        return self.bounded or threads <= MOST


def _with(**more: Any) -> Callable[[Settings], Settings]:
    return lambda where: {**where, **more}


def _sqlalchemy(vendor: str) -> Callable[[Settings], Settings]:
    options = {"POOL_SIZE": MOST, "MAX_OVERFLOW": 0, "TIMEOUT": PATIENCE}
    return _with(ENGINE=f"dj_db_conn_pool.backends.{vendor}", POOL_OPTIONS=options)


def _ours(vendor: str) -> Callable[[Settings], Settings]:
    options = {"noa_pool": {"max_size": MOST, "timeout": PATIENCE}}
    return _with(ENGINE=f"noa_perf.pool.backends.{vendor}", OPTIONS=options)


OURS = "noa_perf"
NATIVE = "Django's native pool"
SQLALCHEMY = "django-db-connection-pool"
BARE = "psycopg_pool alone"

_NATIVE = {"pool": {"min_size": 4, "max_size": MOST, "timeout": PATIENCE}}

SUBJECTS = (
    Subject(OURS, "noa_perf", "postgresql", _ours("postgresql")),
    Subject(NATIVE, "psycopg-pool", "postgresql", _with(OPTIONS=_NATIVE)),
    Subject(SQLALCHEMY, "django-db-connection-pool", "postgresql", _sqlalchemy("postgresql")),
    Subject(
        "PgBouncer, CONN_MAX_AGE=None",
        "Django",
        "postgresql",
        _with(CONN_MAX_AGE=None, DISABLE_SERVER_SIDE_CURSORS=True),
        role="bouncer",
    ),
    Subject("CONN_MAX_AGE=None", "Django", "postgresql", _with(CONN_MAX_AGE=None), bounded=False),
    Subject("a fresh connection each time", "Django", "postgresql", _with(), bounded=False),
    Subject(OURS, "noa_perf", "mysql", _ours("mysql")),
    Subject(SQLALCHEMY, "django-db-connection-pool", "mysql", _sqlalchemy("mysql")),
    Subject("CONN_MAX_AGE=None", "Django", "mysql", _with(CONN_MAX_AGE=None), bounded=False),
    Subject("a fresh connection each time", "Django", "mysql", _with(), bounded=False),
)


def named(vendor: str, name: str) -> Subject:
    """Return the subject of this name."""
    return next(one for one in SUBJECTS if (one.vendor, one.name) == (vendor, name))
