"""What several of the CDN app's commands print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from noa_perf.cdn import purging
from noa_perf.cdn.conf import settings
from noa_perf.cdn.pipeline.build import Built
from noa_perf.cdn.publish import Plan
from noa_perf.core.commands import paragraph, progress
from noa_perf.core.findings import Finding


def bar(label: str, total: int, items: Iterator[Any]) -> Iterator[Any]:
    """Show a progress bar on stderr."""
    return progress(items, total=total, label=label) if total else items


def sizes(built: Built) -> list[dict[str, Any]]:
    """Return bytes by type: of the sources, and of what is published, as it is and as clients that take brotli or gzip
    get it."""
    rows: dict[str, dict[str, Any]] = {}
    for asset in built.manifest.assets.values():
        kind = asset.type.partition(";")[0]
        row = rows.setdefault(kind, {"type": kind, "files": 0, "before": 0, "now": 0, "br": 0, "gzip": 0})
        row["files"] += 1
        row["now"] += asset.blob.size
        for encoding in ("br", "gzip"):
            row[encoding] += asset.encoded.get(encoding, asset.blob).size
    for kind, size in built.before.items():
        rows[kind]["before"] = size
    return sorted(rows.values(), key=lambda row: (-row["now"], row["type"]))


def findings_of(built: Built) -> list[dict[str, Any]]:
    """Return the files that others name and that are not there."""
    return [
        Finding(
            kind="missing_asset",
            severity="high",
            subject=each.source,
            summary=f"{each.source} names {each.target!r}, and no finder finds it.",
            cure="Add the file, or correct the name; as it is, browsers get a 404.",
        ).as_dict()
        for each in built.missing
    ]


def plan_rows(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON."""
    return {
        "release": plan.release,
        "live": plan.live,
        "upload": [{"name": each.name, "bytes": each.size} for each in plan.uploads],
        "bytes": plan.bytes,
        "added": plan.added,
        "changed": plan.changed,
        "removed": plan.removed,
        "share_removed": plan.share_removed,
    }


def said(count: int, one: str, many: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else many}"


SHOWN = 20
"""Names that are listed of each kind; JSON has all."""


def render_plan(out: Any, report: dict[str, Any]) -> None:
    """Write a plan for a person."""
    live = f"live is {report['live']}" if report["live"] else "nothing is live yet"
    out.write(f"Release {report['release']}; {live}.")
    uploads = sorted(report["upload"], key=lambda each: -each["bytes"])
    out.write(f"To upload: {said(len(uploads), 'file', 'files')}, {report['bytes']:,} bytes.")
    for each in uploads[:SHOWN]:
        out.write(f"  {each['bytes']:>11,}  {each['name']}")
    _more(out, len(uploads))
    for key in ("added", "changed", "removed"):
        if report[key]:
            out.write(f"{key.capitalize()}: {said(len(report[key]), 'path', 'paths')}.")
            for path in report[key][:SHOWN]:
                out.write(f"  {path}")
            _more(out, len(report[key]))
    out.write(
        f"To purge: {', '.join(report['purge'])}." if report["purge"]
        else "To purge: nothing; what is published under a hashed name never changes."
    )  # fmt: skip
    for finding in report["findings"]:
        out.write(f"{finding['kind']}: {finding['summary']} {finding['cure']}")


def _more(out: Any, many: int) -> None:
    if many > SHOWN:
        out.write(f"  ... and {many - SHOWN:,} more; --format json has all.")


def not_purged(purged: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return what was not purged after a release as findings."""
    return [
        Finding(
            kind="not_purged",
            severity="high",
            subject="PURGE",
            summary=f"The release is live, and edges serve pages that link to the one before. {row['said']}",
            cure=f"Mend the edge, then run: cdn_purge{''.join(f' --tag {tag}' for tag in settings().purge)}",
        ).as_dict()
        for row in purged
        if row["provider"] == purging.FAILED
    ]


def render_purged(out: Any, report: Mapping[str, Any]) -> None:
    """Write what a command has purged after a release, and what it has not."""
    for row in report["purged"]:
        if row["provider"] != purging.FAILED:
            out.write(f"purged {row['provider']}: {row['said']}")
    for finding in report["findings"]:
        if finding["kind"] == "not_purged":
            out.write(paragraph(f"not purged: {finding['summary']} {finding['cure']}"))
