"""``manage.py cdn_rollback``: make an earlier release live again, by one move."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from noa_perf.cdn import purging, service
from noa_perf.cdn.commands import not_purged, render_purged
from noa_perf.core.commands import ReportCommand


class Command(ReportCommand):
    """Uploads nothing. Ends with 1 where the release is live, and edges could not be purged."""

    help = "Make the release that was live before live again, or the one that is named."
    fail_level = "high"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the release and the dry run."""
        super().add_arguments(parser)
        parser.add_argument("release", nargs="?", default="", help="its id, as cdn_releases lists it")
        parser.add_argument("--force", action="store_true", help="go back although files of it are missing")
        parser.add_argument("--dry-run", action="store_true", help="say which it would be")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Move; return from where to where."""
        was, now = service.rollback(options["release"], dry_run=options["dry_run"], force=options["force"])
        moved = not options["dry_run"] and was != now
        purged = purging.after_release() if moved else []
        failures = not_purged(purged)
        return {"dry_run": options["dry_run"], "was": was, "release": now, "purged": purged, "findings": failures}

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Say which is live."""
        if report["was"] == report["release"]:
            self.stdout.write(f"Release {report['release']} is live already.")
            return
        verb = "would be" if report["dry_run"] else "is"
        self.stdout.write(f"Release {report['release']} {verb} live; it was {report['was'] or 'none'}.")
        render_purged(self.stdout, report)
