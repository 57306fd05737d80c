"""``manage.py cdn_purge``: let the edges forget addresses, prefixes, tags, or everything."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from noa_perf.cdn.purging import purge
from noa_perf.core.commands import ReportCommand


class Command(ReportCommand):
    """Ends with 2 where a provider, or one of its nodes, was not purged."""

    help = "Purge addresses or paths, prefixes, tags, or everything, at every provider or at one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what to purge, and where."""
        super().add_arguments(parser)
        parser.add_argument("--url", action="append", default=[], help="an address or a path; may be given again")
        parser.add_argument("--prefix", action="append", default=[], help="how addresses or paths begin; likewise")
        parser.add_argument("--tag", action="append", default=[], help="a tag; likewise")
        parser.add_argument("--all", action="store_true", help="everything of this site")
        parser.add_argument("--hard", action="store_true", help="serve nothing of it any more, not even meanwhile")
        parser.add_argument("--provider", default="", help="only this one of PROVIDERS")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Purge; return what was done where."""
        done = purge(
            urls=options["url"],
            prefixes=options["prefix"],
            tags=options["tag"],
            everything=options["all"],
            soft=not options["hard"],
            provider=options["provider"],
        )
        return {"purged": done, "findings": []}

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a line for each provider."""
        for each in report["purged"]:
            self.stdout.write(f"purged {each['provider']}: {each['said']}")
