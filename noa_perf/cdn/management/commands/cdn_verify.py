"""``manage.py cdn_verify``: fetch the live release through the edges, and compare."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.core.management.base import CommandParser

from noa_perf.cdn import edges, service
from noa_perf.cdn.commands import SHOWN, bar
from noa_perf.cdn.exceptions import BadProvider, UnknownRelease
from noa_perf.cdn.providers.base import host_of
from noa_perf.cdn.verifying import Checked, Fault, chosen, fetching, verify
from noa_perf.core.commands import ReportCommand, paragraph, table
from noa_perf.core.findings import Finding

_CURES = {
    "missing": "Run cdn_deploy; where the origin has it, cdn_purge --url lets the edge ask again.",
    "stale": "cdn_purge --url; what is published under a hashed name never changes, so see who else writes there.",
    "truncated": "cdn_purge --url; see the edge's log for a fetch that was cut off.",
    "encoding": "See what the origin answers to Accept-Encoding, and that the edge heeds Vary.",
    "type": "See the origin's table of types; on S3, run cdn_deploy after the object is deleted.",
    "headers": "Let the origin send what the reference of headers says.",
    "unreachable": "See URL of the provider, and that it runs.",
}


class Command(ReportCommand):
    """Ends with 1 where any file is not served as it was published."""

    help = "Fetch each file of the live release through each edge; compare content, encoding, type and headers."
    fail_level = "low"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add which files, and where."""
        super().add_arguments(parser)
        parser.add_argument("--provider", default="", help="only this one of PROVIDERS")
        parser.add_argument("--base", default="", help="ask here instead of the providers: http://127.0.0.1:8000")
        parser.add_argument("--only", action="append", default=[], help="a pattern of paths; may be given again")
        parser.add_argument("--timeout", type=float, default=10.0, help="seconds for an answer (default: 10)")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Fetch and compare; every difference is a finding."""
        releases = service.releases()
        live = releases.pointer().live
        if not live:
            raise UnknownRelease(f"No release is live in {releases.target.where}: run cdn_deploy first.")
        manifest = chosen(releases.manifest(live), options["only"])
        static = settings.STATIC_URL or "/static/"
        places = self._places(options)
        with fetching(options["timeout"]) as fetch:
            checked = [verify(manifest, name, urljoin(address + "/", static), fetch, bar) for name, address in places]
        return {
            "release": live,
            "providers": [_row(each) for each in checked],
            "faults": [asdict(fault) for each in checked for fault in each.faults],
            "findings": [_finding(fault) for each in checked for fault in each.faults],
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a table of providers, and each fault."""
        headers = ["edge", "requests", "kept", "oldest, s", "wrong"]
        rows = [[row["provider"], *(f"{row[key]:,}" for key in ("requests", "hits", "oldest", "faults"))]
                for row in report["providers"]]  # fmt: skip
        self.stdout.write(f"Release {report['release']}\n\n{table(headers, rows, '<>>>>')}")
        for finding in report["findings"][:SHOWN]:
            self.stdout.write("\n" + paragraph(f"{finding['kind']}: {finding['summary']} {finding['cure']}"))
        if len(report["findings"]) > SHOWN:
            self.stdout.write(f"\n... and {len(report['findings']) - SHOWN:,} more; --format json has all.")

    @staticmethod
    def _places(options: dict[str, Any]) -> list[tuple[str, str]]:
        if options["base"]:
            host_of(options["base"])  # says what is wrong with it
            return [(options["base"], options["base"].rstrip("/"))]
        named = [edges.provider(options["provider"])] if options["provider"] else edges.providers()
        if not named:
            raise BadProvider('NOA_PERF["CDN"]["PROVIDERS"] names no edge; --base verifies any address.')
        for each in named:
            host_of(each.url)
        return [(each.name, each.url) for each in named]


def _row(checked: Checked) -> dict[str, Any]:
    return {
        "provider": checked.provider,
        "requests": checked.requests,
        "hits": checked.hits,
        "oldest": checked.oldest,
        "faults": len(checked.faults),
    }


def _finding(fault: Fault) -> dict[str, Any]:
    taken = f" (for {fault.encoding})" if fault.encoding else ""
    return Finding(
        kind=fault.kind,
        severity="medium" if fault.kind == "headers" else "high",
        subject=fault.name,
        summary=f"{fault.provider}: {fault.name}{taken} {fault.text}",
        cure=_CURES[fault.kind],
    ).as_dict()
