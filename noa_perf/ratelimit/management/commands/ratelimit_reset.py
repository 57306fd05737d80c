"""``manage.py ratelimit_reset``: gives a client its whole quota back, and takes a block away."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from noa_perf.core.commands import ReportCommand
from noa_perf.core.exceptions import CommandInputError
from noa_perf.ratelimit import audit, registry
from noa_perf.ratelimit.exceptions import RateLimitError
from noa_perf.ratelimit.management.commands.ratelimit_status import MEMORY
from noa_perf.ratelimit.naming import client_of


class Command(ReportCommand):
    """Forgets what was counted of one client."""

    help = "Forget what was counted of a client under a rate limit policy, or under all of them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add whom and which."""
        super().add_arguments(parser)
        parser.add_argument(
            "client", nargs="+", help="203.0.113.7, user:17, key:…; one for each part where a policy counts several"
        )
        parser.add_argument("--policy", action="append", default=[], help="a policy's name; may be repeated")
        parser.add_argument("--all", action="store_true", help="every policy")
        parser.add_argument("--dry-run", action="store_true", help="say what would be forgotten, and leave it")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return ``{"reset": [...], "findings": []}``."""
        registry.import_views()
        if bool(options["policy"]) == options["all"]:
            raise CommandInputError("Say which policy: --policy NAME, or --all for every one.")
        if not registry.limiter().storage.shared:
            raise RateLimitError(MEMORY)
        client = client_of(options["client"])
        names = sorted(registry.known()) if options["all"] else options["policy"]
        found = [name for name in names if _used(name, client)]
        for name in [] if options["dry_run"] else found:
            registry.limiter().reset(registry.policy(name), client)
            audit.note("reset the rate limit of one client under", name)
        return {"reset": found, "dry_run": options["dry_run"], "findings": []}

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write what was forgotten."""
        if not report["reset"]:
            self.stdout.write("Nothing was counted of this client.")
            return
        verb = "Would reset" if report["dry_run"] else "Reset"
        self.stdout.write(f"{verb} {', '.join(report['reset'])}.")


def _used(name: str, client: str) -> bool:
    decision = registry.limiter().status(registry.policy(name), client)
    if decision.degraded:
        raise RateLimitError(f"Redis of the rate limits does not answer ({decision.degraded}). See its log.")
    return any(one.reset_after or not one.allowed for one in decision.verdicts)
