"""A database of the rollup's own, in a file, that a test may lock, break or leave unmigrated."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from noa_perf.core.clock import ManualClock
from noa_perf.metrics.models import Chore, Figure, Series

MODELS = (Figure, Series, Chore)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def empty_database(tmp_path: Path, django_db_blocker) -> Iterator[str]:
    """Alias of a SQLite file without any table; it gives up on a lock at once."""
    alias = "apart"
    settings = copy.deepcopy(connections["default"].settings_dict)
    settings |= {"NAME": str(tmp_path / "rollup.sqlite3"), "OPTIONS": {"timeout": 0}, "CONN_MAX_AGE": 0}
    connections.settings[alias] = settings
    with django_db_blocker.unblock():
        yield alias
        connections[alias].close()
    del connections[alias]
    del connections.settings[alias]


@pytest.fixture
def database(empty_database: str) -> str:
    """Alias of a SQLite file with the rollup's tables."""
    migrate(empty_database)
    return empty_database


def migrate(alias: str) -> None:
    with connections[alias].schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)
