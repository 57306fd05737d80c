"""A pool without a database, that the registry knows, and what its figures became."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.test import RequestFactory
from django.urls import ResolverMatch

from noa_perf.core.clock import SYSTEM, ManualClock
from noa_perf.metrics import recorder
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer
from noa_perf.pool import metering, registry
from noa_perf.pool.core import Pool
from noa_perf.pool.entry import Entry
from noa_perf.pool.housekeeper import Keeper
from noa_perf.pool.options import PoolOptions
from noa_perf.pool.requests import current
from tests.pool.fake import FakeDriver

_numbers = itertools.count()


class Watched:
    """A pool of the registry, on a clock that moves only when told to."""

    def __init__(self, name: str = "", **options: Any) -> None:
        self.clock = ManualClock()
        self.driver = FakeDriver()
        self.name = name or f"pool{next(_numbers)}"
        self.key = (self.name, next(_numbers))
        options = {"min_size": 0, "leak_threshold": 5.0, **options}
        self.pool = registry.pool(
            self.key, lambda: Pool(self.name, self.driver, PoolOptions(**options), self.clock, lambda: 0.5)
        )
        self.pool.on_first = None  # nobody tends to it but the test
        self.keeper: Keeper = registry.named(self.name)[0]
        self.keeper._clock = self.clock

    def take(self) -> Entry[Any]:
        """Take a connection in a request: what the main thread takes outside of one is no leak."""
        request = RequestFactory().get("/orders/7/")
        request.resolver_match = ResolverMatch(print, (), {}, route="orders/<int:pk>/")
        token = current.set(request)
        try:
            return self.pool.acquire()
        finally:
            current.reset(token)

    def close(self) -> None:
        registry.close(self.name)


@contextmanager
def watching() -> Iterator[tuple[Tally, Callable[..., Watched]]]:
    """Yield what is counted, and what makes pools that are gone at the end."""
    tally, made = Tally(), []
    metering.tell()  # what other tests have left
    before = recorder.use(tally)

    def make(name: str = "", **options: Any) -> Watched:
        made.append(Watched(name, **options))
        return made[-1]

    try:
        yield tally, make
    finally:
        recorder.use(before)
        for one in made:
            one.close()


def flush(tally: Tally) -> None:
    """Tell, and write what was told."""
    metering.tell()
    assert Writer(tally, SYSTEM, "default").flush(force=True)
