"""A PostgreSQL beside the tests' SQLite, as the alias ``pg``, for tests that ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from tests.servers.postgres import Postgres
from tests.servers.registry import get

Run = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="session")
def _database() -> dict[str, Any]:
    server = get(Postgres)
    server.query("primary", "CREATE DATABASE plans")
    return {**connections.settings["default"], "OPTIONS": {}, **server.settings(name="plans")}


@pytest.fixture
def pg(_database: dict[str, Any], django_db_blocker: Any) -> Iterator[Run]:
    """Run SQL on PostgreSQL, as the alias ``pg``; each test starts without tables."""
    connections.settings["pg"] = _database

    def run(sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        with connections["pg"].cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    with django_db_blocker.unblock():
        run("DROP SCHEMA public CASCADE")
        run("CREATE SCHEMA public")
        yield run
        connections["pg"].close()
    # Other tests look at all databases there are, and may not touch this one.
    del connections["pg"]
    connections.settings.pop("pg")
