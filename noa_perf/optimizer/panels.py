"""What the optimizer shows on the dashboard: queries, routes, N+1 and slow statements, from the rollup.

Figures are those of all processes. What only this process knows (call sites, cures, plans) is added where it is known,
and said to be so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.db import connections

from noa_perf.core.findings import Finding
from noa_perf.core.panels import (
    Block,
    Chart,
    Column,
    Kind,
    Link,
    Node,
    NotThere,
    Page,
    Panel,
    Row,
    Series,
    Stat,
    State,
    Table,
    Text,
    Tree,
    Verdict,
    Window,
    register,
)
from noa_perf.metrics import rollup
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.metrics.rollup import Line, Point
from noa_perf.optimizer.collector import collector
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.plans import advise
from noa_perf.optimizer.plans.explainer import explainer
from noa_perf.optimizer.plans.tree import Plan, PlanNode

TOP = 100
GRAVE_SHARE = 0.1
"""Share of all time in the database from which N+1 or slow statements are bad, not only worth a look."""
ALL = "all processes"
OWN = "this process"


def install() -> None:
    """Register the optimizer's panel."""
    register(
        Panel(
            name="optimizer",
            title="Queries",
            verdicts=verdicts,
            pages=(
                Page(slug="queries", title="Queries", blocks=queries, detail=query, order=10),
                Page(slug="routes", title="Routes", blocks=routes, detail=route, order=20),
                Page(slug="n-plus-one", title="N+1", blocks=n_plus_one, order=30),
                Page(slug="slow", title="Slow", blocks=slow, order=40),
            ),
            order=10,
        )
    )


def verdicts(window: Window) -> Sequence[Verdict]:
    """Say how the queries of this window are: N+1, slow, failed."""
    try:
        requests = rollup.read("route", window.since, window.until)
        n_plus_ones = rollup.read("n_plus_one", window.since, window.until, top=TOP)
        statements = rollup.read("query", window.since, window.until, top=TOP)
    except RollupUnavailable as error:
        return [Verdict(state=State.UNKNOWN, title="Queries", text=str(error))]
    whole = Point(
        at=int(window.since),
        count=sum(line.total.count for line in requests),
        seconds=sum(line.total.seconds for line in requests),
    )
    failed = sum(line.total.extra.get("failed", 0) for line in requests)
    if not whole.count:
        return [Verdict(state=State.UNKNOWN, title="Queries", text="Nothing was counted in this window.")]
    return [_n_plus_one_verdict(n_plus_ones, whole), _slow_verdict(statements, whole), _failed_verdict(failed)]


def _n_plus_one_verdict(lines: list[Line], whole: Point) -> Verdict:
    link = Link(page="n-plus-one")
    if not lines:
        return Verdict(state=State.GOOD, title="N+1", text="No query runs once for each row.", evidence=link)
    share = _share(sum(line.total.seconds for line in lines), whole)
    dearest = lines[0].labels
    return Verdict(
        state=State.BAD if share >= GRAVE_SHARE else State.WARN,
        title="N+1",
        text=f"{len(lines)} places fetch one by one; most time goes to {dearest.get('subject')} {dearest.get('place')}",
        number=f"{share:.0%} of database time",
        cure=_cures().get((dearest.get("subject", ""), dearest.get("route", "")), ""),
        evidence=link,
        threshold=f"bad from {GRAVE_SHARE:.0%} of database time",
    )


def _slow_verdict(lines: list[Line], whole: Point) -> Verdict:
    limit = settings().slow_query_ms
    found = [line for line in lines if line.total.extra.get("slow")]
    threshold = f"slow from {limit:.0f} ms"
    link = Link(page="slow")
    if not found:
        return Verdict(
            state=State.GOOD, title="Slow", text="No statement was slow.", evidence=link, threshold=threshold
        )
    grave = [line for line in found if line.total.percentile(0.95) * 1000 >= limit]
    return Verdict(
        state=State.BAD if grave else State.WARN,
        title="Slow",
        text=f"{len(found)} statements were slow at times, {len(grave)} of them as a rule",
        number=f"{sum(line.total.extra['slow'] for line in found):,} slow runs",
        evidence=link,
        threshold=threshold,
    )


def _failed_verdict(failed: int) -> Verdict:
    if not failed:
        return Verdict(state=State.GOOD, title="Errors", text="No query failed.")
    return Verdict(
        state=State.WARN,
        title="Errors",
        text="Queries failed; the site's own log has their errors.",
        number=f"{failed:,}",
    )


def queries(window: Window) -> Sequence[Block]:
    """List the statements by the time they took."""
    lines = rollup.read("query", window.since, window.until, window.step, top=TOP)
    whole = sum(line.total.seconds for line in lines)
    return [
        _over_time("Time in the database", lines[:5], "sql"),
        Table(
            title="Statements",
            columns=(*_FIGURES, Column(title="slow", kind=Kind.COUNT), Column(title="statement", kind=Kind.CODE)),
            rows=[
                Row(
                    cells=(
                        *_figures(line.total, whole),
                        line.total.extra.get("slow", 0),
                        brief(line.labels.get("sql", "")),
                    ),
                    link=Link(page="queries", key=line.series),
                )
                for line in lines
            ],
            note=f"{ALL}; the {TOP} dearest",
            sampled=_sampled(),
            empty="No query was counted in this window.",
        ),
    ]


def query(key: str, window: Window) -> Sequence[Block]:
    """Show one statement: its figures, its run over time, its plan, findings and call sites."""
    line = _one("query", key, window)
    sql = line.labels.get("sql", "")
    found = [one for one in collector.findings(read_plans=False) if one.fingerprint == line.labels.get("fingerprint")]
    return [
        Text(title="Statement", body=sql, code=True),
        *_stats(line.total),
        _per_step("Calls", line),
        _spread("How long it took", line.total),
        *_plan_blocks(line),
        _findings("Findings", found),
    ]


def routes(window: Window) -> Sequence[Block]:
    """List the routes by the time they spent in the database."""
    lines = rollup.read("route", window.since, window.until, window.step, top=TOP)
    whole = sum(line.total.seconds for line in lines)
    columns = (Column(title="route", kind=Kind.CODE), *_FIGURES, Column(title="queries each", kind=Kind.COUNT))
    rows = []
    for line in lines:
        each = round(line.total.extra.get("queries", 0) / max(1, line.total.count), 1)
        link = Link(page="routes", key=line.series)
        rows.append(Row(cells=(line.labels.get("route", ""), *_figures(line.total, whole), each), link=link))
    return [
        _over_time("Time in the database", lines[:5], "route"),
        Table(title="Routes", columns=columns, rows=rows, note=f"{ALL}; time in the database"),
    ]


def route(key: str, window: Window) -> Sequence[Block]:
    """Show one route: its figures, its run over time, and what was found in it."""
    line = _one("route", key, window)
    name = line.labels.get("route", "")
    found = [one for one in collector.findings(read_plans=False) if one.route == name]
    return [
        Text(title="Route", body=name, code=True),
        *_stats(line.total),
        _per_step("Requests", line),
        _spread("Time in the database, each request", line.total),
        _findings("Findings", found),
    ]


def n_plus_one(window: Window) -> Sequence[Block]:
    """List the N+1 by the time they took, each with its place and, where it is known, its cure."""
    lines = rollup.read("n_plus_one", window.since, window.until, top=TOP)
    cures = _cures()
    columns = [Column(title=title) for title in ("what", "where", "route")]
    columns += [
        Column(title="times", kind=Kind.COUNT),
        Column(title="queries", kind=Kind.COUNT),
        Column(title="total", kind=Kind.MS),
        Column(title="cure", kind=Kind.CODE),
    ]
    rows = [
        Row(
            cells=(
                line.labels.get("subject", ""),
                line.labels.get("place", "").removeprefix("at "),
                line.labels.get("route", ""),
                line.total.count,
                line.total.extra.get("queries", 0),
                line.total.seconds * 1000,
                cures.get((line.labels.get("subject", ""), line.labels.get("route", "")), ""),
            )
        )
        for line in lines
    ]
    empty = "Nothing is fetched one by one. Well done."
    return [
        Table(
            title="N+1",
            columns=columns,
            rows=rows,
            note=f"{ALL}; cures as {OWN} knows them",
            empty=empty,
            sampled=_sampled(),
        )
    ]


def slow(window: Window) -> Sequence[Block]:
    """List the statements that were slow, and since when."""
    lines = rollup.read("query", window.since, window.until, window.step, top=TOP)
    found = [line for line in lines if line.total.extra.get("slow")]
    columns = (
        Column(title="slow", kind=Kind.COUNT),
        Column(title="calls", kind=Kind.COUNT),
        Column(title="p95", kind=Kind.MS),
        Column(title="statement", kind=Kind.CODE),
    )
    rows = [
        Row(
            cells=(
                line.total.extra["slow"],
                line.total.count,
                line.total.percentile(0.95) * 1000,
                brief(line.labels.get("sql", "")),
            ),
            link=Link(page="queries", key=line.series),
        )
        for line in sorted(found, key=lambda line: -line.total.extra["slow"])
    ]
    limit = f"slow from {settings().slow_query_ms:.0f} ms; {ALL}"
    return [
        Table(
            title="Slow statements",
            columns=columns,
            rows=rows,
            note=limit,
            empty="No statement was slow.",
            sampled=_sampled(),
        )
    ]


_FIGURES = (
    Column(title="share", kind=Kind.SHARE),
    Column(title="total", kind=Kind.MS),
    Column(title="calls", kind=Kind.COUNT),
    Column(title="mean", kind=Kind.MS),
    Column(title="p95", kind=Kind.MS),
)


def _figures(total: Point, whole: float) -> tuple[float, float, int, float, float]:
    milliseconds = total.seconds * 1000
    mean = milliseconds / max(1, total.count)
    return total.seconds / (whole or 1.0), milliseconds, total.count, mean, total.percentile(0.95) * 1000


def _stats(total: Point) -> list[Stat]:
    _, milliseconds, calls, mean, p95 = _figures(total, total.seconds)
    return [
        Stat(title="calls", value=calls),
        Stat(title="total", value=milliseconds, kind=Kind.MS),
        Stat(title="mean", value=mean, kind=Kind.MS),
        Stat(title="p95", value=p95, kind=Kind.MS, note="about: interpolated in powers of two"),
        Stat(title="failed", value=total.extra.get("failed", 0)),
    ]


def _one(kind: str, key: str, window: Window) -> Line:
    lines = rollup.read(kind, window.since, window.until, window.step, series=[key])
    if not lines:
        raise NotThere(f"Nothing of {key!r} was counted in the last {window.name}.")
    return lines[0]


def _over_time(title: str, lines: Sequence[Line], label: str) -> Chart:
    series = [
        Series(
            title=brief(line.labels.get(label, ""))[:100],
            points=[(point.at, point.seconds * 1000) for point in line.points],
        )
        for line in lines
    ]
    return Chart(title=title, series=series, kind="stacked", unit=Kind.MS, note=f"the {len(lines)} dearest; {ALL}")


def _per_step(title: str, line: Line) -> Chart:
    points = [(point.at, float(point.count)) for point in line.points]
    return Chart(title=title, series=[Series(title=title, points=points)], note=ALL)


def _spread(title: str, total: Point) -> Chart:
    points = [((1 << index) / 1_000, float(count)) for index, count in sorted(total.histogram.items())]
    return Chart(title=title, series=[Series(title="runs", points=points)], kind="histogram", unit=Kind.MS)


def brief(sql: str) -> str:
    """Return a statement without the list of its plain columns, which says least of it."""
    return _COLUMNS.sub("SELECT … FROM", sql).replace('"', "")


_COLUMNS = re.compile(r'^SELECT (?:"\w+"\."\w+"(?:, )?)+ FROM')


def _plan_blocks(line: Line) -> list[Block]:
    """Return the plan as this process knows it, or reads it now, for whoever looks at this one statement."""
    alias, sql = line.labels.get("alias", ""), line.labels.get("sql", "")
    reading = explainer.reading(alias, sql)
    shape = collector.shapes.get((alias, sql))
    if reading is None and shape is not None and shape.alias in connections:
        reading = advise.read(advise.Asked.of(shape))
    if reading is None or reading.plan is None or not reading.plan.roots:
        return []
    faults = [
        Verdict(state=State.WARN, title=fault.kind, text=f"{fault.summary}.", cure=fault.code or fault.cure)
        for fault in reading.faults
    ]
    return [_tree(reading.plan.redacted()), *faults]


def _tree(plan: Plan) -> Tree:
    whole = sum(root.ms if root.ms is not None else root.cost or 0.0 for root in plan.roots)
    return Tree(title=f"Plan ({OWN})", roots=[_node(root, whole) for root in plan.roots], lines=plan.drawn())


def _node(node: PlanNode, whole: float) -> Node:
    own = node.own_ms
    if own is None and node.cost is not None:
        own = max(0.0, node.cost - sum(child.cost or 0.0 for child in node.children))
    return Node(
        title=node.detail,
        figures=node.figures(),
        weight=own / whole if own is not None and whole else None,
        children=[_node(child, whole) for child in node.children],
    )


def _findings(title: str, found: list[Finding]) -> Table:
    columns = [Column(title=name) for name in ("severity", "kind", "what", "where", "change")]
    rows = [
        Row(cells=(one.severity, one.kind, one.summary, str(one.where or one.template or ""), str(one.change or "")))
        for one in found
    ]
    rows_with_cures = [Row(cells=(*row.cells, one.code or one.cure)) for row, one in zip(rows, found, strict=True)]
    return Table(
        title=title,
        columns=[*columns, Column(title="cure", kind=Kind.CODE)],
        rows=rows_with_cures,
        note=f"as {OWN} saw them",
        empty=f"Nothing was found by {OWN}.",
    )


def _sampled() -> bool:
    """Tell whether figures of statements are estimates."""
    return settings().sample_rate < 1


def _share(seconds: float, whole: Point) -> float:
    return seconds / whole.seconds if whole.seconds else 0.0


def _cures() -> dict[tuple[str, str], str]:
    """Return the cures that this process knows, by subject and route."""
    found = collector.findings(read_plans=False)
    return {(one.subject, one.route): one.code or one.cure for one in reversed(found) if one.kind == "n_plus_one"}
