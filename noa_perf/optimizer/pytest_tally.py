"""What a whole run of tests saw, as plain data that workers can hand over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

SAME = ("kind", "subject", "alias", "fingerprint", "where", "template", "change", "code")
"""What two findings have in common that are one."""


@dataclass(slots=True)
class Seen:
    """One finding, and which tests saw it."""

    finding: dict[str, Any]
    """That of the dearest test."""
    example: str
    """The test that saw it first, by name: the same in every run, however the work is shared out."""
    tests: int = 1
    queries: int = 0
    ms: float = 0.0

    def add(self, other: Seen) -> None:
        """Add what another test, or another worker, saw."""
        if other.finding["ms"] > self.finding["ms"]:
            self.finding = other.finding
        self.example = min(self.example, other.example)
        self.tests += other.tests
        self.queries += other.queries
        self.ms += other.ms


@dataclass(slots=True)
class Tally:
    """The sum of all tests."""

    watched: int = 0
    obstacle: str = ""
    """Why nothing could be watched, if that was so."""
    failures: int = 0
    """Errors of noa_perf's own."""
    seen: dict[str, Seen] = field(default_factory=dict)
    marks: dict[str, bool] = field(default_factory=dict)
    """Each entry of a marker, with its place: whether a test needed it."""
    settings: dict[str, bool] = field(default_factory=dict)
    """The same of ``ALLOW``."""

    def add(self, test: str, finding: dict[str, Any]) -> None:
        """Add what one test saw."""
        key = json.dumps([finding[name] for name in SAME], sort_keys=True)
        self._add(key, Seen(finding, test, 1, finding["count"], finding["ms"]))

    def as_data(self) -> dict[str, Any]:
        """Return it as data that can be sent to another process."""
        return asdict(self)

    def merge(self, data: dict[str, Any]) -> None:
        """Add the sum of a worker."""
        self.watched += data["watched"]
        self.failures += data["failures"]
        self.obstacle = self.obstacle or data["obstacle"]
        for key, one in data["seen"].items():
            self._add(key, Seen(**one))
        for mine, theirs in ((self.marks, data["marks"]), (self.settings, data["settings"])):
            for entry, needed in theirs.items():
                mine[entry] = mine.get(entry, False) or needed

    def _add(self, key: str, seen: Seen) -> None:
        known = self.seen.get(key)
        if known is None:
            self.seen[key] = seen
        else:
            known.add(seen)

    def lines(self) -> Iterator[str]:
        """Yield the report, dearest first."""
        if not self.watched:
            yield f"Nothing was watched. {self.obstacle or 'No test ran.'}"
            return
        ranked = sorted(self.seen.values(), key=lambda one: (-one.ms, one.example))
        for number, one in enumerate(ranked, 1):
            yield from _told(number, one)
        if not ranked:
            yield f"Nothing to mend in the {self.watched} tests that were watched."
        for place, needed in sorted(self.marks.items()):
            if not needed:
                yield f"Not needed by the tests that ran: {place}."
        for entry, needed in sorted(self.settings.items()):
            if not needed:
                yield f'Not needed by the tests that ran: {entry!r} in NOA_PERF["OPTIMIZER"]["ALLOW"].'
        if self.failures:
            yield f"noa_perf failed {self.failures} times while it looked, so this is not all: see its log."


def _told(number: int, one: Seen) -> Iterator[str]:
    finding = one.finding
    yield f"{number}. [{finding['severity']}] {finding['kind']}: {finding['subject']}"
    yield f"   {finding['summary']}"
    yield f"   cure: {finding['cure']}"
    change = finding["change"]
    if change:
        yield f"   change: {change['file']}:{change['line']}" + ("" if finding["certain"] else " (a guess)")
    tests = "1 test" if one.tests == 1 else f"{one.tests} tests"
    yield f"   cost: {one.queries} queries, {one.ms:.1f} ms; seen by {tests}, such as {one.example}"
