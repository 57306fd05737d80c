"""Asks for a page as it is and with each cure applied, and judges: the same answer, fewer queries, less time."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from noa_perf.optimizer import report, visits
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.proof import replay
from noa_perf.optimizer.proof.answers import Answer, Likeness
from noa_perf.optimizer.proof.change import Change, change_of
from noa_perf.optimizer.proof.replay import Target
from noa_perf.optimizer.report import Advice

REPEATS = 5
"""Times that a page is asked for in each state, beside a first one that fills caches."""


@dataclass(slots=True)
class Runs:
    """What a page did each time it was asked for in one state."""

    records: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def status(self) -> int:
        """HTTP status of the latest."""
        return int(self.records[-1]["status"])

    @property
    def queries(self) -> int:
        """Queries of the latest."""
        return int(self.records[-1]["queries"])

    @property
    def database_ms(self) -> float:
        """Milliseconds in the database, the median."""
        return float(statistics.median(one["database_ms"] for one in self.records))

    @property
    def quickest(self) -> float:
        """Milliseconds in the database, the least: what else the machine did that moment counts least in it."""
        return float(min(one["database_ms"] for one in self.records))

    @property
    def ms(self) -> float:
        """Milliseconds in all, the median."""
        return float(statistics.median(one["ms"] for one in self.records))

    def figures(self) -> dict[str, float]:
        """Return queries and both times."""
        return {"queries": self.queries, "database_ms": self.database_ms, "ms": self.ms}


@dataclass(slots=True)
class Verdict:
    """What became of one cure."""

    advice: Advice
    recommended: bool
    reason: str
    after: Runs | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return {
            "finding": self.advice.finding.as_dict(),
            "recommended": self.recommended,
            "reason": self.reason,
            "after": self.after.figures() if self.after is not None else None,
        }


@dataclass(slots=True)
class Trial:
    """A page, as it is and with its cures."""

    url: str
    before: Runs
    verdicts: list[Verdict]
    together: Runs | None = None
    """With every recommended cure at once, where there are several."""
    obstacle: str = ""
    """Why nothing could be proved, if so."""
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return {
            "url": self.url,
            "status": self.before.status,
            "error": self.before.records[-1]["error"],
            "before": self.before.figures(),
            "cures": [one.as_dict() for one in self.verdicts],
            "together": self.together.figures() if self.together is not None else None,
            "obstacle": self.obstacle,
            "notes": self.notes,
        }


def trial(url: str, user: str | None) -> Trial:
    """Ask for ``url`` as it is, and once more with each cure that a queryset alone can take."""
    collector = Collector()
    before, first = _before(url, user, collector)
    made = Trial(url, before, [])
    made.obstacle, made.notes = _obstacle(before), _notes(first)
    advice = report.advice_on(collector.seen()[0])
    if made.obstacle:
        made.verdicts = [Verdict(one, False, "Not tried.") for one in advice]
        return made
    made.verdicts = [_judged(url, user, one, before) for one in advice]
    chosen = [one.advice for one in made.verdicts if one.recommended]
    if len(chosen) > 1:
        targets = [_target(one) for one in chosen]
        made.together = _run(url, user, [one for one in targets if one is not None])
        if not same(before, made.together):
            made.notes.append("Together they change the answer: make them one by one.")
    return made


def _before(url: str, user: str | None, collector: Collector) -> tuple[Runs, dict[str, Any]]:
    """Return the page as it is; only its last request is collected, so that counts are those of one."""
    with visits.visiting(user, Collector()) as (visitor, _):
        first = visitor.visit(url).record
        runs = _repeat(visitor, url, REPEATS - 1)
    with visits.visiting(user, collector) as (visitor, _):
        last = _repeat(visitor, url, 1)
    return Runs(runs.records + last.records, runs.answers + last.answers), first


def _run(url: str, user: str | None, targets: list[Target]) -> Runs:
    with visits.visiting(user, Collector()) as (visitor, _), replay.applied(targets):
        visitor.visit(url)
        for target in targets:
            target.met = 0
        return _repeat(visitor, url, REPEATS)


def _repeat(visitor: visits.Visitor, url: str, times: int) -> Runs:
    runs = Runs()
    for _ in range(times):
        visit = visitor.visit(url)
        runs.records.append(visit.record)
        runs.answers.append(Answer.of(visit.response, visit.body, whole=visit.whole))
    return runs


def _obstacle(runs: Runs) -> str:
    last = runs.records[-1]
    if last["error"] or last["status"] >= 400:
        return f"The page answers {last['status']}{': ' + last['error'] if last['error'] else ''}."
    if not all(one["replayable"] for one in runs.records):
        return "The page breaks the transaction around it, so it cannot be replayed."
    if not all(one.whole for one in runs.answers):
        return f"Its answer is larger than {visits.MAX_BODY // 1024**2} MiB, or has no end: too large to be compared."
    if Likeness.of(runs.answers) is None:
        return "The page differs from one request to the next, so no answer can be compared."
    return ""


def _notes(record: dict[str, Any]) -> list[str]:
    waiting = record.get("on_commit", 0)
    return [f"{waiting} calls wait for a commit (on_commit), and were not replayed."] if waiting else []


def _target(advice: Advice) -> Target | None:
    change = change_of(advice.finding.code)
    return Target(advice.roots, change) if change is not None and advice.roots else None


def _judged(url: str, user: str | None, advice: Advice, before: Runs) -> Verdict:
    change: Change | None = change_of(advice.finding.code)
    if change is None:
        return Verdict(advice, False, "Its cure changes the loop too, so only a person can try it.")
    target = _target(advice)
    if target is None:
        return Verdict(advice, False, "The query of its rows did not run in this request: no queryset can be changed.")
    after = _run(url, user, [target])
    if not same(before, after):
        # A clock that went on looks like a change: what the page does by itself, asked for again, tells them apart.
        before.answers += _run(url, user, []).answers
    return Verdict(advice, *_judgement(before, after, target), after)


def _judgement(before: Runs, after: Runs, target: Target) -> tuple[bool, str]:
    error = after.records[-1]["error"]
    if error:
        return False, f"With the cure the page fails: {error}."
    if not target.met:
        return False, "The queryset was not met again, so the cure was not tried."
    if not same(before, after):
        return False, "The cure changes the answer."
    if after.queries >= before.queries:
        return False, f"It does not help: {after.queries} queries instead of {before.queries}."
    if after.quickest >= before.quickest:
        slower = f"{after.quickest:.1f} ms in the database at best, instead of {before.quickest:.1f}"
        return False, f"It saves queries and no time: {slower}. See its plan (perf_explain) first."
    return True, "The same answer, with fewer queries and in less time."


def same(before: Runs, after: Runs) -> bool:
    """Tell whether a page answers alike in both states, but for what varies by itself: tokens, times."""
    likeness = Likeness.of(before.answers)
    return likeness is not None and all(one.whole and likeness.admits(one) for one in after.answers)
