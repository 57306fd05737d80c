"""``manage.py ratelimit_unban``: ends somebody's ban, and forgets what was counted."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from noa_perf.core.commands import FAILED, FINDINGS
from noa_perf.core.exceptions import NoaPerfError
from noa_perf.ratelimit import manual
from noa_perf.ratelimit.clients import Client


class Command(BaseCommand):
    """Exits with 1 where somebody is still refused, because of a network around the address."""

    help = "End the ban of an address, a network, a user or a key."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add who."""
        parser.add_argument("client", nargs="+", help="203.0.113.7, 203.0.113.0/24, user:17, key:<hash>")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        """Release each."""
        try:
            clients = [Client.parse(one) for one in options["client"]]
            still = [text for client in clients for text in self._release(client, dry=options["dry_run"])]
        except NoaPerfError as error:
            raise CommandError(str(error), returncode=FAILED) from error
        if still:
            sys.exit(FINDINGS)

    def _release(self, client: Client, *, dry: bool) -> list[str]:
        was = manual.is_banned(client) if dry else manual.release(client)
        done = "would be released" if dry else "released"
        self.stdout.write(f"{client.text} {done}." if was else f"{client.text} is not banned.")
        around = manual.around(client)
        for network in around:
            self.stdout.write(f"{client.text} is still refused: {network} is banned.")
        return around
