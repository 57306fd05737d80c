"""A PostgreSQL and a MariaDB beside the tests' SQLite, as aliases ``pg`` and ``maria``, for tests that ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.servers.registry import get

Run = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="session")
def _database() -> dict[str, Any]:
    server = get(Postgres)
    server.query("primary", "CREATE DATABASE plans")
    return {**connections.settings["default"], "OPTIONS": {}, **server.settings(name="plans")}


@contextmanager
def connected(alias: str, database: dict[str, Any]) -> Iterator[Run]:
    """Yield what runs SQL on ``database``, which is known as ``alias`` meanwhile."""
    connections.settings[alias] = database

    def run(sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall()) if cursor.description else []

    try:
        yield run
        connections[alias].close()
    finally:
        # Other tests look at all databases there are, and may not touch this one.
        del connections[alias]
        connections.settings.pop(alias)


@pytest.fixture
def pg(_database: dict[str, Any], django_db_blocker: Any) -> Iterator[Run]:
    """Run SQL on PostgreSQL, as the alias ``pg``; each test starts without tables."""
    with django_db_blocker.unblock(), connected("pg", _database) as run:
        run("DROP SCHEMA public CASCADE")
        run("CREATE SCHEMA public")
        yield run


@pytest.fixture
def maria(django_db_blocker: Any) -> Iterator[Run]:
    """Run SQL on MariaDB, as the alias ``maria``; each test starts without tables."""
    server = get(Mariadb)
    server.query("primary", "CREATE OR REPLACE DATABASE plans")
    database = {**connections.settings["default"], "OPTIONS": {}, **server.settings(name="plans")}
    with django_db_blocker.unblock(), connected("maria", database) as run:
        yield run
