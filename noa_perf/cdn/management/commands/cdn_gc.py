"""``manage.py cdn_gc``: delete the files of releases that are kept no longer."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from noa_perf.cdn import service
from noa_perf.cdn.commands import said
from noa_perf.core.commands import ReportCommand


class Command(ReportCommand):
    """Deletes what only old releases name; other files there are none of its business."""

    help = "Delete files that neither the last KEEP_RELEASES releases name nor one that was live within GRACE seconds."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the dry run."""
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Delete; return what."""
        cleaned = service.clean(dry_run=options["dry_run"])
        return {
            "dry_run": options["dry_run"],
            "releases": cleaned.releases,
            "files": cleaned.files,
            "bytes": cleaned.bytes,
            "findings": [],
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Say how much."""
        done = "would be deleted" if report["dry_run"] else "deleted"
        files = said(len(report["files"]), "file", "files")
        of = said(len(report["releases"]), "release", "releases")
        size = said(report["bytes"], "byte", "bytes")
        self.stdout.write(f"{files} ({size}) of {of} {done}.")
