"""``manage.py pool_check``: is what the settings ask of pools sound, and do servers go along with it?"""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandParser
from django.db import DatabaseError

from noa_perf.core.commands import ReportCommand, paragraph
from noa_perf.pool import databases, fleet, inspection


class Command(ReportCommand):
    """Reads settings; with ``--deploy`` it asks servers."""

    help = "Check the settings of connection pools, and with --deploy what the servers say to them."
    requires_system_checks: list[str] = []  # they are part of the report
    fail_level = "medium"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what is to be asked, and how many processes there are."""
        super().add_arguments(parser)
        parser.add_argument("--deploy", action="store_true", help="ask the servers, too")
        parser.add_argument(
            "--processes",
            type=int,
            help="processes of the whole site, workers and consumers too (default: as many as told the rollup lately)",
        )

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return ``{"aliases": [...], "deploy": bool, "processes": int | None, "findings": [...]}``."""
        processes = (options["processes"] or _seen()) if options["deploy"] else None
        found = list(inspection.of_settings())
        if processes:
            found += inspection.of_servers(processes)
        return {
            "aliases": databases.aliases(),
            "deploy": options["deploy"],
            "processes": processes,
            "findings": [finding.as_dict() for finding in found],
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write each finding with its cure."""
        if not report["aliases"]:
            self.stdout.write("No database has a pool of noa_perf.")
        for number, finding in enumerate(report["findings"], 1):
            self.stdout.write(f"{number}. [{finding['severity']}] {finding['subject']}: {finding['kind']}")
            self.stdout.write(paragraph(finding["summary"], "   "))
            self.stdout.write(paragraph(f"cure: {finding['cure']}", "   ", "         "))
        if report["aliases"] and not report["findings"]:
            asked = f" Servers were asked for {report['processes']} process(es)." if report["deploy"] else ""
            more = "" if report["deploy"] else " Servers are asked with --deploy."
            self.stdout.write(self.style.SUCCESS("Nothing to mend.") + asked + more)


def _seen() -> int:
    now = time.time()
    try:
        return max(1, fleet.processes(now - fleet.RECENT, now))
    except (DatabaseError, RuntimeError):  # no rollup here
        return 1
