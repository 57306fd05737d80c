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
def _pg_alias() -> Iterator[str]:
    server = get(Postgres)
    server.query("primary", "DROP DATABASE IF EXISTS plans")
    server.query("primary", "CREATE DATABASE plans")
    connections.settings["pg"] = {**connections.settings["default"], "OPTIONS": {}, **server.settings(name="plans")}
    yield "pg"
    connections["pg"].close()
    del connections["pg"]
    connections.settings.pop("pg")


@pytest.fixture
def pg(_pg_alias: str, django_db_blocker: Any) -> Iterator[Run]:
    """Run SQL on PostgreSQL; each test starts without tables."""

    def run(sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        with connections[_pg_alias].cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    with django_db_blocker.unblock():
        run("DROP SCHEMA public CASCADE")
        run("CREATE SCHEMA public")
        yield run
        connections[_pg_alias].close()
