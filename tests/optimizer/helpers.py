"""Runs a block in a scope and returns what the collector makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from noa_perf.core.findings import Finding
from noa_perf.optimizer import capture
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.scopes import Scope


def findings_of(block: Callable[[], Any], *kinds: str) -> list[Finding]:
    """Return the findings (of ``kinds``, or all) in what ``block`` does."""
    collector = Collector()
    with capture.quiet(), capture.scope("scenario") as scope:
        block()
    collector.add(scope)
    return of_kinds(collector, kinds)


async def afindings_of(block: Callable[[], Any], *kinds: str) -> list[Finding]:
    """The same for a coroutine function."""
    collector = Collector()
    with capture.quiet(), capture.scope("scenario") as scope:
        await block()
    collector.add(scope)
    return of_kinds(collector, kinds)


def of_kinds(collector: Collector, kinds: tuple[str, ...]) -> list[Finding]:
    return [one for one in collector.findings() if not kinds or one.kind in kinds]


def scope_of(block: Callable[[], Any]) -> Scope:
    """Return the scope of what ``block`` does."""
    with capture.quiet(), capture.scope("scenario") as scope:
        block()
    return scope
