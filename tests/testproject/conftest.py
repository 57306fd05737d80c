from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from testproject.shop.seed import Shop, save


@pytest.fixture(scope="module")
def shop(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[Shop]:
    """The shop at the module's SCALE, for all of its tests, and taken back after them."""
    seeded = Shop(request.module.SCALE)
    with django_db_blocker.unblock(), transaction.atomic():
        save(seeded.rows())
        yield seeded
        transaction.set_rollback(True)
