"""Makes changes to the querysets at fault while a page is asked for again: those that run the same SQL at one place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import connections
from django.db.models import QuerySet
from django.db.models.query import ModelIterable

from noa_perf.optimizer import callsite, capture, fingerprint
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.proof.change import Change


@dataclass(slots=True)
class Target:
    """A queryset that is to be changed, known by the queries that it ran."""

    roots: tuple[Group, ...]
    change: Change
    met: int = 0
    """How often it was met, and changed."""

    def meets(self, queryset: Any, folded: str, place: callsite.Key) -> bool:
        """Tell whether ``queryset`` is about to run one of these queries."""
        return any(root.key == (queryset.db, folded, place) for root in self.roots)


@contextmanager
def applied(targets: list[Target]) -> Iterator[None]:
    """Change each queryset of ``targets`` whenever it is evaluated within the block."""
    patched: Any = QuerySet
    fetch_all, iterator = patched._fetch_all, patched._iterator

    def fetching(queryset: Any) -> None:
        if queryset._result_cache is None:
            _change(queryset, targets, sys._getframe(1))
        fetch_all(queryset)

    def iterating(queryset: Any, *args: Any) -> Any:
        # A generator, as Django's own is: it begins where the rows are asked for, not where it was made.
        _change(queryset, targets, sys._getframe(1))
        yield from iterator(queryset, *args)

    # For the time of a replay, in a command's own process: no request of a site ever runs through this.
    patched._fetch_all, patched._iterator = fetching, iterating
    try:
        yield
    finally:
        patched._fetch_all, patched._iterator = fetch_all, iterator


def _change(queryset: Any, targets: list[Target], frame: FrameType) -> None:
    if not issubclass(queryset._iterable_class, ModelIterable):
        return
    folded = _folded(queryset)
    place = callsite.key_of(frame) if folded else ()
    # All are looked for first: a changed queryset runs other SQL.
    for target in [one for one in targets if folded and one.meets(queryset, folded, place)]:
        target.change.apply(queryset)
        target.met += 1


def _folded(queryset: Any) -> str:
    try:
        with capture.muted():
            sql, _ = queryset.query.clone().get_compiler(using=queryset.db).as_sql()
    except (EmptyResultSet, FullResultSet):
        return ""
    return fingerprint.statement(sql, connections[queryset.db].vendor).folded
