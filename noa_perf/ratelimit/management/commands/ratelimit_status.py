"""``manage.py ratelimit_status``: what a client has left under a policy."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from noa_perf.core.commands import ReportCommand, table
from noa_perf.ratelimit import registry
from noa_perf.ratelimit.decision import Decision, Verdict
from noa_perf.ratelimit.exceptions import RateLimitError
from noa_perf.ratelimit.naming import client_of

MEMORY = (
    "Counts are kept in the memory of each process, and this command is one of its own. Name a Redis in "
    'NOA_PERF["RATELIMIT"]["STORAGE"].'
)


class Command(ReportCommand):
    """Asks the storage, and charges nothing."""

    help = "Show what a client has left under a rate limit policy, or under all of them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add whom and which."""
        super().add_arguments(parser)
        parser.add_argument(
            "client", nargs="+", help="203.0.113.7, user:17, key:…; one for each part where a policy counts several"
        )
        parser.add_argument("--policy", action="append", default=[], help="a policy's name; may be repeated")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return ``{"client": ..., "limits": [...], "findings": []}``."""
        registry.import_views()
        limiter = registry.limiter()
        if not limiter.storage.shared:
            raise RateLimitError(MEMORY)
        names = options["policy"] or sorted(registry.known())
        client = client_of(options["client"])
        told = [limit for name in names for limit in _told(limiter.status(registry.policy(name), client))]
        return {"client": client, "limits": told, "findings": []}

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a line for each limit."""
        rows = [
            (
                limit["policy"],
                limit["limit"],
                f"{limit['remaining']:,} of {limit['size']:,}",
                "" if limit["allowed"] else "blocked",
                f"{limit['reset_after_seconds']:,.1f} s" if limit["reset_after_seconds"] else "",
            )
            for limit in report["limits"]
        ]
        self.stdout.write(table(("policy", "limit", "left", "", "all back in"), rows, "<<><>"))


def _told(decision: Decision) -> list[dict[str, Any]]:
    if decision.degraded:
        raise RateLimitError(f"Redis of the rate limits does not answer ({decision.degraded}). See its log.")
    return [_limit(one) for one in decision.verdicts]


def _limit(one: Verdict) -> dict[str, Any]:
    return {
        "policy": one.policy.name,
        "limit": str(one.limit),
        "allowed": one.allowed,
        "remaining": one.remaining,
        "size": one.limit.size,
        "reset_after_seconds": one.reset_after,
    }
