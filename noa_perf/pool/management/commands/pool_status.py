"""``manage.py pool_status``: what the pools of all processes did in the last five minutes, and what servers say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.apps import apps
from django.db import DatabaseError

from noa_perf.core.commands import ReportCommand, paragraph, table
from noa_perf.core.findings import Finding
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.pool import databases, fleet, servers


class Command(ReportCommand):
    """Reads the rollup, and asks each server how many connections it has."""

    help = "Show the connection pools of all processes: the last five minutes, settings, and the servers' own counts."

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return pools, leaks, settings and servers; leaks and timeouts are findings."""
        until = time.time()
        since = until - fleet.RECENT
        trouble, pools, leaks = "", [], []
        try:
            if not apps.is_installed("noa_perf.metrics"):
                raise RollupUnavailable("noa_perf.metrics is not installed: nothing is known of other processes.")
            pools, leaks = fleet.pools(since, until), fleet.leaks(since, until)
        except RollupUnavailable as error:
            trouble = str(error)
        return {
            "seconds": fleet.RECENT,
            "unknown": trouble,
            "pools": pools,
            "leaks": leaks,
            "databases": [_database(alias) for alias in databases.aliases()],
            "findings": [finding.as_dict() for pool in pools for finding in _findings(pool)],
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a table of pools, one of databases, and each leak."""
        if report["unknown"]:
            self.stdout.write(paragraph(report["unknown"]))
        elif not report["pools"]:
            self.stdout.write("No process has told of a pool in the last five minutes.")
        else:
            self.stdout.write("The last five minutes, all processes:\n\n" + _pools(report["pools"]))
        if report["databases"]:
            self.stdout.write("\n" + _databases(report["databases"]))
        for leak in report["leaks"]:
            where = f" on {leak['route']}" if leak["route"] else ""
            text = f"leak: {leak['pool']}, {leak['times']} times, {leak.get('age', 0.0):.0f} s{where}: {leak['line']}"
            self.stdout.write("\n" + paragraph(text, "", "   "))


def _database(alias: str) -> dict[str, Any]:
    own = databases.load(alias)
    told: dict[str, Any] = {"alias": alias, "options": databases.told(own) if own else None, "server": None, "why": ""}
    try:
        told["server"] = asdict(servers.ask(alias)) if own else None
    except DatabaseError as error:
        told["why"] = type(error).__name__  # its words may name a host or a user
    return told


def _findings(pool: dict[str, Any]) -> Iterator[Finding]:
    name = pool["pool"]
    if pool["leaks"]:
        summary = f"{pool['leaks']} connections were held for longer than leak_threshold."
        cure = "See the lines that took them, and give back earlier: connection.close(), or a shorter block."
        yield Finding(kind="pool_leak", subject=name, summary=summary, cure=cure, severity="medium", alias=name)
    without = pool["timeouts"] + pool["refused"]
    if without:
        summary = f"{without} times nobody gave back a connection in time, or too many waited."
        cure = "Raise max_size, or hold connections for less long."
        yield Finding(kind="pool_timeout", subject=name, summary=summary, cure=cure, severity="high", alias=name)


def _pools(pools: list[dict[str, Any]]) -> str:
    headers = ("pool", "used", "idle", "waiting", "uses", "none idle", "got, p95", "held, p95", "timeouts", "leaks")
    rows = [
        (
            pool["pool"],
            *(f"{pool[name]:.1f}" for name in ("used", "idle", "waiting")),
            f"{pool['uses']:,}",
            f"{pool['waited']:,}",
            f"{pool['acquisition_p95_ms']:,.1f} ms",
            f"{pool['checkout_p95_ms']:,.1f} ms",
            pool["timeouts"] + pool["refused"],
            pool["leaks"],
        )
        for pool in pools
    ]
    return table(headers, rows, "<>>>>>>>>>")


def _databases(found: list[dict[str, Any]]) -> str:
    headers = ("database", "min", "max", "timeout", "leak after", "server has", "of", "of which ours")
    rows = []
    for one in found:
        own, server = one["options"], one["server"]
        sizes = (
            (own["min_size"], own["max_size"], f"{own['timeout']:g} s", f"{own['leak_threshold']:g} s") if own else ()
        )
        counts = (server["connections"], server["most"], server["own"]) if server else (one["why"] or "", "", "")
        rows.append((one["alias"], *(sizes or ("bad options", "", "", "")), *counts))
    return table(headers, rows, "<>>>>>>>")
