"""What the demo prints: the findings, and one table of before and after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from noa_perf.core.commands import paragraph, table


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    label: str
    key: str
    """The figure's key in ``before`` and ``after``."""
    form: str = ",.1f"
    more_is_better: bool = False


ROWS = [
    Row("requests per second", "requests_per_second", more_is_better=True),
    Row("p50, ms", "p50_ms"),
    Row("p95, ms", "p95_ms"),
    Row("queries per request", "queries_per_request"),
    Row("in the database, ms per request", "database_ms_per_request", ",.2f"),
    Row("  of it executing", "execute_ms_per_request", ",.2f"),
    Row("  of it fetching", "fetch_ms_per_request", ",.2f"),
]


def figures(ms: Sequence[float], seconds: float, totals: dict[str, Any], cache: dict[str, int]) -> dict[str, Any]:
    """Return one phase's figures from the clients' latencies and the server's counts."""
    cuts = quantiles(ms, n=100, method="inclusive")
    served = max(totals["requests"], 1)
    execute, fetch = totals["execute_ms"] / served, totals["fetch_ms"] / served
    return {
        "requests": len(ms),
        "seconds": round(seconds, 2),
        "requests_per_second": round(len(ms) / seconds, 1),
        "p50_ms": round(cuts[49], 2),
        "p95_ms": round(cuts[94], 2),
        "queries_per_request": round(totals["queries"] / served, 2),
        "database_ms_per_request": round(execute + fetch, 3),
        "execute_ms_per_request": round(execute, 3),
        "fetch_ms_per_request": round(fetch, 3),
        "queries": totals["queries"],
        "cache_hits": cache["hits"],
        "cache_misses": cache["misses"],
    }


def as_table(before: dict[str, Any], after: dict[str, Any], cached: dict[str, Any]) -> str:
    """Return the figures side by side, each with what it is beside the shop as it is."""
    lines = [
        (
            row.label,
            f"{before[row.key]:{row.form}}",
            f"{after[row.key]:{row.form}}",
            change(row, before, after),
            f"{cached[row.key]:{row.form}}",
            change(row, before, cached),
        )
        for row in ROWS
    ]
    return table(["", "as it is", "mended", "change", "and cached", "change"], lines, "<>>>>>")


def saved(after: dict[str, Any], cached: dict[str, Any]) -> str:
    """Return what keeping the hot pages saved, in a sentence."""
    looked_up = cached["cache_hits"] + cached["cache_misses"]
    share = cached["cache_hits"] / looked_up if looked_up else 0.0
    fewer = after["queries"] - cached["queries"]
    return (
        f"The hot pages kept in memory for a minute: {share:.0%} of {looked_up:,} look-ups hit, "
        f"{fewer:,} of {after['queries']:,} queries saved, p95 {after['p95_ms']:,.0f} -> {cached['p95_ms']:,.0f} ms."
    )


def as_json(
    before: dict[str, Any],
    after: dict[str, Any],
    cached: dict[str, Any],
    abuse: dict[str, Any],
    assets: dict[str, Any],
    findings: list[dict[str, Any]],
) -> str:
    """Return all that the demo found, for a program."""
    told = {"before": before, "after": after, "cached": cached, "abuse": abuse, "assets": assets, "findings": findings}
    return json.dumps(told, indent=2)


def as_list(findings: list[dict[str, Any]]) -> str:
    """Return the findings for a person: where, why, the cure and the cost, dearest first."""
    return "\n\n".join(_finding(number, finding) for number, finding in enumerate(findings, 1))


def _finding(number: int, finding: dict[str, Any]) -> str:
    head = f"{number:>3}. {finding['kind']}: {finding['subject']}"
    lines = [f"{head}  ({finding['count']:,} queries, {finding['ms']:,.0f} ms in the database)"]
    lines.append(paragraph(finding["summary"], "     ", "     "))
    lines.append(paragraph(finding["cure"], "     -> ", "        "))
    to_change = place(finding["change"])
    if to_change and to_change not in finding["cure"]:
        lines.append(f"        at {to_change}")
    return "\n".join(lines)


def place(found: dict[str, Any] | None) -> str:
    """Return a place as ``file:line``."""
    if not found:
        return ""
    return f"{found['file']}:{found['line']}" if found["line"] else str(found["file"])


def change(row: Row, before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return how many times better a figure became."""
    old, new = before[row.key], after[row.key]
    better, worse = (new, old) if row.more_is_better else (old, new)
    return f"{better / worse:.1f}× better" if worse else "–"
