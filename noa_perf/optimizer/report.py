"""Makes findings from what was seen: the line, the reason, the cost and the cure. Never on the path of a request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from noa_perf.core.findings import Finding, Place
from noa_perf.optimizer import capture, lineage, places
from noa_perf.optimizer.callsite import relative
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.cures import annotating, duplicates, placing
from noa_perf.optimizer.cures import n_plus_one as advice
from noa_perf.optimizer.cures.cure import EAGER, Cure
from noa_perf.optimizer.detectors import misuse
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.lineage import Lineage
from noa_perf.optimizer.plans import advise as plans
from noa_perf.optimizer.plans.fault import Fault
from noa_perf.optimizer.reading import asking, builders, templates
from noa_perf.optimizer.reading.flow import Wanted
from noa_perf.optimizer.reading.source import Builder
from noa_perf.optimizer.relations import RelationKind
from noa_perf.optimizer.sightings import Shape, Sighting

logger = logging.getLogger("noa_perf.optimizer")

MAX_SQL = 2_000


Known = Callable[[str, str], plans.Reading | None]
"""Looks up the plan that was read already for a database alias and a folded statement."""


def findings(
    sightings: Iterable[Sighting],
    shapes: Iterable[Shape],
    known: Known = lambda alias, folded: None,
    among: Iterable[Sighting] | None = None,
) -> list[Finding]:
    """Return the findings behind ``sightings`` and ``shapes``, dearest first.

    ``among`` is all that was seen, where ``sightings`` are only some of it: cures at one line must agree.
    """
    seen, every = list(sightings), list(shapes)
    crowded = _crowded(seen if among is None else list(among))
    found: list[Finding] = []
    for sighting in seen:
        try:
            made = _made(sighting, crowded)
        except Exception:
            capture.faults.note(f"report of {sighting.kind}")
            continue
        if made is not None:
            found.append(made)
    found.extend(_of_shapes(every, [one for one in seen if one.kind == "query"], known))
    return sorted(found, key=lambda one: (-one.ms, one.kind, one.subject, str(one.where)))


def _made(sighting: Sighting, crowded: set[int]) -> Finding | None:
    if sighting.kind == "n_plus_one":
        return _n_plus_one(sighting, crowded=id(sighting) in crowded)
    maker = _MAKERS.get(sighting.kind)
    return maker(sighting) if maker is not None else None


def _crowded(sightings: list[Sighting]) -> set[int]:
    """Return the ids of the sightings whose cures would join different relations to many at one line."""
    by_line: dict[tuple[str, int, str], dict[str, list[int]]] = {}
    for sighting in sightings:
        if sighting.kind != "n_plus_one":
            continue
        path = annotating.joined_path(sighting.group, sighting.lineage)
        builder = _builder(sighting, sighting.lineage, "annotate") if path else None
        if builder is not None:
            line = (builder.file, builder.line, builder.name)
            by_line.setdefault(line, {}).setdefault(path, []).append(id(sighting))
    return {one for paths in by_line.values() if len(paths) > 1 for ids in paths.values() for one in ids}


@dataclass(frozen=True, slots=True)
class Advice:
    """What is said of an N+1, and what it is read from."""

    finding: Finding
    builder: Builder | None
    """Where the queryset is built that has to change, if that was found."""
    roots: tuple[Group, ...]
    """The queries of that queryset that ran in the same scope: several, where it is evaluated or built upon again."""


def advice_on(sightings: Iterable[Sighting]) -> list[Advice]:
    """Return the advice on each N+1 among ``sightings``, dearest first."""
    every = list(sightings)
    seen = [one for one in every if one.kind == "n_plus_one"]
    crowded = _crowded(seen)
    found = [_with_all_roots(_advice(one, crowded=id(one) in crowded), one, every) for one in seen]
    return sorted(found, key=lambda one: (-one.finding.ms, one.finding.subject, str(one.finding.where)))


def _n_plus_one(sighting: Sighting, *, crowded: bool) -> Finding:
    return _advice(sighting, crowded=crowded).finding


def _advice(sighting: Sighting, *, crowded: bool) -> Advice:
    group = sighting.group
    relation, chain = group.relation, asking.through_itself(sighting.lineage, group)
    cure = advice.cure_of(group, chain, crowded=crowded)
    builder = _builder(sighting, chain, cure.form) if cure.form != "loop" else None
    if builder is None and chain is not None and chain.near is not None:
        chain = chain.near
        cure = advice.cure_of(group, chain, crowded=crowded)
        builder = _builder(sighting, chain, cure.form)
    if builder is None and chain is not None and chain.root is None:
        cure = placing.unfetched(cure)
    cure = placing.asked_elsewhere(cure, builder, group)
    cure = placing.placed(cure, builder, chain.root if chain is not None else None)
    subject = relation.subject if relation is not None else "query"
    unplaced = builder is None and cure.form in EAGER
    change = places.of_builder(builder or _of_model(sighting)) or (None if unplaced else places.change(group))
    advised = f"Add {cure.code} to {_target(builder, change)}: {cure.text}" if cure.form in EAGER else cure.text
    advised += _of_parents(chain)
    each = sighting.count / sighting.scopes
    finding = Finding(
        kind="n_plus_one",
        subject=subject,
        summary=f"{each:.0f}× {subject}{where(group)}: one query for each row.",
        cure=advised + _guess(builder),
        code=cure.code,
        severity="high" if each >= 10 else "medium",
        change=change,
        certain=not unplaced and (builder is None or builder.certain),
        evidence={
            "relation": relation.kind.value if relation is not None else "unknown",
            "operation": relation.operation if relation is not None else "",
            "queries_per_scope": round(each, 1),
            "change_end": builder.end if builder is not None else 0,
        },
        **_common(sighting),
    )
    root = chain.root if chain is not None else None
    return Advice(finding, builder, (root,) if root is not None else ())


def _with_all_roots(advice: Advice, sighting: Sighting, every: list[Sighting]) -> Advice:
    """Return ``advice`` with every query of its route whose queryset is built at the same line."""
    if advice.builder is None or not advice.roots:
        return advice
    (root,) = advice.roots
    model = lineage.model_of_sql(root.statement.sql)
    roots = {root.key: root}
    for one in every:
        alike = one.kind == "query" and one.route == sighting.route and one.group.key not in roots
        if alike and model is not None and lineage.model_of_sql(one.group.statement.sql) is model:
            wanted = Wanted(model._meta.label, several=one.group.rows > one.group.count)
            if builders.find(one.group.site, sighting.view, wanted) == advice.builder:
                roots[one.group.key] = one.group
    return replace(advice, roots=tuple(roots.values()))


def _of_model(sighting: Sighting) -> Builder | None:
    """Return what built a queryset of a model that a template ran."""
    relation, site = sighting.group.relation, sighting.group.site
    if relation is None or relation.kind is not RelationKind.MODEL or site.own_inside is not None:
        return None
    return templates.handed(site.node, Wanted(relation.model, several=True))


def _of_parents(chain: Lineage | None) -> str:
    """Say that the rows have to be fetched as what they are, before relations of theirs can come along."""
    if chain is None or not chain.again or not chain.path or chain.root is None:
        return ""
    child, parent = chain.model.rpartition(".")[2], lineage.model_of_sql(chain.root.statement.sql).__name__
    return f" (That queryset fetches {parent}: it has to fetch {child} for this.)"


def _target(builder: Builder | None, change: Place | None) -> str:
    """Say to what the code is to be added."""
    if builder is None:
        return "the queryset that fetches the rows"
    if builder.form == "returned":
        return f"what {builder.name} at {change} returns"
    return f"{builder.name} at {change}" if builder.form == "queryset" else f"the queryset built at {change}"


def _write_loop(sighting: Sighting) -> Finding:
    cure = advice.write_cure(sighting.group)
    relation = sighting.group.relation
    each = sighting.count / sighting.scopes
    subject = (relation.model.rpartition(".")[2] if relation else "") or _table_of(sighting.group) or "rows"
    return Finding(
        kind="write_loop",
        subject=subject,
        summary=f"{each:.0f} writes one by one{where(sighting.group)}.",
        cure=cure.text,
        code=cure.code,
        change=places.change(sighting.group),
        **_common(sighting),
    )


def _duplicate(sighting: Sighting) -> Finding:
    first, others = sighting.group, sighting.others
    groups = (first, *others)
    again = [str(duplicates.spot(other, groups) or places.node(other)) for other in others if other is not first]
    more = f", again at {', '.join(dict.fromkeys(again))}" if again else ""
    each = sighting.count / sighting.scopes
    cure = duplicates.cure_of(first, others)
    model = _model_of(first)
    return Finding(
        kind="duplicate",
        subject=model or _table_of(first) or "query",
        summary=f"{each:.0f}× the same query with the same values{where(first)}{more}.",
        cure=cure.text,
        code=cure.code,
        severity="medium" if each > 2 else "low",
        change=duplicates.spot(groups[1] if others else first, groups)
        or duplicates.spot(first, groups)
        or _admin(sighting, cure),
        evidence={"again": list(dict.fromkeys(again)), "queries_per_scope": round(each, 1)},
        **_common(sighting),
    )


def _admin(sighting: Sighting, cure: Cure) -> Place | None:
    """Return the class of the ModelAdmin that the cure speaks of."""
    return places.of_builder(builders.of_admin(sighting.view)) if cure.code else None


def _misuse(sighting: Sighting) -> Finding | None:
    confirmed = misuse.confirm(sighting)
    if confirmed is None:
        return None
    group = sighting.group
    frame = group.site.frames[0] if group.site.frames else None
    change = places.at(group)
    if sighting.kind == "unread_columns":
        model = lineage.model_of_sql(group.statement.sql)
        builder = builders.find(group.site, sighting.view, Wanted(model._meta.label, several=True))
        change = places.of_builder(builder) or change
    elif frame is not None:
        change = Place(file=relative(frame.code.co_filename), line=confirmed.line, name=frame.code.co_qualname)
    return Finding(
        kind=sighting.kind,
        subject=_model_of(group) or _table_of(group),
        summary=f"{_MISUSES[sighting.kind]}{where(group)}: {group.rows:,} rows fetched.",
        cure=confirmed.cure,
        code=confirmed.code,
        severity="low" if group.rows < 100 else "medium",
        change=change,
        certain=confirmed.certain,
        evidence={"rows": group.rows},
        **_common(sighting),
    )


_MISUSES = {
    "len_for_count": "A queryset is fetched only to be counted",
    "bool_for_exists": "A queryset is fetched only to see whether it is empty",
    "values_would_do": "Whole objects are built for one or two columns",
    "unread_columns": "Wide text is fetched and, it seems, never read",
}

_MAKERS = {
    "write_loop": _write_loop,
    "duplicate": _duplicate,
    **dict.fromkeys(_MISUSES, _misuse),
}


def _of_shapes(shapes: list[Shape], queries: list[Sighting], known: Known) -> Iterator[Finding]:
    by_shape: dict[tuple[str, str], list[Sighting]] = {}
    for sighting in queries:
        by_shape.setdefault((sighting.group.alias, sighting.group.statement.folded), []).append(sighting)
    total = sum(shape.seconds for shape in shapes) or 1.0
    faults: dict[tuple[str, str, str], list[Finding]] = {}
    for shape in shapes:
        seen = by_shape.get((shape.alias, shape.folded), [])
        dearest = max(seen, key=lambda one: one.seconds, default=None)
        slow = shape.slow or shape.percentile(0.95) >= _limit(shape.alias)
        plan = _plan(shape, known) if slow or plans.worth_reading(shape, total) else None
        if slow:
            yield _slow(shape, dearest, plan, _limit(shape.alias))
        for fault in plan.faults if plan is not None else ():
            made = _plan_fault(shape, dearest, fault)
            faults.setdefault((made.alias, made.subject, made.code or made.sql), []).append(made)
    for same in faults.values():
        yield _merged(same, total)


def _limit(alias: str) -> float:
    own = settings()
    return own.slow_query_ms_by_alias.get(alias, own.slow_query_ms) / 1000


def _plan(shape: Shape, known: Known) -> plans.Reading | None:
    try:
        return known(shape.alias, shape.folded) or plans.read(plans.Asked.of(shape))
    except Exception:
        capture.faults.note("report of plans")
        return None


def _merged(same: list[Finding], total: float) -> Finding:
    """Make one finding of all statements that one cure mends."""
    dearest = max(same, key=lambda one: one.ms)
    ms = sum(one.ms for one in same)
    share = ms / (total * 1000)
    others = [one for one in same if one is not dearest]
    places = [str(one.where) if one.where else one.route for one in others]
    also = f" The same mends {len(others)} more: {', '.join(dict.fromkeys(places))}." if others else ""
    return replace(
        dearest,
        summary=dearest.summary + also,
        severity="high" if share >= 0.2 else "medium" if share >= 0.02 else "low",
        count=sum(one.count for one in same),
        ms=ms,
        evidence={
            **dearest.evidence,
            "share_of_time": round(share, 3),
            "also": [{"route": one.route, "where": str(one.where or ""), "sql": one.sql} for one in others],
        },
    )


def _slow(shape: Shape, dearest: Sighting | None, plan: plans.Reading | None, limit: float) -> Finding:
    group = dearest.group if dearest else None
    p95 = shape.percentile(0.95)
    advised = [fault.cure for fault in plan.faults] if plan is not None else []
    summary = (
        f"{shape.slow} of {shape.count} runs took over {limit * 1000:.0f} ms{where(group) if group else ''}: "
        f"longest {shape.longest * 1000:.0f} ms, p95 about {p95 * 1000:.0f} ms."
    )
    return Finding(
        kind="slow_query",
        subject=(_model_of(group) if group else "") or "query",
        summary=summary,
        cure=" ".join(advised) or _without_fault(plan, rare=p95 < limit),
        code=plan.faults[0].code if plan is not None and plan.faults else "",
        severity="high" if p95 >= limit else "low",
        change=places.change(group) if group else None,
        count=shape.slow,
        ms=shape.slow_seconds * 1000,
        alias=shape.alias,
        sql=shape.folded[:MAX_SQL],
        fingerprint=shape.digest,
        route=dearest.route if dearest else "",
        where=places.at(group) if group else None,
        template=places.node(group) if group else None,
        evidence={
            "runs": shape.count,
            "p95_ms": round(p95 * 1000, 1),
            "longest_ms": round(shape.longest * 1000, 1),
            "rows": shape.rows,
            "plan": plan.lines if plan is not None else [],
        },
    )


def _without_fault(plan: plans.Reading | None, *, rare: bool) -> str:
    if plan is not None and plan.unavailable:
        return plan.unavailable
    if rare:
        return "Its plan shows no fault and most runs are quick: look for locks, or for load at that moment."
    return "Its plan shows no fault: it reads or computes much. Ask for less of it, less often, or keep the answer."


def _plan_fault(shape: Shape, dearest: Sighting | None, fault: Fault) -> Finding:
    group = dearest.group if dearest else None
    return Finding(
        kind=fault.kind,
        subject=fault.subject,
        summary=f"{fault.summary}{where(group) if group else ''}.",
        cure=fault.cure,
        code=fault.code,
        change=fault.change or (places.change(group) if group else None),
        certain=fault.certain,
        count=shape.count,
        ms=shape.seconds * 1000,
        alias=shape.alias,
        sql=shape.folded[:MAX_SQL],
        fingerprint=shape.digest,
        route=dearest.route if dearest else "",
        where=places.at(group) if group else None,
        template=places.node(group) if group else None,
        evidence=fault.evidence,
    )


def _builder(sighting: Sighting, chain: Lineage | None, form: str) -> Builder | None:
    """Return where the queryset is built whose rows are looped over; None where that is not known, or not readable."""
    if chain is None or not chain.model or not (chain.path or chain.again):
        return None
    try:
        return _builder_of(sighting, chain, form)
    except Exception:  # a file that changed under our feet, say: the finding stands without its line
        capture.faults.note("search for the line that builds a queryset")
        return None


def _builder_of(sighting: Sighting, chain: Lineage, form: str) -> Builder | None:
    if chain.root is None:
        return builders.of_loop(sighting.group.site, Wanted(chain.model, several=True))
    wanted = Wanted(chain.model, several=chain.root.rows > chain.root.count)
    found = builders.find(chain.root.site, sighting.view, wanted, form)
    if found is None or not chain.rivals:
        return found
    others = [builders.find(rival.site, sighting.view, wanted, form) for rival in chain.rivals]
    if all(other == found for other in others):
        return found
    return builders.of_loop(sighting.group.site, wanted) or replace(found, certain=False)


def _common(sighting: Sighting) -> dict[str, Any]:
    group = sighting.group
    return {
        "route": sighting.route,
        "where": places.at(group),
        "template": places.node(group),
        "count": sighting.count,
        "ms": sighting.seconds * 1000,
        "alias": group.alias,
        "sql": group.statement.folded[:MAX_SQL],
        "fingerprint": group.statement.digest,
    }


def where(group: Group) -> str:
    """Return where ``group`` came from, as the end of a sentence: `` at shop/views.py:41 (template list.html:8)``."""
    at, node = places.at(group), places.node(group)
    inside = f" (template {node.name}:{node.line})" if node else ""
    return (f" at {at}" if at else "") + inside


def _guess(builder: Builder | None) -> str:
    if builder is None or builder.certain:
        return ""
    return " (The line is a guess: this queryset may be built elsewhere.)"


def _model_of(group: Group) -> str:
    model = lineage.model_of_sql(group.statement.sql)
    return str(model.__name__) if model is not None else ""


def _table_of(group: Group) -> str:
    return next(iter(lineage.tables(group.statement.sql)), "")
