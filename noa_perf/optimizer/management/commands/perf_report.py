"""``manage.py perf_report``: what is slow, where, and how to mend it: in pages asked for now, or in past traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import CommandParser

from noa_perf.core.commands import ReportCommand, paragraph, table
from noa_perf.core.exceptions import CommandInputError
from noa_perf.optimizer import capture, history, visits
from noa_perf.optimizer.collector import Collector

HISTORY: dict[str, tuple[tuple[str, str], Callable[[dict[str, Any]], str]]] = {
    "route": (("requests", "route"), lambda one: str(one.get("route", ""))),
    "fingerprint": (("calls", "statement"), lambda one: f"{one.get('fingerprint', '')} {one.get('sql', '')}"[:100]),
    "nplusone": (
        ("times", "N+1"),
        lambda one: " ".join(str(one.get(key, "")) for key in ("subject", "place", "route")),
    ),
}


class Command(ReportCommand):
    """Drives the site through Django's test client, its writes rolled back, and reports what it finds."""

    help = "Request pages of this site and report N+1, duplicates, misuse and slow plans, with line and cure."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--url`` and ``--as``."""
        parser.add_argument("--url", action="append", metavar="/path", help="a page to request; may be given again")
        parser.add_argument(
            "--by", choices=tuple(history.SERIES), help="report past traffic from the rollup, added up so"
        )
        parser.add_argument("--since", default="1h", metavar="SPAN", help="for --by: 15m, 6h, 7d (default: 1h)")
        parser.add_argument("--as", dest="user", metavar="USER", help="log this user in first (no password is needed)")
        super().add_arguments(parser)

    def collect(self, **options: Any) -> dict[str, Any]:
        """Request each page; return the requests, the findings, and what stood in the way."""
        urls = options["url"] or []
        if options["by"]:
            if urls:
                raise CommandInputError("--by reports past traffic, --url asks for pages now: give one of them.")
            rows = history.rows(options["by"], options["since"])
            return {"by": options["by"], "since": options["since"], "rows": rows, "findings": []}
        visits.check(urls)
        collector = Collector()
        faults = capture.faults.total
        requests, unreachable = visits.visit_all(urls, options["user"], collector)
        return {
            "requests": requests,
            "findings": [finding.as_dict() for finding in collector.findings()],
            "unused_allowances": collector.unused_allowances(),
            "unreachable": unreachable,
            "failures": capture.faults.total - faults,
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write the requests as a table and each finding as a paragraph."""
        if options["by"]:
            self._render_history(report)
            return
        rows = [
            (one["url"], one["status"], one["queries"], f"{one['database_ms']:.1f}", f"{one['ms']:.1f}")
            for one in report["requests"]
        ]
        self.stdout.write(table(("page", "status", "queries", "database ms", "total ms"), rows, "<>>>>") + "\n\n")
        for style, text in _obstacles(report):
            self.stdout.write(getattr(self.style, style)(text))
        if not report["findings"] and not report["failures"]:
            self.stdout.write(self.style.SUCCESS("Nothing to mend in these pages."))
        for number, finding in enumerate(report["findings"], 1):
            self._render_finding(number, finding)
        for entry in report["unused_allowances"]:
            self.stdout.write(f'Not needed by these pages: {entry!r} in NOA_PERF["OPTIMIZER"]["ALLOW"].')

    def _render_history(self, report: dict[str, Any]) -> None:
        if not report["rows"]:
            self.stdout.write(f"Nothing was counted in the last {report['since']}.")
            return
        headers, name = HISTORY[report["by"]]
        rows = [
            (
                f"{one['share']:.0%}",
                f"{one['ms']:,.0f}",
                f"{one['count']:,}",
                f"{one['mean_ms']:.1f}",
                "" if one["p95_ms"] is None else f"{one['p95_ms']:.1f}",
                name(one),
            )
            for one in report["rows"]
        ]
        self.stdout.write(table(("share", "total ms", headers[0], "mean ms", "p95 ms", headers[1]), rows, ">>>>><"))

    def _render_finding(self, number: int, finding: dict[str, Any]) -> None:
        style = {"high": self.style.ERROR, "medium": self.style.WARNING}.get(finding["severity"], self.style.NOTICE)
        self.stdout.write(style(f"{number}. [{finding['severity']}] {finding['kind']}: {finding['subject']}"))
        self.stdout.write(paragraph(finding["summary"], "   "))
        self.stdout.write(paragraph(f"cure: {finding['cure']}", "   ", "         "))
        cost = f"{finding['count']} queries, {finding['ms']:.1f} ms"
        sure = "" if finding["certain"] else " (a guess)"
        change = finding["change"]
        where = f"; change {change['file']}:{change['line']}{sure}" if change else ""
        self.stdout.write(paragraph(f"cost: {cost} in {finding['route']}{where}", "   ", "         ") + "\n")


def _obstacles(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what stood in the way of the report, with the style in which to say it."""
    for one in report["requests"]:
        if one["error"]:
            yield "ERROR", f"{one['url']} failed: {one['error']}"
        if not one["replayable"]:
            yield "WARNING", f"{one['url']} broke the transaction around it, so it may fail here alone: not replayable."
    for alias in report["unreachable"]:
        yield "WARNING", f"Database {alias!r} cannot be reached; nothing is rolled back there."
    if report["failures"]:
        yield "ERROR", f"noa_perf failed {report['failures']} times while it looked, so this is not all: see its log."
