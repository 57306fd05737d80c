"""What the hot paths call: a recorder that does nothing, and one that counts in plain ints until it is drained."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from noa_perf.metrics.instruments import Instrument

Labels = tuple[str, ...]
Counts = dict[tuple[str, Labels], "Totals"]
SeriesTotals = dict[tuple[str, Labels], "Totals"]
Notes = dict[tuple[str, Labels], Mapping[str, Any]]

OTHER = "(other)"
MAX_CHILDREN = 200
"""Combinations of labels of one instrument; a caller that lets labels run wild costs no more than this."""

_NO_BUCKETS: Mapping[int, int] = {}
_NOTHING_ELSE: Mapping[str, int] = {}


class Totals:
    """A count, a sum of seconds, how they are spread, and whatever else is counted beside them."""

    __slots__ = ("buckets", "count", "extra", "seconds")

    def __init__(self) -> None:
        """Start from nothing."""
        self.count = 0
        self.seconds = 0.0
        self.buckets: dict[int, int] = {}
        self.extra: dict[str, int] = {}

    def add(self, count: int, seconds: float, buckets: Mapping[int, int], extra: Mapping[str, int]) -> None:
        """Add ``count`` events of ``seconds`` in all; ``buckets`` tells how many stayed below ``2**n`` µs."""
        self.count += count
        self.seconds += seconds
        own = self.buckets
        for index, many in buckets.items():
            if many:
                own[index] = own.get(index, 0) + many
        if extra:
            counted = self.extra
            for name, many in extra.items():
                if many:
                    counted[name] = counted.get(name, 0) + many

    def merge(self, other: Totals) -> None:
        """Add all of ``other``."""
        self.add(other.count, other.seconds, other.buckets, other.extra)


class Recorder:
    """Takes note of what happens; this one forgets it at once."""

    __slots__ = ("__weakref__",)

    def count(self, instrument: Instrument, labels: Labels = (), amount: int = 1) -> None:
        """Add ``amount`` to a counter; ``labels`` are values in the order of the instrument's names."""

    def set(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """Say what a gauge shows now."""

    def begin(self) -> None:
        """Have the figures written and exported from now on, though nothing was counted yet."""

    def observe(
        self, instrument: Instrument, labels: Labels, count: int, seconds: float, buckets: Mapping[int, int]
    ) -> None:
        """Add ``count`` times of ``seconds`` in all to a histogram, spread over ``buckets`` (``n``: below 2**n µs)."""

    def add(
        self,
        kind: str,
        labels: Labels,
        count: int = 1,
        seconds: float = 0.0,
        buckets: Mapping[int, int] = _NO_BUCKETS,
        **extra: int,
    ) -> None:
        """Add to a series of the rollup; ``labels`` are values in the order of the names in ``rollup.KINDS``."""

    def note(self, kind: str, labels: Labels, facts: Mapping[str, Any]) -> bool:
        """Keep ``facts`` (JSON-serialisable) with a series of the rollup, beside those of other names; tell if kept."""
        return False


class Tally(Recorder):
    """Counts in plain ints, within a fixed memory, until each sink drains what it wants."""

    __slots__ = ("_children", "_counts", "_gauges", "_kinds", "_lock", "_notes", "_series", "max_series", "started")

    def __init__(self, max_series: int = 500) -> None:
        """Start from nothing; ``max_series`` bounds the series of each kind between two drains."""
        self.max_series = max_series
        self.started: Callable[[], None] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything, in a forked child too: its parent writes what was counted before the fork."""
        self._lock = threading.Lock()
        self._counts: Counts = {}
        self._gauges: dict[tuple[str, Labels], float] = {}
        self._series: SeriesTotals = {}
        self._notes: Notes = {}
        self._kinds: dict[str, int] = {}
        self._children: dict[str, int] = {}

    def count(self, instrument: Instrument, labels: Labels = (), amount: int = 1) -> None:
        """Add ``amount`` to a counter."""
        with self._lock:
            self._child(instrument, labels).count += amount
        if self.started is not None:
            self._begin()

    def set(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """Keep what a gauge shows."""
        with self._lock:
            if (instrument.name, labels) in self._gauges or len(self._gauges) < self.max_series:
                self._gauges[instrument.name, labels] = value

    def begin(self) -> None:
        """Tell whoever writes the figures to start, if it was not told yet."""
        if self.started is not None:
            self._begin()

    def observe(
        self, instrument: Instrument, labels: Labels, count: int, seconds: float, buckets: Mapping[int, int]
    ) -> None:
        """Add times to a histogram."""
        with self._lock:
            self._child(instrument, labels).add(count, seconds, buckets, _NOTHING_ELSE)
        if self.started is not None:
            self._begin()

    def add(
        self,
        kind: str,
        labels: Labels,
        count: int = 1,
        seconds: float = 0.0,
        buckets: Mapping[int, int] = _NO_BUCKETS,
        **extra: int,
    ) -> None:
        """Add to a series of the rollup."""
        with self._lock:
            totals = self._series.get((kind, labels))
            if totals is None:
                totals = self._new_series(kind, labels)
            totals.add(count, seconds, buckets, extra)
        if self.started is not None:
            self._begin()

    def note(self, kind: str, labels: Labels, facts: Mapping[str, Any]) -> bool:
        """Keep facts with a series, the latest only; what would be one too many is left out, and False returned."""
        key = kind, labels
        with self._lock:
            kept = key in self._notes or len(self._notes) < self.max_series
            if kept:
                self._notes[key] = facts
        if self.started is not None:
            self._begin()
        return kept

    def drain_counts(self) -> Counts:
        """Return what the instruments counted since the last time."""
        with self._lock:
            drained, self._counts, self._children = self._counts, {}, {}
        return drained

    def gauges(self) -> dict[tuple[str, Labels], float]:
        """Return what each gauge shows."""
        with self._lock:
            return dict(self._gauges)

    def drain_series(self) -> SeriesTotals:
        """Return what the series counted since the last time."""
        with self._lock:
            drained, self._series, self._kinds = self._series, {}, {}
        return drained

    def drain_notes(self) -> Notes:
        """Return the facts that were noted since the last time."""
        with self._lock:
            drained, self._notes = self._notes, {}
        return drained

    def _begin(self) -> None:
        # Told once, outside the lock: whoever writes the figures starts when there is a first one.
        started, self.started = self.started, None
        if started is not None:
            started()

    def _child(self, instrument: Instrument, labels: Labels) -> Totals:
        key = (instrument.name, labels)
        found = self._counts.get(key)
        if found is not None:
            return found
        many = self._children.get(instrument.name, 0)
        if many >= MAX_CHILDREN:
            return self._counts.setdefault((instrument.name, (OTHER,) * len(labels)), Totals())
        self._children[instrument.name] = many + 1
        made = self._counts[key] = Totals()
        return made

    def _new_series(self, kind: str, labels: Labels) -> Totals:
        many = self._kinds.get(kind, 0)
        if many >= self.max_series:
            return self._series.setdefault((kind, (OTHER,) * len(labels)), Totals())
        self._kinds[kind] = many + 1
        made = self._series[kind, labels] = Totals()
        return made


NOTHING = Recorder()
_sources: list[Callable[[], None]] = []
_current: Recorder = NOTHING


def current() -> Recorder:
    """Return this process's recorder; one that does nothing until the app is ready, or where it is switched off."""
    return _current


def use(recorder: Recorder) -> Recorder:
    """Make ``recorder`` this process's; returns the one before it."""
    global _current
    before, _current = _current, recorder
    return before


def before_flush(source: Callable[[], None]) -> None:
    """Call ``source`` in the writing thread before each flush: time for an app to note what takes long to find out."""
    if source not in _sources:
        _sources.append(source)


def sources() -> tuple[Callable[[], None], ...]:
    """Return what is to be called before a flush."""
    return tuple(_sources)
