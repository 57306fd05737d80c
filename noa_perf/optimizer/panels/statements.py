"""The pages of statements: the dearest, the slow ones, and one alone with its plan, findings, call sites and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connections
from django.utils.translation import gettext as _

from noa_perf.core.panels import Block, Column, Kind, Node, Row, State, Table, Text, Tree, Verdict, Window
from noa_perf.metrics import rollup
from noa_perf.optimizer.collector import collector
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.noting import fault_note
from noa_perf.optimizer.panels import blocks
from noa_perf.optimizer.plans.explainer import explainer
from noa_perf.optimizer.sightings import Shape


def every(window: Window) -> Sequence[Block]:
    """List the statements by the time they took."""
    lines = rollup.read("query", window.since, window.until, window.step, top=blocks.TOP)
    whole = rollup.totals("query", window.since, window.until).seconds
    columns = (
        *blocks.figure_columns(),
        Column(title=_("slow"), kind=Kind.COUNT),
        Column(title=_("statement"), kind=Kind.CODE),
    )
    rows = blocks.linked(
        "queries",
        lines,
        lambda line: (
            *blocks.figures(line.total, whole),
            line.total.extra.get("slow", 0),
            blocks.brief(line.labels.get("sql", "")),
        ),
    )
    note = _("%(scope)s; the %(many)d dearest") % {"scope": blocks.all_processes(), "many": blocks.TOP}
    return [
        blocks.over_time(_("Time in the database"), lines[:5], "sql"),
        Table(
            title=_("Statements"),
            columns=columns,
            rows=rows,
            note=note,
            sampled=blocks.sampled(),
            empty=_("No query was counted in this window."),
        ),
    ]


def slow(window: Window) -> Sequence[Block]:
    """List the statements that were slow at times, and how often."""
    found = rollup.read("query", window.since, window.until, window.step, top=blocks.TOP, having="slow")
    columns = (
        Column(title=_("slow"), kind=Kind.COUNT),
        Column(title=_("calls"), kind=Kind.COUNT),
        Column(title=_("p95"), kind=Kind.MS),
        Column(title=_("statement"), kind=Kind.CODE),
    )
    rows = blocks.linked(
        "queries",
        sorted(found, key=lambda line: -line.total.extra["slow"]),
        lambda line: (
            line.total.extra["slow"],
            line.total.count,
            line.total.percentile(0.95) * 1000,
            blocks.brief(line.labels.get("sql", "")),
        ),
    )
    limit = _("slow from %(limit).0f ms; %(scope)s") % {
        "limit": settings().slow_query_ms,
        "scope": blocks.all_processes(),
    }
    return [
        Table(
            title=_("Slow statements"),
            columns=columns,
            rows=rows,
            note=limit,
            empty=_("No statement was slow."),
            sampled=blocks.sampled(),
        )
    ]


def one(key: str, window: Window) -> Sequence[Block]:
    """Show one statement: its figures, its run over time, its plan, findings, call sites and slow runs."""
    line = blocks.read_one("query", key, window)
    shape = collector.shapes.get((line.labels.get("alias", ""), line.labels.get("sql", "")))
    return [
        Text(title=_("Statement"), body=line.labels.get("sql", ""), code=True),
        *blocks.stats(line.total),
        blocks.per_step(_("Calls"), line),
        blocks.spread(_("How long it took"), line.total),
        *_plan(line.notes, shape),
        blocks.findings(line.notes.get("findings", ())),
        _sites(line.notes.get("sites", ())),
        *_samples(line.notes.get("samples", ()), shape),
    ]


def _plan(known: Mapping[str, Any], shape: Shape | None) -> list[Block]:
    """Return the plan as it was noted; else it is read now, for whoever looks at this one statement."""
    if "plan" in known:
        plan, faults = known["plan"], known["faults"]
    else:
        reading = explainer.read_once(shape) if shape is not None and shape.alias in connections else None
        if reading is None or reading.plan is None or not reading.plan.roots:
            return []
        plan, faults = reading.plan.redacted().outline(), [fault_note(fault) for fault in reading.faults]
    tree = Tree(title=_("Plan"), roots=[_node(root) for root in plan["roots"]], lines=plan["lines"])
    return [
        tree,
        *(
            Verdict(
                state=State.WARN, title=fault["kind"], text=f"{fault['summary']}.", cure=fault["code"] or fault["cure"]
            )
            for fault in faults
        ),
    ]


def _node(noted: Mapping[str, Any]) -> Node:
    return Node(
        title=noted["title"],
        figures=noted["figures"],
        weight=noted["weight"],
        children=[_node(child) for child in noted["children"]],
    )


def _sites(noted: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        Column(title=_("route"), kind=Kind.CODE),
        Column(title=_("where")),
        Column(title=_("calls"), kind=Kind.COUNT),
        Column(title=_("total"), kind=Kind.MS),
    )
    rows = [
        Row(
            cells=(site["route"], site["place"].removeprefix("at "), site["calls"], site["ms"]),
            link=blocks.route_link(site["route"]),
        )
        for site in noted
    ]
    return Table(
        title=_("Call sites"),
        columns=columns,
        rows=rows,
        note=_("as one process has counted them since it began"),
        empty=_("No call site was noted yet."),
    )


def _samples(noted: Sequence[Mapping[str, Any]], shape: Shape | None) -> list[Block]:
    """Return the latest slow runs: of any process without values; of this one with them, where they are kept."""
    tables = [_sample_table(_("Slow runs"), noted, _("parameters by type and size"))] if noted else []
    kept = [sample for sample in tuple(shape.samples) if sample.values is not None] if shape is not None else []
    if kept:
        rows = [
            {
                "at": sample.at,
                "ms": sample.ms,
                "route": sample.route,
                "place": sample.place,
                "parameters": sample.values,
            }
            for sample in kept
        ]
        tables.append(_sample_table(_("Slow runs with values"), rows, _("this process"), private=True))
    return list(tables)


def _sample_table(title: str, noted: Sequence[Mapping[str, Any]], note: str, *, private: bool = False) -> Table:
    columns = (
        Column(title=_("time"), kind=Kind.TIME),
        Column(title=_("took"), kind=Kind.MS),
        Column(title=_("route")),
        Column(title=_("where")),
        Column(title=_("parameters"), private=private),
    )
    rows = [
        Row(
            cells=(
                run["at"],
                run["ms"],
                run["route"],
                run["place"].removeprefix("at "),
                ", ".join(run["parameters"] or ()),
            )
        )
        for run in sorted(noted, key=lambda run: -run["at"])
    ]
    return Table(title=title, columns=columns, rows=rows, note=note)
