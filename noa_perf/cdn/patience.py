"""Waiting for so long and no longer: pages of the admin do not hang with a place that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from noa_perf.cdn.exceptions import TargetError

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that a page waits for the place of releases."""


def within(work: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Return what ``work`` returns, or raise what it raises.

    Raises :class:`~noa_perf.cdn.exceptions.TargetError` where that takes longer than ``seconds``: then it goes on by
    itself, in a thread that dies with the process, and nobody reads what comes of it.
    """
    came: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            came.append(work())
        except BaseException as error:  # raised again where it was asked for
            failed.append(error)

    thread = threading.Thread(target=run, name="noa_perf.cdn", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not came:
        raise TargetError(f"{what} did not answer within {seconds:g} s. What was asked may still be done: look again.")
    return came[0]
