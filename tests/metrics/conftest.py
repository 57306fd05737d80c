"""A database of the rollup's own, in a file, that a test may lock, break or leave unmigrated."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from noa_perf.core.clock import ManualClock
from noa_perf.metrics.models import Chore, Figure, Series
from tests.servers import get
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres

MODELS = (Figure, Series, Chore)
SERVERS: tuple[type[Postgres] | type[Mariadb], ...] = (Postgres, Mariadb)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def empty_database(tmp_path: Path, django_db_blocker) -> Iterator[str]:
    """Alias of a SQLite file without any table; it gives up on a lock at once."""
    with django_db_blocker.unblock():
        yield from serve({"NAME": str(tmp_path / "rollup.sqlite3"), "OPTIONS": {"timeout": 0}})


@pytest.fixture
def sqlite_database(empty_database: str) -> str:
    """Alias of a SQLite file with the rollup's tables."""
    migrate(empty_database)
    return empty_database


@pytest.fixture(params=["sqlite", *(pytest.param(cls, marks=pytest.mark.server, id=cls.name) for cls in SERVERS)])
def database(request: pytest.FixtureRequest, django_db_blocker) -> Iterator[str]:
    """Alias of a database with the rollup's tables, on each vendor."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_database")
        return
    server, name = get(request.param), f"rollup_{uuid.uuid4().hex}"
    server.query("primary", f"CREATE DATABASE {name}")
    with django_db_blocker.unblock():
        for alias in serve({**server.settings(name=name), "OPTIONS": {}}):
            migrate(alias)
            yield alias


def serve(own: dict[str, Any]) -> Iterator[str]:
    alias = "apart"
    connections.settings[alias] = copy.deepcopy(connections["default"].settings_dict) | {"CONN_MAX_AGE": 0} | own
    yield alias
    connections[alias].close()
    del connections[alias]
    del connections.settings[alias]


def migrate(alias: str) -> None:
    with connections[alias].schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)
