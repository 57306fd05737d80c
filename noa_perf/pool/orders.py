"""Obeys in this process what operators ordered for all: read before each flush of the figures, never in a request."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections

from noa_perf.core import conf
from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.muting import muted
from noa_perf.metrics import conf as metrics_conf
from noa_perf.metrics import recorder
from noa_perf.pool import registry
from noa_perf.pool.core import Pool

if TYPE_CHECKING:
    from noa_perf.pool.models import OrderQuerySet, PoolOrder

logger = logging.getLogger("noa_perf.pool")

DELETE_EVERY = 3_600.0
"""Seconds between two looks of a process for orders that are too old."""


class Obedience:
    """One process' knowledge of the orders: each is obeyed once, a size by each pool that is made later too."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        """Know nothing yet."""
        self._clock = clock
        self.begin_anew()

    def begin_anew(self) -> None:
        """Obey what is ordered from now on, as a process that begins has to, and a child that was forked."""
        self._began = datetime.fromtimestamp(self._clock.time(), UTC)
        self._seen: set[int] | None = None
        self._sized: weakref.WeakKeyDictionary[Pool[Any], int] = weakref.WeakKeyDictionary()
        self._delete_at = self._clock.monotonic() + DELETE_EVERY
        self._told = False

    def obey(self) -> None:
        """Read the orders and do what is new; a database that is away is asked again the next time. Raises nothing."""
        if not conf.enabled("POOL"):
            return
        try:
            with muted():
                self._obey(orders())
        except DatabaseError as error:
            self._complain(error)
        else:
            self._told = False
        _give_back()

    def _obey(self, rows: OrderQuerySet) -> None:
        found = list(rows)
        drains = [row for row in found if row.action == "drain"]
        for row in drains:
            if self._is_new(row):
                for pool in _pools(row.alias):
                    pool.drain()
                    logger.info("pool %s: drained, as order %d says", row.alias, row.pk)
        self._seen = {row.pk for row in drains}
        for row in _last(row for row in found if row.action == "resize"):
            self._resize(row)
        if self._clock.monotonic() >= self._delete_at:
            self._delete_at = self._clock.monotonic() + DELETE_EVERY
            rows.old(datetime.fromtimestamp(self._clock.time(), UTC)).delete()

    def _is_new(self, row: PoolOrder) -> bool:
        return row.at >= self._began if self._seen is None else row.pk not in self._seen

    def _resize(self, row: PoolOrder) -> None:
        for pool in _pools(row.alias):
            if self._sized.get(pool) != row.pk:
                self._sized[pool] = row.pk
                pool.resize(row.value or pool.options.max_size)
                logger.info("pool %s: %d connections at most, as order %d says", row.alias, pool.limit, row.pk)

    def _complain(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            message = "orders for pools cannot be read (%s); pools go on. Did migrate --database=%s run? Logged once."
            logger.warning(message, type(error).__name__, database())


def database() -> str:
    """Return the alias of the database in which orders lie: that of the figures."""
    return metrics_conf.settings().database


def orders() -> OrderQuerySet:
    """Return all orders."""
    from noa_perf.pool.models import PoolOrder

    return PoolOrder.objects.using(database())


def _pools(alias: str) -> list[Pool[Any]]:
    return [keeper.pool for keeper in registry.keepers() if keeper.pool.name == alias]


def _last(rows: Iterable[PoolOrder]) -> Iterable[PoolOrder]:
    return {row.alias: row for row in rows}.values()


def _give_back() -> None:
    connection = connections[database()]
    if not connection.in_atomic_block:
        connection.close()


obedience = Obedience()


def install() -> None:
    """Obey orders from now on, in the thread that writes the figures."""
    recorder.before_flush(obedience.obey)


os.register_at_fork(after_in_child=obedience.begin_anew)
