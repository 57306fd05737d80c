"""``manage.py ratelimit_ban``: refuses somebody for some time."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from noa_perf.core.commands import FAILED
from noa_perf.core.exceptions import NoaPerfError
from noa_perf.ratelimit import manual
from noa_perf.ratelimit.clients import Client
from noa_perf.ratelimit.rates import SECOND, span


class Command(BaseCommand):
    """In place of any ban that there is; every process knows of it within seconds."""

    help = "Refuse an address, a network, a user or a key for some time."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add who, how long and why."""
        parser.add_argument("client", nargs="+", help="203.0.113.7, 203.0.113.0/24, user:17, key:<hash>")
        parser.add_argument("--for", dest="span", default="1h", metavar="TIME", help="how long: 30m, 1d (default: 1h)")
        parser.add_argument("--reason", required=True, help="why; kept with the ban")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ban each."""
        try:
            clients = [Client.parse(one) for one in options["client"]]
            seconds, reason = manual.length(options["span"]), manual.why(options["reason"])
            for client in clients:
                if not options["dry_run"]:
                    manual.ban(client, seconds, reason)
                would = "would be " if options["dry_run"] else ""
                self.stdout.write(f"{client.text} {would}banned for {span(round(seconds * SECOND))}.")
        except NoaPerfError as error:
            raise CommandError(str(error), returncode=FAILED) from error
