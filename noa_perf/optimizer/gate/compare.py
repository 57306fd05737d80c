"""What became worse since the baseline, with the reason, the line and the cure; and what else differs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Any

from noa_perf.core.findings import Finding
from noa_perf.optimizer.gate import measure
from noa_perf.optimizer.gate.baseline import WRITE, Baseline
from noa_perf.optimizer.gate.measure import Measured, Ran, subject_of
from noa_perf.optimizer.plans.names import TableName, named
from noa_perf.optimizer.plans.shape import indexes_of, selectivity

MAX_SHOWN = 160
"""Characters of a statement in a reason."""
MAX_TOLD = 5
"""Statements that a reason names."""
FEW_ROWS = 100
"""Rows up to which a table's scale is no matter."""
MEANT = f"If it is meant to be so, write the baseline anew: {WRITE}."

_COLUMNS = re.compile(r"^SELECT (?:DISTINCT )?[^()]+? FROM\b")
"""Of a plain list of columns; an expression among them is worth its room."""


@dataclass(slots=True)
class Comparison:
    """All that differs."""

    worse: list[Finding] = field(default_factory=list)
    better: list[str] = field(default_factory=list)
    """Endpoints with fewer queries: the baseline can be tightened."""
    new: list[str] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)
    """Plans that changed from one index to another."""
    not_compared: list[str] = field(default_factory=list)
    """Why plans were left out of the comparison."""


def compare(before: Baseline, now: list[Measured], databases: dict[str, Any], factor: float) -> Comparison:
    """Compare ``now`` with the baseline; plans only where engine, version and the scale of the data allow it."""
    made = Comparison()
    barred = dict(_barred(before.databases, databases, factor))
    made.not_compared = [
        f"Plans{f' that read {table}' if table else ''} on database {alias!r} are not compared: {why}"
        for (alias, table), why in barred.items()
    ]
    for one in now:
        then = before.endpoints.get(one.endpoint.key)
        if then is None:
            made.new.append(one.endpoint.key)
        else:
            _compare(made, then, one, set(barred))
    return made


def barred_from(before: dict[str, Any], now: dict[str, Any], factor: float) -> list[str]:
    """Return why plans of these databases cannot be compared; empty if they can."""
    return [f"{alias}: {why}" for (alias, _), why in _barred(before, now, factor)]


def _barred(before: dict[str, Any], now: dict[str, Any], factor: float) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield each database, or table of one, whose plans differ for another reason than the code."""
    for alias in sorted(before.keys() & now.keys()):
        then, is_now = before[alias], now[alias]
        if then["engine"] != is_now["engine"] or release(then) != release(is_now):
            was = f"{then['engine']} {then['version']}"
            yield (alias, ""), f"the baseline is of {was}, this is {is_now['engine']} {is_now['version']}."
            continue
        for table in sorted(then["rows"].keys() & is_now["rows"].keys()):
            few, many = sorted((then["rows"][table], is_now["rows"][table]))
            if many > FEW_ROWS and many > factor * max(1, few):
                sizes = f"it had about {then['rows'][table]:,} rows, and has {is_now['rows'][table]:,}"
                yield (alias, table), f"{sizes}, which differ by more than a factor of {factor:g}."


def release(database: dict[str, Any]) -> str:
    """Return the part of a version within which plans stay alike: PostgreSQL counts by one number, others by two."""
    parts = database["version"].split(".")
    return ".".join(parts[: 1 if database["engine"] == "PostgreSQL" else 2])


def _compare(made: Comparison, then: dict[str, Any], one: Measured, barred: set[tuple[str, str]]) -> None:
    answered = one.status // 100
    if one.gone:
        made.worse.append(_gone(then, one))
        return
    if one.failed or (answered != 2 and answered != then["status"] // 100):
        made.worse.append(_failure(then, one))
        return
    new = [
        found for found in one.findings if found.kind == "n_plus_one" and subject_of(found) not in then["n_plus_one"]
    ]
    made.worse += [_new_n_plus_one(found, one) for found in new]
    if one.queries > then["queries"]:
        made.worse.append(_more_queries(then, one))
    elif one.queries < then["queries"]:
        made.better.append(f"{one.endpoint.key}: {one.queries} queries, the baseline allows {then['queries']}")
    for key, ran, reads in _matched(then["statements"], one.ran):
        if (ran.alias, "") in barred or any((ran.alias, table) in barred for table in ran.reads):
            continue
        if reads and ran.reads:
            _compare_plan(made, reads, ran, one, key)
        elif reads or ran.reads:
            why = "its plan cannot be read" if reads else "no statement of the baseline reads the same tables"
            made.not_compared.append(f"{one.endpoint.key}: the plan of {_short(ran.sql)} is not compared: {why}.")


def _matched(before: dict[str, Any], ran: dict[str, Ran]) -> Iterator[tuple[str, Ran, dict[str, str]]]:
    """Yield each statement with how the baseline's read its tables, which may be written otherwise.

    A field added to a model changes the text of each statement that fetches it. So those that are new are compared
    with those that are there no more: of the same tables, the likest.
    """
    left = {key: one for key, one in before.items() if key not in ran}
    for key, one in sorted(ran.items(), key=lambda each: each[0]):
        if key in before:
            yield key, one, before[key]["reads"]
            continue
        alike = [
            other
            for other, was in left.items()
            if one.reads.keys() == was["reads"].keys() and _alias(other) == one.alias
        ]
        best = max(alike, key=lambda other: (_likeness(left[other]["sql"], one.sql), other), default=None)
        yield key, one, left.pop(best)["reads"] if best is not None else {}


def _alias(key: str) -> str:
    return key.partition("@")[2] or "default"


def _likeness(before: str, now: str) -> float:
    return SequenceMatcher(None, _short(before), _short(now), autojunk=False).ratio()


def _gone(then: dict[str, Any], one: Measured) -> Finding:
    return Finding(
        kind="endpoint_gone",
        subject=one.endpoint.key,
        summary=f"It answered with {then['status']}, and now the site has no such address: nothing could be compared.",
        cure=f"Bring back the URL pattern {then['route']}. {MEANT}",
        severity="medium",
        route=then["route"],
        count=0,
        evidence={"endpoint": one.endpoint.key, "before": then["status"], "now": one.status},
    )


def _failure(then: dict[str, Any], one: Measured) -> Finding:
    why = f": {one.error}" if one.error else ""
    return Finding(
        kind="endpoint_fails",
        subject=one.endpoint.key,
        summary=f"It answered with {then['status']}, and now with {one.status}{why}.",
        cure=f"See that the page answers again. {MEANT}",
        severity="high",
        route=one.route,
        count=one.queries,
        evidence={"endpoint": one.endpoint.key, "before": then["status"], "now": one.status},
    )


def _new_n_plus_one(found: Finding, one: Measured) -> Finding:
    return replace(
        found,
        kind="new_n_plus_one",
        subject=subject_of(found),
        summary=f"New on {one.endpoint.key}: {found.summary}",
        severity="high",
        route=one.route,
        evidence={"endpoint": one.endpoint.key},
    )


def _more_queries(then: dict[str, Any], one: Measured) -> Finding:
    """Say which statements ran more often, that of most runs first; the cure is that of a fault that explains it."""
    added = []
    for key, ran in one.ran.items():
        more = ran.runs - then["statements"].get(key, {"runs": 0})["runs"]
        if more > 0:
            added.append((more, key, ran))
    added.sort(key=lambda each: (-each[0], each[1]))
    dearest = added[0][2] if added else None
    digest = added[0][1].partition("@")[0] if added else ""
    known = next((found for found in one.findings if found.fingerprint == digest), None)
    lines = [f"{more} more of {_short(ran.sql)}" + (f" at {ran.where}" if ran.where else "") for more, _, ran in added]
    return Finding(
        kind="more_queries",
        subject=one.endpoint.key,
        summary=f"{one.queries} queries, where the baseline has {then['queries']}: {'; '.join(lines[:MAX_TOLD])}.",
        cure=known.cure if known is not None else f"Leave the new statements out. {MEANT}",
        code=known.code if known is not None else "",
        severity="high",
        route=one.route,
        where=dearest.where if dearest is not None else None,
        change=(known.change if known is not None else None) or (dearest.where if dearest is not None else None),
        count=one.queries - then["queries"],
        alias=dearest.alias if dearest is not None else "default",
        sql=dearest.sql if dearest is not None else "",
        fingerprint=digest,
        evidence={
            "endpoint": one.endpoint.key,
            "before": then["queries"],
            "now": one.queries,
            "statements": [{"more": more, "sql": ran.sql, "where": str(ran.where or "")} for more, _, ran in added],
        },
    )


def _compare_plan(made: Comparison, before: dict[str, str], ran: Ran, one: Measured, key: str) -> None:
    changed = {table: (before[table], way) for table, way in ran.reads.items() if before.get(table, way) != way}
    if any(_is_lost(*ways) for ways in changed.values()):
        made.worse.append(_lost_index(changed, ran, one, key))
        return
    for table, (was, way) in sorted(changed.items()):
        made.plans.append(f"{one.endpoint.key}: {table} is read by {way} (before: {was}) in {_short(ran.sql)}")


def _short(sql: str) -> str:
    """Return the beginning of a statement, from where its columns end: the tables and conditions tell it apart."""
    return _COLUMNS.sub("SELECT … FROM", sql, count=1)[:MAX_SHOWN]


def _is_lost(was: str, way: str) -> bool:
    return selectivity(way) < selectivity(was)


def _lost_index(changed: dict[str, tuple[str, str]], ran: Ran, one: Measured, key: str) -> Finding:
    """Say how each table is read now; an index that is gone comes first, for the others follow from that."""
    gone = {table: ways for table, ways in changed.items() if not measure.has_indexes(ran.alias, table, ways[0])}
    lost = {table: ways for table, ways in changed.items() if _is_lost(*ways)}
    ordered = dict(sorted(gone.items())) | dict(sorted(lost.items())) | changed
    table, (was, way) = next(iter(ordered.items()))
    subject = named(TableName.of_db_table(table.rpartition(".")[2]))
    # What was there before is known to serve; what the plan suggests takes its place where that is there still.
    faults = [each for each in ran.faults if each.subject in (subject, table) and each.code] if not gone else []
    fault = next(iter(faults), None)
    advice = f"Bring back {' and '.join(sorted(indexes_of(was)))} on {table}, or an index that serves as well. {MEANT}"
    told = [
        f"{name} was read by {old}{' (which is gone)' if name in gone else ''}, and now by {new}"
        for name, (old, new) in ordered.items()
    ]
    return Finding(
        kind="lost_index",
        subject=subject,
        summary="; ".join(told) + (f", at {ran.where}." if ran.where else "."),
        cure=fault.cure if fault is not None else advice,
        code=fault.code if fault is not None else "",
        severity="high",
        route=one.route,
        where=ran.where,
        change=(fault.change if fault is not None else None) or ran.where,
        count=ran.runs,
        alias=ran.alias,
        sql=ran.sql,
        fingerprint=key.partition("@")[0],
        evidence={"endpoint": one.endpoint.key, "before": was, "now": way},
    )
