"""This process' pools: made when first asked for, forgotten in a child that was forked, closed at the end."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Hashable
from typing import Any

from noa_perf.metrics import recorder
from noa_perf.pool.core import Pool
from noa_perf.pool.exceptions import UnknownPool
from noa_perf.pool.housekeeper import Housekeeper, Keeper

logger = logging.getLogger("noa_perf.pool")

_lock = threading.Lock()
_keepers: dict[Hashable, Keeper] = {}
_housekeeper: Housekeeper | None = None
_inherited: list[Any] = []
"""Connections of a parent: never closed here, for closing would say farewell in its name."""


def pool(key: Hashable, make: Callable[[], Pool[Any]]) -> Pool[Any]:
    """Return the pool of ``key``, made by ``make`` if there is none, or if that one is closed."""
    found = _keepers.get(key)
    if found is not None and not found.pool.closed:
        return found.pool
    with _lock:
        found = _keepers.get(key)
        if found is None or found.pool.closed:
            found = _keepers[key] = Keeper(make())
            found.pool.on_first = lambda keeper=found: _look_after(keeper)
    return found.pool


def keepers() -> list[Keeper]:
    """Return this process' pools with those who look after them, in the order of their names."""
    return sorted(_keepers.values(), key=lambda keeper: keeper.pool.name)


def named(name: str) -> list[Keeper]:
    """Return those of this name: one, as a rule. Raises :class:`UnknownPool`."""
    found = [keeper for keeper in keepers() if keeper.pool.name == name]
    if not found:
        names = ", ".join(sorted({keeper.pool.name for keeper in keepers()})) or "none yet"
        raise UnknownPool(f"This process has no pool {name!r}. It has: {names}.")
    return found


def close(name: str) -> None:
    """Close the pools of this name, whatever their keys are, and forget them."""
    with _lock:
        found = [(key, keeper.pool) for key, keeper in _keepers.items() if keeper.pool.name == name]
        for key, _ in found:
            del _keepers[key]
    for _, pool in found:
        pool.close()


def close_all() -> None:
    """Close all of them: at the end of a process, and for tests."""
    global _housekeeper
    with _lock:
        all_of_them = list(_keepers.values())
        _keepers.clear()
        housekeeper, _housekeeper = _housekeeper, None
    if housekeeper is not None:
        housekeeper.stop()
    for keeper in all_of_them:
        keeper.pool.close()


def _look_after(keeper: Keeper) -> None:
    global _housekeeper
    with _lock:
        if _housekeeper is None:
            _housekeeper = _started()
        if _housekeeper is not None:
            _housekeeper.look_after(keeper)
    recorder.current().begin()


def _started() -> Housekeeper | None:
    housekeeper = Housekeeper()
    try:
        housekeeper.start()
    except RuntimeError as error:  # no more threads, or the interpreter ends: connections are lent all the same
        logger.debug("noa_perf.pool has no housekeeper", exc_info=error)
        return None
    return housekeeper


def _in_child() -> None:
    """Begin anew: neither locks nor threads nor connections of the parent are of use here."""
    global _lock, _housekeeper
    _lock = threading.Lock()
    _housekeeper = None
    parents = list(_keepers.values())
    _keepers.clear()
    for keeper in parents:
        for entry in keeper.pool.abandon():
            _inherited.append(entry.connection)
            keeper.pool.driver.disown(entry.connection)
            holder = entry.holder() if entry.holder is not None else None
            if holder is not None:
                holder.disowned()


os.register_at_fork(after_in_child=_in_child)
atexit.register(close_all)
