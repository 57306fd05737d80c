"""Switched off, the engines are Django's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pool.engines import Engine

pytestmark = pytest.mark.server

SETS = {"postgresql": "SET statement_timeout = 7000", "mysql": "SET SESSION lock_wait_timeout = 7"}


@pytest.mark.parametrize("how", ["variable", "option"])
def test_a_site_without_pools_goes_on(
    engine: Callable[..., Engine], vendor: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    one = engine()
    if how == "variable":
        monkeypatch.setenv("NOA_PERF_DISABLE", "pool")
    else:
        one.connection.settings_dict["OPTIONS"]["noa_pool"] = False

    assert one.connection.noa_pool is None
    one.scalar(SETS[vendor])
    assert one.scalar("SELECT 1") == 1
    one.connection.close()
    assert one.connection.connection is None
