"""``manage.py cdn_releases``: the releases that are there, and which is live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from noa_perf.cdn import service
from noa_perf.core.commands import ReportCommand, table


class Command(ReportCommand):
    """Reads the target's listing."""

    help = "List the releases of STORAGES['staticfiles'], and say which is live."

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return the releases, the latest first."""
        return {"where": service.releases().target.where, "releases": service.listed(), "findings": []}

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a table."""
        if not report["releases"]:
            self.stdout.write(f"Nothing is published in {report['where']} yet: run cdn_deploy.")
            return
        headers = ["", "release", "published", "went live", "files", "bytes"]
        rows = [
            ["live" if row["live"] else "", row["release"], _when(row["announced"]), _when(row["since"]),
             f"{row['files']:,}", f"{row['bytes']:,}"]
            for row in report["releases"]
        ]  # fmt: skip
        self.stdout.write(f"{report['where']}\n\n{table(headers, rows, '<<<<>>')}")


def _when(seconds: float | None) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC" if seconds else "-"
