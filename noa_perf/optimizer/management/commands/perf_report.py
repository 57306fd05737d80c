"""``manage.py perf_report``: asks the site for pages, and says what in them is slow, where, and how to mend it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from noa_perf.core.commands import ReportCommand, paragraph, table
from noa_perf.optimizer import capture, visits
from noa_perf.optimizer.collector import Collector


class Command(ReportCommand):
    """Drives the site through Django's test client, its writes rolled back, and reports what it finds."""

    help = "Request pages of this site and report N+1, duplicates, misuse and slow plans, with line and cure."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--url`` and ``--as``."""
        parser.add_argument("--url", action="append", metavar="/path", help="a page to request; may be given again")
        parser.add_argument("--as", dest="user", metavar="USER", help="log this user in first (no password is needed)")
        super().add_arguments(parser)

    def collect(self, **options: Any) -> dict[str, Any]:
        """Request each page; return the requests, the findings, and what stood in the way."""
        urls = options["url"] or []
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
        rows = [
            (one["url"], one["status"], one["queries"], f"{one['database_ms']:.1f}", f"{one['ms']:.1f}")
            for one in report["requests"]
        ]
        self.stdout.write(table(("page", "status", "queries", "database ms", "total ms"), rows, "<>>>>") + "\n\n")
        for one in report["requests"]:
            if one["error"]:
                self.stdout.write(self.style.ERROR(f"{one['url']} failed: {one['error']}"))
        for one in report["requests"]:
            if not one["replayable"]:
                text = f"{one['url']} broke the transaction around it, so it may fail here alone: not replayable."
                self.stdout.write(self.style.WARNING(text))
        for alias in report["unreachable"]:
            self.stdout.write(
                self.style.WARNING(f"Database {alias!r} cannot be reached; nothing is rolled back there.")
            )
        if report["failures"]:
            text = f"noa_perf failed {report['failures']} times while it looked, so this is not all: see its log."
            self.stdout.write(self.style.ERROR(text))
        elif not report["findings"]:
            self.stdout.write(self.style.SUCCESS("Nothing to mend in these pages."))
        for number, finding in enumerate(report["findings"], 1):
            self._render_finding(number, finding)
        for entry in report["unused_allowances"]:
            self.stdout.write(f'Not needed by these pages: {entry!r} in NOA_PERF["OPTIMIZER"]["ALLOW"].')

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
