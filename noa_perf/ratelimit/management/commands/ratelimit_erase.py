"""``manage.py ratelimit_erase``: deletes what is kept of somebody, or all that is older than a day."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from noa_perf.core.commands import ReportCommand
from noa_perf.ratelimit import manual
from noa_perf.ratelimit.clients import Client
from noa_perf.ratelimit.exceptions import RateLimitError


class Command(ReportCommand):
    """Bans, list entries and counts of one client; or the rows of all."""

    help = "Delete what is kept of an address, a user or a key; or bans that are over; or everything."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add whose."""
        super().add_arguments(parser)
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--ip", help="an address or a network, as it was banned or listed")
        whose.add_argument("--user", help="a user's primary key")
        whose.add_argument("--key", help="an API key's hash")
        whose.add_argument("--before", metavar="DATE", help="bans that ended before this day (2026-01-31)")
        whose.add_argument("--all", action="store_true", help="all bans and list entries of everybody")
        parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Delete; return how much."""
        dry = options["dry_run"]
        if options["before"]:
            found = manual.erase_before(_moment(options["before"]), dry=dry)
        elif options["all"]:
            found = manual.erase_all(dry=dry)
        else:
            found = manual.erase(_client(options), dry=dry)
        return {"dry_run": dry, "erased": found._asdict(), "findings": []}

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Say how much."""
        erased = report["erased"]
        done = "would be deleted" if report["dry_run"] else "deleted"
        self.stdout.write(
            f"{erased['bans']:,} bans, {erased['entries']:,} list entries and {erased['counters']:,} counts {done}."
        )


def _client(options: dict[str, Any]) -> Client:
    if options["ip"]:
        return Client.of("network", options["ip"])
    return Client.of("user", options["user"]) if options["user"] else Client.of("key", options["key"])


def _moment(written: str) -> dt.datetime:
    try:
        day = dt.date.fromisoformat(written)
    except ValueError as error:
        raise RateLimitError(f"{written!r} is no day. Write it as 2026-01-31.") from error
    return timezone.make_aware(dt.datetime.combine(day, dt.time()))
