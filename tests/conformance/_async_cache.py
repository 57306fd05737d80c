"""TieredCache driven by its async methods alone, so that Django's tests, which are sync, go through them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync

from noa_perf.cache.backend import TieredCache

TWINS = (
    *("get", "set", "add", "touch", "delete", "get_many", "set_many", "delete_many", "has_key", "incr", "decr"),
    "clear",
)
"""Not ``get_or_set`` and ``incr_version``: Django's own are made of these."""


def _through(name: str) -> Callable[..., Any]:
    def call(self: TieredCache, *args: Any, **kwargs: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return async_to_sync(getattr(TieredCache, f"a{name}"))(self, *args, **kwargs)
        return getattr(super(cls, self), name)(*args, **kwargs)  # an async test that asks in the sync way

    return call


cls = AsyncTieredCache = type("AsyncTieredCache", (TieredCache,), {name: _through(name) for name in TWINS})
"""The sync methods of TieredCache, each done by its async twin on a loop of its own."""
