"""Engines for the tests of the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pool.engines import ENGINES, Engine


@pytest.fixture(params=list(ENGINES))
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(vendor: str, django_db_blocker: Any) -> Iterator[Callable[..., Engine]]:
    """Return what makes an engine with these options of its pool; all is closed at the end, and counted."""
    made: list[Engine] = []

    def make(**options: Any) -> Engine:
        made.append(ENGINES[vendor](**options))
        return made[-1]

    with django_db_blocker.unblock():
        yield make
        for one in made:
            one.close()
