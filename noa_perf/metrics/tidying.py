"""Keeps the rollup small: old buckets are thinned, older ones deleted, by one process at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Exists, OuterRef

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.muting import muted
from noa_perf.metrics.conf import settings
from noa_perf.metrics.recorder import Totals
from noa_perf.metrics.rollup import RESOLUTIONS, add_row

if TYPE_CHECKING:
    from noa_perf.metrics.models import Figure

EVERY = 60
"""Seconds between two rounds, all processes together."""
BATCH = 2_000
"""Rows that one transaction thins: others wait for it on a database that locks as a whole."""


def tidy(clock: Clock = SYSTEM, database: str | None = None) -> int:
    """Thin and delete what is due, if no process did so within the last minute; returns the rows that are gone.

    Each batch is one transaction that begins by taking the chore's row: a second process waits, then finds that there
    is nothing due. Raises what the database raises.
    """
    alias, now = database or settings().database, int(clock.time())
    with muted():
        if not _take(alias, now):
            return 0
        gone = sum(_thin_all(alias, now, index) for index in (0, 1))
        return gone + _delete_old(alias, now)


def _take(alias: str, now: int) -> bool:
    from noa_perf.metrics.models import Chore

    chores = Chore._default_manager.using(alias)
    if chores.filter(name="tidy", due__lte=now + EVERY, due__gt=now).exists():
        return False
    chores.bulk_create([Chore(name="tidy"), Chore(name="thin")], ignore_conflicts=True)
    # A due time beyond the next round was left by a clock that went wrong.
    due = chores.filter(name="tidy").exclude(due__lte=now + EVERY, due__gt=now)
    return due.update(due=now + EVERY) == 1


def _thin_all(alias: str, now: int, index: int) -> int:
    own = settings()
    cutoff = now - int((own.keep_10_seconds, own.keep_1_minute)[index])
    fine, coarse = RESOLUTIONS[index : index + 2]
    gone = 0
    for kind in _kinds(alias):
        while thinned := _thin(alias, kind, cutoff - cutoff % coarse, fine, coarse):
            gone += thinned
    return gone


def _kinds(alias: str) -> list[str]:
    from noa_perf.metrics.models import Series

    return list(Series._default_manager.using(alias).values_list("kind", flat=True).distinct().order_by("kind"))


def _thin(alias: str, kind: str, cutoff: int, fine: int, coarse: int) -> int:
    """Move up to :data:`BATCH` rows that begin before ``cutoff`` into buckets of ``coarse`` seconds."""
    from noa_perf.metrics.models import Chore, Figure

    figures = Figure._default_manager.using(alias).filter(kind=kind)
    with transaction.atomic(using=alias):
        # Holds the row, and on SQLite the database, until the transaction ends: no row is moved twice.
        Chore._default_manager.using(alias).filter(name="thin").update(due=cutoff)
        rows = list(figures.filter(resolution=fine, bucket__lt=cutoff).order_by("bucket")[:BATCH])
        buckets = {row.bucket // coarse * coarse for row in rows}
        rows_there = list(figures.filter(resolution=coarse, bucket__in=buckets, process="")) if rows else []
        figures.filter(pk__in=[row.pk for row in (*rows, *rows_there)]).delete()
        Figure._default_manager.using(alias).bulk_create(_added_up((*rows, *rows_there), coarse))
    return len(rows)


def _added_up(rows: Iterable[Figure], coarse: int) -> list[Figure]:
    from noa_perf.metrics.models import Figure

    sums: dict[tuple[str, str, int], Totals] = {}
    for row in rows:
        key = (row.kind, row.series, row.bucket // coarse * coarse)
        add_row(sums.setdefault(key, Totals()), row.count, row.seconds, row.histogram, row.extra)
    return [
        Figure(
            kind=kind, series=series, bucket=bucket, resolution=coarse, process="",
            count=one.count, seconds=one.seconds, histogram=one.buckets, extra=one.extra,
        )
        for (kind, series, bucket), one in sums.items()
    ]  # fmt: skip


def _delete_old(alias: str, now: int) -> int:
    from noa_perf.metrics.models import Figure, Series

    figures = Figure._default_manager.using(alias)
    old = figures.filter(kind__in=_kinds(alias), resolution__in=RESOLUTIONS, bucket__lt=now - int(settings().retention))
    gone, _ = old.delete()
    if gone:
        used = figures.filter(kind=OuterRef("kind"), series=OuterRef("series"))
        Series._default_manager.using(alias).exclude(Exists(used)).delete()
    return gone
