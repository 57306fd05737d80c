"""Doing many things at once, with a progress bar around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Progress = Callable[[str, int, Iterator[Any]], Iterator[Any]]
"""Called with a label, how many there are, and what yields them; yields the same, and shows how far it is."""


def silent(label: str, total: int, items: Iterator[T]) -> Iterator[T]:
    """Show no progress."""
    return items


def at_once(
    label: str, work: Callable[[T], R], items: Sequence[T], workers: int, progress: Progress = silent
) -> Iterator[R]:
    """Yield what ``work`` makes of each item, in order, in so many threads (0: as Python chooses).

    The first error ends it: what was not begun is not begun any more.
    """
    with ThreadPoolExecutor(workers or None) as threads:
        try:
            yield from progress(label, len(items), threads.map(work, items))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
