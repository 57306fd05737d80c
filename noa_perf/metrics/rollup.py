"""Figures in buckets of ten seconds: written by each process for itself, read for all of them together.

A row belongs to one process, which writes what the bucket holds *so far*. So a write can be repeated after an error of
unknown outcome, and two processes never wait for one another's row.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from django.db import DatabaseError, ProgrammingError, connections
from django.db.models import F, FloatField, Sum, TextField
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.utils.connection import ConnectionDoesNotExist

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.histogram import percentile
from noa_perf.core.muting import muted
from noa_perf.core.panels import Window
from noa_perf.metrics.conf import settings
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.metrics.instruments import ROLLUP_FAILURES, ROLLUP_LOST
from noa_perf.metrics.recorder import OTHER, Labels, Notes, SeriesTotals, Tally, Totals

logger = logging.getLogger("noa_perf.metrics")

KINDS: dict[str, tuple[str, ...]] = {
    "route": ("route",),
    "query": ("alias", "fingerprint", "sql"),
    "n_plus_one": ("subject", "place", "route"),
}
"""Names of the labels of each kind of series; an app adds its own kinds when it is ready."""

RESOLUTIONS = (10, 60, 600)
"""Seconds that a bucket is long: as written, thinned once, thinned twice."""
MAX_PENDING = 12
"""Buckets that wait for a database that is away; then the oldest is given up."""
MAX_AGE = 600
"""Seconds after which a bucket that could not be written is given up: other processes thin what is older."""
LONGEST_WAIT = 60.0
"""Seconds between tries, at most."""
MAX_LABEL = 10_000
"""Characters of a label that are kept."""
MAX_NOTES = 500
"""Series whose notes wait for a database that is away."""
MAX_NOTE = 30_000
"""Characters of what one process notes of a series, as JSON; the longest parts are left out of longer ones."""


class Writer:
    """Gathers what the recorder drained into buckets, and writes them; an error costs figures and nothing else."""

    def __init__(self, tally: Tally, clock: Clock = SYSTEM, database: str | None = None) -> None:
        """Write what ``tally`` counts to ``database`` (default: ``NOA_PERF["METRICS"]["DATABASE"]``)."""
        self._tally = tally
        self._clock = clock
        self._database = database
        self.failures = self.lost = 0
        self._refused = False
        self.reset()

    def reset(self) -> None:
        """Forget what waits to be written and take a new name, as a forked child has to."""
        self._lock = threading.Lock()
        self._pending: dict[int, SeriesTotals] = {}
        self._notes: Notes = {}
        self._told: set[tuple[str, str]] = set()
        self._written: set[int] = set()
        self.process = uuid.uuid4().hex[:16]
        self._latest = 0
        self._fruitless = 0
        self._next_try = float("-inf")
        self.problem: Problem | None = None

    @property
    def database(self) -> str:
        """Alias of the rollup's database."""
        return self._database or settings().database

    @property
    def waiting(self) -> int:
        """Buckets that wait to be written."""
        return len(self._pending.keys() - self._written)

    def flush(self, *, force: bool = False) -> bool:
        """Write what was counted; returns whether something was written. Raises nothing.

        After a failure it only gathers until its next try is due, unless ``force``d.
        """
        with self._lock:
            self._gather()
            dirty = [start for start in self._pending if start not in self._written]
            due = force or self._clock.monotonic() >= self._next_try
            return bool(dirty or self._notes) and due and self._try(dirty)

    def _gather(self) -> None:
        start = int(self._clock.time()) // RESOLUTIONS[0] * RESOLUTIONS[0]
        if start < self._latest:
            self._begin_again()
        self._latest = start
        drained = self._tally.drain_series()
        if drained:
            _merge(self._pending.setdefault(start, {}), drained, self._tally.max_series)
            self._written.discard(start)
        for key, facts in self._tally.drain_notes().items():
            if key in self._notes or len(self._notes) < MAX_NOTES:
                self._notes[key] = facts
        for done in [each for each in self._written if each != start]:
            del self._pending[done]
            self._written.discard(done)
        self._give_up(start)

    def _give_up(self, start: int) -> None:
        oldest = sorted(self._pending)
        late = [each for each in oldest if start - each > MAX_AGE]
        for each in late or oldest[:-MAX_PENDING]:
            del self._pending[each]
            self.lost += 1
            self._tally.count(ROLLUP_LOST)

    def _begin_again(self) -> None:
        # The wall clock was set back. Rows of these buckets may hold other figures of ours, which a row written
        # under the same name would replace.
        unwritten = {start: self._pending[start] for start in self._pending.keys() - self._written}
        self._pending, self._written = unwritten, set()
        self.process = uuid.uuid4().hex[:16]

    def _try(self, starts: Sequence[int]) -> bool:
        try:
            with muted():
                self._write(starts)
        except Exception as error:
            self._failed(error)
            return False
        self._written.update(starts)
        self._try_notes()
        if self.problem is not None:
            logger.info("the rollup on database %r is written again", self.database)
        self.problem, self._fruitless, self._next_try = None, 0, float("-inf")
        return True

    def _try_notes(self) -> None:
        """Write the notes; what the database refuses is let go, for figures must not wait for words."""
        if not self._notes:
            return
        try:
            with muted():
                self._write_notes()
        except Exception as error:
            self._notes = {}
            self.failures += 1
            self._tally.count(ROLLUP_FAILURES)
            if not self._refused:
                self._refused = True
                message = "notes could not be written to database %r (%s); figures are; logged once"
                logger.warning(message, self.database, type(error).__name__)
            logger.debug("notes could not be written", exc_info=error)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self.forget_told()
        self._tally.count(ROLLUP_FAILURES)
        wait = min(LONGEST_WAIT, RESOLUTIONS[0] * 2.0**self._fruitless)
        self._fruitless = min(self._fruitless + 1, 10)
        self._next_try = self._clock.monotonic() + wait
        if self.problem is None:
            self.problem = diagnose(error, self.database)
            message = "%s %s Figures may be lost meanwhile, requests are not; logged once until it works again."
            logger.warning(message, self.problem.message, self.problem.cure)
            # A driver's error may name an address or hold a value.
            logger.debug("the rollup could not be written", exc_info=error)

    def _write(self, starts: Sequence[int]) -> None:
        from noa_perf.metrics.models import Figure

        named = {key: digest(*key) for start in starts for key in self._pending[start]}
        self._tell(named)
        rows = [
            Figure(
                kind=key[0],
                resolution=RESOLUTIONS[0],
                bucket=start,
                series=named[key],
                process=self.process,
                count=totals.count,
                seconds=totals.seconds,
                histogram=totals.buckets,
                extra=totals.extra,
            )
            for start in starts
            for key, totals in self._pending[start].items()
        ]
        Figure._default_manager.using(self.database).bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=_target(self.database, ["kind", "resolution", "bucket", "series", "process"]),
            update_fields=["count", "seconds", "histogram", "extra"],
        )

    def _write_notes(self) -> None:
        """Add the notes to those that other processes have written; what they know and we do not, stays."""
        from noa_perf.metrics.models import Series

        notes = {(kind, digest(kind, labels)): (labels, facts) for (kind, labels), facts in self._notes.items()}
        there = Series._default_manager.using(self.database).filter(series__in=[series for _, series in notes])
        known = {(kind, series): facts for kind, series, facts in there.values_list("kind", "series", "notes")}
        rows = [
            Series(kind=key[0], series=key[1], labels=_cut(labels), notes=_joined(known.get(key), _kept(facts)))
            for key, (labels, facts) in sorted(notes.items(), key=lambda each: each[0])
        ]
        Series._default_manager.using(self.database).bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=_target(self.database, ["kind", "series"]),
            update_fields=["notes"],
        )
        self._notes = {}

    def _tell(self, named: Mapping[tuple[str, Labels], str]) -> None:
        from noa_perf.metrics.models import Series

        if len(self._told) > 20 * self._tally.max_series:
            self._told.clear()
        new = {(kind, series): labels for (kind, labels), series in named.items() if (kind, series) not in self._told}
        # Sorted: two processes that tell of the same series wait for one another's rows in one order.
        rows = [Series(kind=kind, series=series, labels=_cut(new[kind, series])) for kind, series in sorted(new)]
        if rows:
            Series._default_manager.using(self.database).bulk_create(rows, ignore_conflicts=True)
            self._told.update(new)

    def forget_told(self) -> None:
        """Tell of each series again when it is next seen: tidying up may have deleted what nothing referred to."""
        self._told.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why the rollup cannot be used."""

    message: str
    cure: str


def diagnose(error: Exception, database: str) -> Problem:
    """Return what ``error`` means for the rollup on ``database``; asks the database for its tables."""
    if database not in connections:
        return Problem(
            message=f"There is no database {database!r} for the rollup.",
            cure=f'Name one of DATABASES in {settings.path}["DATABASE"].',
        )
    try:
        with muted():
            missing = _unmigrated(database)
    except Exception:
        # Inside a transaction that an error has broken no table can be asked for: go by the error.
        missing = isinstance(error, ProgrammingError)
    if missing:
        return Problem(
            message=f"The rollup's tables are missing, or of an earlier release, on database {database!r}.",
            cure=f"Run manage.py migrate noa_perf_metrics --database={database}.",
        )
    return Problem(
        message=f"The rollup on database {database!r} cannot be used ({type(error).__name__}).",
        cure="See whether the database runs, is not locked, and lets this site's user read and write.",
    )


def _unmigrated(database: str) -> bool:
    from noa_perf.metrics.models import Figure, Series

    connection = connections[database]
    if Figure._meta.db_table not in connection.introspection.table_names():
        return True
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, Series._meta.db_table)
    return not {field.column for field in Series._meta.concrete_fields} <= {column.name for column in columns}


def digest(kind: str, labels: Labels) -> str:
    """Return the short name under which a series is kept."""
    text = json.dumps([kind, *labels])
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _cut(labels: Labels) -> list[str]:
    # PostgreSQL's JSON takes neither NUL nor half a surrogate pair; one such label would hold up all the rest.
    return [_clean(label[:MAX_LABEL]) for label in labels]


def _clean(text: str) -> str:
    return text.replace("\x00", "?").encode("utf-8", "replace").decode()


def _kept(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``facts`` as they can be written, without the longest where all together are too long."""
    kept: dict[str, Any] = _cleaned(facts)
    sizes = {name: len(json.dumps(value)) for name, value in kept.items()}
    while sum(sizes.values()) > MAX_NOTE:
        longest = max(sizes, key=lambda name: sizes[name])
        del kept[longest], sizes[longest]
    return kept


def _joined(known: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Return what was known with what is new; nothing new about a name leaves what was known of it."""
    return {**(known or {}), **{name: value for name, value in new.items() if value or not (known or {}).get(name)}}


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_clean(str(key)): _cleaned(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(one) for one in value]
    if isinstance(value, float) and not isfinite(value):
        return None  # JSON has no such number
    return value if value is None or isinstance(value, (bool, int, float)) else _clean(str(value))


def _merge(into: SeriesTotals, drained: SeriesTotals, most: int) -> None:
    """Add ``drained``, at most ``most`` series of a kind; the rest go to that kind's ``(other)``."""
    kinds: dict[str, int] = {}
    for kind, _ in into:
        kinds[kind] = kinds.get(kind, 0) + 1
    for (kind, labels), totals in drained.items():
        key = (kind, labels)
        if key not in into and kinds.get(kind, 0) >= most:
            key = (kind, (OTHER,) * len(labels))
        known = into.get(key)
        if known is None:
            into[key] = known = Totals()
            kinds[kind] = kinds.get(kind, 0) + 1
        known.merge(totals)


def _target(database: str, fields: list[str]) -> list[str] | None:
    # MySQL finds the constraint by itself, and refuses to be told.
    return fields if connections[database].features.supports_update_conflicts_with_target else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one step of time holds."""

    at: int
    """Seconds since 1970 (UTC) at which the step begins."""
    count: int = 0
    seconds: float = 0.0
    histogram: dict[int, int] = field(default_factory=dict)
    """How many stayed below ``2**n`` microseconds."""
    extra: dict[str, int] = field(default_factory=dict)
    """Further counts by name."""

    def percentile(self, share: float) -> float:
        """Return about the seconds within which ``share`` (0 to 1) stayed, interpolated in powers of two."""
        return percentile(self.histogram, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series over time."""

    kind: str
    series: str
    """Short name, the same in every process and at any time."""
    labels: dict[str, str]
    """What it is about; empty if nobody has told yet."""
    total: Point
    points: tuple[Point, ...]
    """In order of time; steps in which nothing happened are left out."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What was found out about it, where that was asked for."""


def read(
    kind: str,
    since: float,
    until: float,
    step: int | None = None,
    *,
    top: int | None = None,
    by: Literal["seconds", "count"] = "seconds",
    series: Iterable[str] | None = None,
    process: str | None = None,
    detail: bool = True,
    notes: bool = False,
    having: str | None = None,
    database: str | None = None,
) -> list[Line]:
    """Return the series of ``kind`` from ``since`` to ``until`` (seconds since 1970), dearest first.

    Figures are added up over all processes (or those of one ``process``, before they are thinned) and into steps of
    ``step`` seconds, a single one by default. ``top`` keeps the first by ``seconds`` or ``count``; ``series`` only the
    named ones. A bucket counts whole, at its beginning. Without ``detail`` there are counts and seconds alone, which
    the database adds up: much quicker over long times. With ``notes`` there is what was found out too;
    ``having`` keeps series that counted that extra. Raises :class:`RollupUnavailable`.
    """
    alias = database or settings().database
    with muted(), _readable(alias):
        figures = _figures(kind, since, until, alias)
        if process is not None:
            figures = figures.filter(process=process)
        if series is not None:
            figures = figures.filter(series__in=list(series))
        if having is not None:
            figures = figures.filter(series__in=figures.filter(**{f"extra__{having}__gt": 0}).values("series"))
        if top is not None:
            dear = figures.values("series").annotate(by=Sum(by)).order_by("-by", "series")[:top]
            figures = figures.filter(series__in=[row["series"] for row in dear])
        lines = _lines(kind, _rows(figures, step, detail), int(since), step, _Told(kind, alias, notes))
    return sorted(lines, key=lambda line: (-getattr(line.total, by), line.series))


def totals(kind: str, since: float, until: float, *extras: str, database: str | None = None) -> Point:
    """Return all series of ``kind`` added up by the database: ``count``, ``seconds`` and the ``extras`` asked for.

    Raises :class:`RollupUnavailable`.
    """
    alias = database or settings().database
    # JSON numbers come as text from some databases: as a float they are summed alike by all.
    added = {name: Sum(Cast(KeyTextTransform(name, "extra"), FloatField())) for name in extras}
    with muted(), _readable(alias):
        sums = _figures(kind, since, until, alias).aggregate(Sum("count"), Sum("seconds"), **added)
    counted = {name: round(sums[name] or 0) for name in extras}
    return Point(at=int(since), count=sums["count__sum"] or 0, seconds=sums["seconds__sum"] or 0.0, extra=counted)


SUMS: dict[str, tuple[str, ...]] = {}
"""Kinds whose totals verdicts need, with the extras that are to be added up; an app adds its own when it is ready."""

_summed: tuple[Window, dict[str, Point]] | None = None


def summed(kind: str, window: Window) -> Point:
    """Return the totals of one of :data:`SUMS`; all of them are read by one query, once for each window.

    Raises :class:`RollupUnavailable`.
    """
    global _summed
    found = _summed
    if found is None or found[0] is not window:
        found = _summed = window, _sums(window)
    nothing = Point(at=int(window.since), count=0, seconds=0.0, extra=dict.fromkeys(SUMS[kind], 0))
    return found[1].get(kind, nothing)


def _sums(window: Window) -> dict[str, Point]:
    alias = settings().database
    names = sorted({name for extras in SUMS.values() for name in extras})
    added = {f"sum_{name}": Sum(Cast(KeyTextTransform(name, "extra"), FloatField())) for name in names}
    with muted(), _readable(alias):
        figures = _figures(list(SUMS), window.since, window.until, alias)
        rows = list(figures.values("kind").annotate(many=Sum("count"), took=Sum("seconds"), **added))
    return {
        row["kind"]: Point(
            at=int(window.since),
            count=row["many"],
            seconds=row["took"],
            extra={name: round(row[f"sum_{name}"] or 0) for name in SUMS[row["kind"]]},
        )
        for row in rows
    }


@contextmanager
def _readable(alias: str) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, ConnectionDoesNotExist) as error:
        problem = diagnose(error, alias)
        raise RollupUnavailable(f"{problem.message} {problem.cure}") from error


def _figures(kind: str | list[str], since: float, until: float, alias: str) -> Any:
    from noa_perf.metrics.models import Figure

    # The bucket that holds ``since`` began before it.
    first = int(since) // RESOLUTIONS[0] * RESOLUTIONS[0]
    kinds = [kind] if isinstance(kind, str) else kind
    return Figure._default_manager.using(alias).filter(
        kind__in=kinds, resolution__in=RESOLUTIONS, bucket__gte=first, bucket__lt=until
    )


@functools.lru_cache(maxsize=4_096)
def _parsed(text: str) -> Mapping[str, int]:
    return dict(json.loads(text))


@functools.lru_cache(maxsize=4_096)
def _spread(text: str) -> Mapping[int, int]:
    return {int(index): many for index, many in json.loads(text).items()}


def _rows(figures: Any, step: int | None, detail: bool) -> Iterator[tuple[Any, ...]]:
    """Yield series, bucket, count and seconds, and with ``detail`` histogram and extra."""
    if detail:
        # As text: what many rows hold alike is parsed once.
        texts = figures.annotate(spread=Cast("histogram", TextField()), more=Cast("extra", TextField()))
        rows = texts.values_list("series", "bucket", "count", "seconds", "spread", "more")
        for name, bucket, count, seconds, spread, more in rows.iterator(chunk_size=2_000):
            yield name, bucket, count, seconds, _spread(spread), _parsed(more)
        return
    at = F("bucket") - F("bucket") % step if step else F("bucket") * 0
    sums = figures.annotate(at=at).values("series", "at").annotate(count_=Sum("count"), seconds_=Sum("seconds"))
    for name, bucket, count, seconds in sums.values_list("series", "at", "count_", "seconds_"):
        yield name, bucket, count, seconds, {}, {}


def _lines(kind: str, rows: Iterable[tuple[Any, ...]], since: int, step: int | None, told: _Told) -> list[Line]:
    steps: dict[str, dict[int, Totals]] = {}
    for name, bucket, *sums in rows:
        at = bucket // step * step if step else since
        steps.setdefault(name, {}).setdefault(at, Totals()).add(*sums)
    known = told.of(list(steps))
    return [_line(kind, name, *known.get(name, ({}, {})), since, sums) for name, sums in steps.items()]


def _line(
    kind: str, name: str, labels: dict[str, str], notes: dict[str, Any], since: int, steps: dict[int, Totals]
) -> Line:
    total = Totals()
    for each in steps.values():
        total.merge(each)
    points = tuple(_point(at, steps[at]) for at in sorted(steps))
    return Line(kind=kind, series=name, labels=labels, total=_point(since, total), points=points, notes=notes)


def add_row(totals: Totals, count: int, seconds: float, histogram: Mapping[str, int], extra: Mapping[str, int]) -> None:
    """Add what a row holds; JSON has made strings of the histogram's keys."""
    totals.add(count, seconds, {int(index): many for index, many in histogram.items()}, extra)


def _point(at: int, totals: Totals) -> Point:
    return Point(
        at=at, count=totals.count, seconds=totals.seconds, histogram=dict(totals.buckets), extra=dict(totals.extra)
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """Looks up what series are about."""

    kind: str
    alias: str
    notes: bool

    def of(self, names: Sequence[str]) -> dict[str, tuple[dict[str, str], dict[str, Any]]]:
        """Return labels and notes by name."""
        from noa_perf.metrics.models import Series

        keys = KINDS.get(self.kind, ())
        columns = ("series", "labels", "notes") if self.notes else ("series", "labels")
        found: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        for index in range(0, len(names), 500):
            rows = Series._default_manager.using(self.alias).filter(
                kind=self.kind, series__in=names[index : index + 500]
            )
            for name, labels, *notes in rows.values_list(*columns):
                found[name] = dict(zip(keys, labels, strict=False)), (notes and notes[0]) or {}
        return found
