"""A scope for tests: it sees what a block caused, and changes nothing about how that is watched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from noa_perf.optimizer.conf import OptimizerSettings
from noa_perf.optimizer.scopes import Scope

MAX_GROUPS = 100_000
"""As many as the setting allows: a test lasts no longer than a test."""


class Watch(Scope):
    """The queries of a block of a test.

    It is nobody's parent. A request, a command or a block that opens within stands for itself, as on a site, and is
    listed in :attr:`below`: so a test that asks for a page three times sees no N+1 in that.
    """

    def __init__(
        self,
        name: str,
        settings: OptimizerSettings,
        *,
        parent: Scope | None = None,
        threshold: int | None = None,
        keeps_first: bool = False,
    ) -> None:
        """Judge an N+1 by ``threshold`` instead of the setting; keep first values with ``keeps_first``."""
        self._threshold = threshold
        super().__init__(name, self.adapted(settings), kind="test", parent=parent)
        self.watch = self
        self.keeps_first = keeps_first
        self.below: list[Scope] = []
        self._before = frozenset(threading.enumerate())

    def adapted(self, own: OptimizerSettings) -> OptimizerSettings:
        """Return the settings by which this block is watched: every query of it, whatever share a site watches."""
        threshold = own.n_plus_one_threshold if self._threshold is None else self._threshold
        return replace(own, n_plus_one_threshold=threshold, sample_rate=1.0, max_groups=MAX_GROUPS)

    def take(self, opened: Scope) -> None:
        """List a scope that opened within the block."""
        opened.keeps_first = opened.keeps_first or self.keeps_first
        self.below.append(opened)

    def adopts(self, thread: threading.Thread) -> bool:
        """Tell whether ``thread`` was started since the block began: it knows of no scope."""
        return thread not in self._before

    def everything(self) -> Iterator[Scope]:
        """Yield this scope and all that opened within, watches within watches too."""
        yield self
        for one in tuple(self.below):
            if isinstance(one, Watch):
                yield from one.everything()
            else:
                yield one


_open: list[Watch] = []


@contextmanager
def adopting(watch: Watch) -> Iterator[None]:
    """Lay to ``watch``, for the length of the block, what threads do that start within it."""
    _open.append(watch)
    try:
        yield
    finally:
        _open.remove(watch)


def adopter() -> Watch | None:
    """Return the innermost watch within which this thread was started, or None."""
    if not _open:
        return None
    thread = threading.current_thread()
    return next((watch for watch in reversed(_open) if watch.adopts(thread)), None)
