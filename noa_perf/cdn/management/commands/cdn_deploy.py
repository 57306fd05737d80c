"""``manage.py cdn_deploy``: build, upload what is lacking, and make the release live by one move."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from noa_perf.cdn import building, purging, service
from noa_perf.cdn.commands import bar, findings_of, not_purged, plan_rows, render_plan, render_purged, said
from noa_perf.cdn.conf import settings
from noa_perf.core.commands import ReportCommand, paragraph


class Command(ReportCommand):
    """Ends with 2, and nothing of it live, where anything fails; with 1 where it is live, and edges were not purged."""

    help = "Build the static files and publish them as a release. Killed at any step, the next run goes on."
    fail_level = "high"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the brake's and the dry run."""
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="go on although more is removed than BRAKE allows")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, as cdn_plan does")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Publish; return what was done."""
        built = building.build(bar)
        # They stop nothing by default, as cdn_plan does.
        findings = [{**each, "severity": "medium"} for each in findings_of(built)]
        if options["dry_run"]:
            purge = list(settings().purge)
            return {"dry_run": True, **plan_rows(service.plan(built.manifest)), "purge": purge, "findings": findings}
        done = service.deploy(built.manifest, force=options["force"], progress=bar)
        purged = purging.after_release() if done.live != done.plan.live else []
        return {
            "dry_run": False,
            "release": done.live,
            "before": done.plan.live,
            "uploaded": done.uploaded,
            "bytes": done.bytes,
            "purged": purged,
            "findings": [*findings, *not_purged(purged)],
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Say what was done."""
        if report["dry_run"]:
            render_plan(self.stdout, report)
            return
        for finding in report["findings"]:
            if finding["kind"] == "missing_asset":
                self.stdout.write(paragraph(f"missing: {finding['summary']}"))
        if report["release"] == report["before"] and not report["uploaded"]:
            self.stdout.write(f"Release {report['release']} is live already, and nothing of it is lacking.")
            return
        files = said(report["uploaded"], "file", "files")
        self.stdout.write(f"Uploaded {files}, {report['bytes']:,} bytes. Release {report['release']} is live.")
        if report["before"] and report["before"] != report["release"]:
            self.stdout.write(f"Back to the one before: manage.py cdn_rollback {report['before']}")
        render_purged(self.stdout, report)
