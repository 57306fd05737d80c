"""What a watched block of a test did, counted, judged and put into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from noa_perf.core.findings import Finding
from noa_perf.optimizer import by_place, report
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.fingerprint import Kind
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.watches import Watch

MAX_SQL = 300
"""Characters of a statement that a message shows."""
MAX_SHAPES = 20
MAX_PLACES = 5
JUDGED = frozenset({"n_plus_one"})
"""What the test's own lines are judged for: that they build rows one by one, or ask twice, is how tests are written."""


def collected(watch: Watch, allowed: tuple[str, ...] = ()) -> Collector:
    """Return what ``watch`` and all within it saw, without what ``allowed`` and the settings leave alone."""
    collector = Collector(allowed=allowed)
    own = Collector(allowed=allowed)
    for scope in watch.everything():
        (own if isinstance(scope, Watch) else collector).add(scope)
    collector.sightings |= {key: one for key, one in own.sightings.items() if one.kind in JUDGED}
    collector.allowed |= own.allowed
    return collector


def findings(collector: Collector) -> list[Finding]:
    """Return what is wrong, dearest first; reads no plan, for a test's tables say nothing of them."""
    seen = [one for one in collector.sightings.values() if one.kind != "query"]
    return by_place.gathered(report.findings(seen, []))


def n_plus_ones(watch: Watch, allowed: tuple[str, ...] = ()) -> list[Finding]:
    """Return the N+1 that ``watch`` saw, dearest first."""
    return [one for one in findings(collected(watch, allowed)) if one.kind == "n_plus_one"]


def told_of_n_plus_ones(found: list[Finding]) -> str:
    """Return the message of a test that fails because of ``found``."""
    lines = [f"{len(found)} N+1 in this block:"]
    for number, one in enumerate(found, 1):
        lines += [f"{number}. {one.summary}", *(f"   {line}" for line in cure_lines(one))]
        entry = one.subject if one.subject != "query" else f"fingerprint:{one.fingerprint}"
        lines.append(f'   To leave it alone: allow=["{entry}"], or ALLOW in NOA_PERF["OPTIMIZER"].')
    return "\n".join(lines)


def cure_lines(one: Finding) -> Iterator[str]:
    """Yield the cure of a finding, the line to change, and the code to add."""
    yield f"cure: {one.cure}"
    if one.change is not None:
        yield f"change: {one.change}" + ("" if one.certain else " (a guess)")
    if one.code:
        yield f"code: {one.code}"


def groups(watch: Watch, using: str | None) -> Iterator[Group]:
    """Yield what ran within ``watch`` on the database ``using``, or on any."""
    for scope in watch.everything():
        yield from (group for group in scope.groups.values() if using is None or group.alias == using)


def count(watch: Watch, using: str | None) -> int:
    """Return the number of queries on the database ``using``, or on all."""
    if using is None:
        return sum(scope.queries for scope in watch.everything())
    return sum(group.count for group in groups(watch, using))


@dataclass(slots=True)
class _Shape:
    count: int = 0
    places: Counter[str] = field(default_factory=Counter)


def told_of_queries(watch: Watch, using: str | None, seen: int, wanted: str) -> str:
    """Return the message of a test that fails because of ``seen`` queries: each shape, that of most runs first."""
    shapes: dict[tuple[str, str], _Shape] = {}
    for group in groups(watch, using):
        shape = shapes.setdefault((group.alias, group.statement.folded), _Shape())
        shape.count += group.count
        shape.places[report.where(group).strip() or "at a place that no line of the site leads to"] += group.count
    noun = "query" if seen == 1 else "queries"
    lines = [f"{seen} {noun}, where {wanted} may run" + (f" on {using!r}:" if using else ":")]
    ranked = sorted(shapes.items(), key=lambda each: (-each[1].count, each[0]))
    for (alias, sql), shape in ranked[:MAX_SHAPES]:
        lines.append(f"{shape.count:>5}×  {sql[:MAX_SQL]}" + (f"  [{alias}]" if alias != "default" else ""))
        lines += [f"        {times}× {place}" for place, times in shape.places.most_common(MAX_PLACES)]
    if len(ranked) > MAX_SHAPES:
        lines.append(f"  and {len(ranked) - MAX_SHAPES} more statements.")
    for one in n_plus_ones(watch):
        lines += [f"N+1: {one.summary}", *(f"     {line}" for line in cure_lines(one))]
    return "\n".join(lines)


def selects(watch: Watch, using: str | None) -> list[Group]:
    """Return one group for each SELECT that ran within ``watch``."""
    found: dict[tuple[str, str], Group] = {}
    for group in groups(watch, using):
        if group.statement.kind is Kind.SELECT and group.count > group.failed:
            found.setdefault((group.alias, group.statement.folded), group)
    return list(found.values())
