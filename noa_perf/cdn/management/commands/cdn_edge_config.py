"""``manage.py cdn_edge_config``: the configuration that an edge needs so that it can be purged and verified."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from noa_perf.cdn.providers.varnish import vcl
from noa_perf.core.commands import FAILED
from noa_perf.core.exceptions import NoaPerfError


class Command(BaseCommand):
    """Writes to standard output; nothing is changed."""

    help = "Write the VCL that Varnish needs in front of this site."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the edge and the origin."""
        parser.add_argument("edge", choices=["varnish"])
        parser.add_argument(
            "--origin", default="http://127.0.0.1:8000", help="where the site runs (default: %(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it."""
        try:
            self.stdout.write(vcl(options["origin"], settings.STATIC_URL or "/static/"), ending="")
        except NoaPerfError as error:
            raise CommandError(str(error), returncode=FAILED) from error
