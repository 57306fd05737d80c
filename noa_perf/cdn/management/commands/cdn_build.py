"""``manage.py cdn_build``: build the static files, and say what that saves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from noa_perf.cdn import building
from noa_perf.cdn.commands import bar, findings_of, sizes
from noa_perf.core.commands import ReportCommand, paragraph, table


class Command(ReportCommand):
    """Builds into the build folder; nothing is published."""

    help = "Build the static files: minified, as AVIF and WebP, named by content, compressed. Publishes nothing."

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return what was built; names of files that are not there are findings."""
        built = building.build(bar)
        manifest = built.manifest
        return {
            "release": manifest.id,
            "files": len(manifest.paths),
            "published": sum(1 for asset in manifest.assets.values() for _ in asset.forms()),
            "steps": built.made,
            "types": sizes(built),
            "without": built.without,
            "findings": findings_of(built),
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a table of bytes by type, and each missing file."""
        headers = ["type", "files", "before", "now", "as brotli", "as gzip"]
        rows = [[each["type"], *(f"{each[key]:,}" for key in COLUMNS)] for each in report["types"]]
        self.stdout.write(table(headers, rows, "<>>>>>"))
        for line in _remarks(report):
            self.stdout.write("\n" + paragraph(line))
        self.stdout.write(
            f"\nRelease {report['release']}: {report['files']:,} files, {report['published']:,} with their forms. "
            "Publish it with cdn_deploy."
        )


COLUMNS = ("files", "before", "now", "br", "gzip")


def _remarks(report: dict[str, Any]) -> Iterator[str]:
    for finding in report["findings"]:
        yield f"missing: {finding['summary']}"
    if report["without"]:
        yield f"Left out, for the packages are not installed: {', '.join(report['without'])}."
