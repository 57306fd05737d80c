"""Tells the rollup what this process found out of its queries: cures, call sites, plans, slow runs.

Runs in the thread that writes the figures, a little at a time, so that every process can show what any of them knows.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.findings import Finding
from noa_perf.metrics import recorder
from noa_perf.metrics.recorder import Recorder
from noa_perf.optimizer import capture, metering, report
from noa_perf.optimizer.collector import Collector, collector
from noa_perf.optimizer.plans.advise import Reading
from noa_perf.optimizer.plans.fault import Fault
from noa_perf.optimizer.sightings import Sample, Shape, Sighting

BUDGET = 1.0
"""Seconds of a flush that may go by before the rest waits for the next one."""
AGAIN = 3_600.0
"""Seconds after which all is noted again: tidying up may have deleted what nobody counted for a while."""
TOP = 100
"""Statements that are noted, the dearest first: as many as a page lists."""
MOST = 10
"""Call sites and findings that are noted of one statement."""

Labels = tuple[str, ...]


class Noter:
    """Notes what is new since it last looked."""

    def __init__(self, collector: Collector, clock: Clock = SYSTEM) -> None:
        """Note what ``collector`` has seen."""
        self._collector = collector
        self._clock = clock
        self._began_at = clock.monotonic()
        self._noted: dict[tuple[str, Labels], Any] = {}

    def note(self) -> None:
        """Note what is new, dearest first, for :data:`BUDGET` seconds or a little longer."""
        to = recorder.current()
        if to is recorder.NOTHING:
            return
        began = self._clock.monotonic()
        if began - self._began_at > AGAIN:
            self._began_at, self._noted = began, {}
        sightings, shapes = self._collector.seen()
        wanted: dict[tuple[str, Labels], Any] = {}
        for kind, labels, stamp, make in self._all(sightings, shapes):
            key = kind, labels
            known = self._noted.get(key) == stamp
            if known or (self._clock.monotonic() - began < BUDGET and self._noted_now(to, kind, labels, make)):
                wanted[key] = stamp
        self._noted = wanted  # what is not seen any more is forgotten here too

    @staticmethod
    def _noted_now(to: Recorder, kind: str, labels: Labels, make: Callable[[], dict[str, Any]]) -> bool:
        try:
            return to.note(kind, labels, make())
        except Exception:  # one that cannot be told of must not keep the others waiting
            capture.faults.note("notes")
            return True

    def _all(
        self, sightings: list[Sighting], shapes: list[Shape]
    ) -> Iterator[tuple[str, Labels, Any, Callable[[], dict[str, Any]]]]:
        """Yield the kind and labels of each series, a stamp that changes with what is known of it, and its note."""
        found = [one for one in sightings if one.kind == "n_plus_one"]
        for one in sorted(found, key=lambda one: -one.seconds):
            labels = metering.n_plus_one_labels(one.group, one.route)
            yield "n_plus_one", labels, True, partial(self._of_n_plus_one, one, found)
        by_shape: dict[tuple[str, str], list[Sighting]] = {}
        for one in sightings:
            by_shape.setdefault((one.group.alias, one.group.statement.folded), []).append(one)
        for shape in heapq.nlargest(TOP, shapes, key=lambda shape: shape.seconds):
            seen = by_shape.get((shape.alias, shape.folded), [])
            reading = self._collector.known(shape.alias, shape.folded)
            samples = tuple(shape.samples)  # requests add to them meanwhile
            # The reading itself, not its id: that of one which is gone may come again.
            stamp = len(seen), reading, samples[-1].at if samples else 0.0
            labels = metering.query_labels(shape.alias, shape.digest, shape.folded)
            yield "query", labels, stamp, partial(self._of_statement, shape, seen, reading)

    def _of_n_plus_one(self, sighting: Sighting, among: list[Sighting]) -> dict[str, Any]:
        found = report.findings([sighting], [], among=among)
        return {"findings": [_plain(one) for one in found]}

    def _of_statement(self, shape: Shape, seen: list[Sighting], reading: Reading | None) -> dict[str, Any]:
        unread = Reading(None, [], "Its plan was not read.")
        found = report.findings(seen, [shape], lambda alias, folded: reading or unread)
        note: dict[str, Any] = {
            "findings": [_plain(one) for one in found[:MOST]],
            "sites": _sites(seen),
            "samples": [_sample(one) for one in tuple(shape.samples)],
        }
        if reading is not None and reading.plan is not None:
            note["plan"] = reading.plan.redacted().outline()
            note["faults"] = [fault_note(one) for one in reading.faults]
        return note


def _plain(finding: Finding) -> dict[str, Any]:
    facts = finding.as_dict()
    del facts["evidence"]  # a plan, at times: noted once, beside its findings
    return facts


def _sites(seen: list[Sighting]) -> list[dict[str, Any]]:
    """Return the dearest call sites; what differs only further up the stack is one."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in seen:
        if one.kind == "query":
            place = report.where(one.group).strip()
            site = found.setdefault((place, one.route), {"place": place, "route": one.route, "calls": 0, "ms": 0.0})
            site["calls"] += one.count
            site["ms"] += one.seconds * 1000
    return heapq.nlargest(MOST, found.values(), key=lambda site: site["ms"])


def _sample(sample: Sample) -> dict[str, Any]:
    # Never the values: those stay in this process.
    return {
        "at": sample.at,
        "ms": sample.ms,
        "route": sample.route,
        "place": sample.place,
        "parameters": list(sample.parameters),
    }


def fault_note(fault: Fault) -> dict[str, str]:
    """Return what is noted of a fault in a plan."""
    return {"kind": fault.kind, "summary": fault.summary, "cure": fault.cure, "code": fault.code}


noter = Noter(collector)


def install() -> None:
    """Note, before each flush of this process's figures, what is new."""
    recorder.before_flush(noter.note)
