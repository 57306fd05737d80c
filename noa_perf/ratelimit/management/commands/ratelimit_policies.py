"""``manage.py ratelimit_policies``: every policy, and the most that it ever admits."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from noa_perf.core.commands import ReportCommand, paragraph, table
from noa_perf.core.findings import Finding
from noa_perf.ratelimit import registry
from noa_perf.ratelimit.identity import chosen_by_client
from noa_perf.ratelimit.limits import Limit
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.rates import span


class Command(ReportCommand):
    """Lists the policies of the settings and of the decorators in the views that the URLconf leads to."""

    help = "List every rate limit policy with its worst case: the most units that any window ever admits."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add which ones."""
        super().add_arguments(parser)
        parser.add_argument("names", nargs="*", help="policies to show (default: all)")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return ``{"policies": [...], "findings": [...]}``."""
        registry.import_views()
        names = options["names"]
        shown = [registry.policy(name) for name in names] if names else list(registry.known().values())
        shown.sort(key=lambda policy: policy.name)
        return {
            "policies": [_told(policy) for policy in shown],
            "findings": [finding.as_dict() for policy in shown for finding in _findings(policy)],
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a line for each limit."""
        if not report["policies"]:
            cure = 'Add some to NOA_PERF["RATELIMIT"]["POLICIES"], or decorate a view with @ratelimit.'
            self.stdout.write(f"There are no policies. {cure}")
            return
        rows = [
            (
                policy["name"] if number == 0 else "",
                limit["rate"],
                limit["algorithm"],
                limit["burst"] or "",
                f"{limit['worst_case']:,} in any {limit['window']} ({limit['times']:.2f}×)",
                policy["by"] if number == 0 else "",
                " ".join(policy["notes"]) if number == 0 else "",
            )
            for policy in report["policies"]
            for number, limit in enumerate(policy["limits"])
        ]
        headers = ("policy", "rate", "algorithm", "burst", "worst case", "by", "")
        self.stdout.write(table(headers, rows, "<<<>"))
        for finding in report["findings"]:
            self.stdout.write("")
            self.stdout.write(paragraph(f"{finding['severity']}: {finding['summary']} {finding['cure']}", hang="  "))


def _told(policy: Policy) -> dict[str, Any]:
    notes = [
        *(["shadow"] if policy.shadow else []),
        *(["closed on failure"] if policy.on_failure == "closed" else []),
        *(["marks"] if policy.on_denial == "mark" else []),
    ]
    return {
        "name": policy.name,
        "by": in_words(policy.by),
        "limits": [_limit(limit) for limit in policy.limits],
        "shadow": policy.shadow,
        "on_failure": policy.on_failure,
        "on_denial": policy.on_denial,
        "owner": policy.owner,
        "notes": notes,
    }


def _limit(limit: Limit) -> dict[str, Any]:
    return {
        "rate": str(limit.rate),
        "limit": limit.rate.limit,
        "period_seconds": limit.rate.period / 1_000_000,
        "algorithm": limit.algorithm,
        "burst": limit.size if limit.algorithm in {"token_bucket", "leaky_bucket", "gcra"} else None,
        "guarantee": limit.guarantee,
        "window": span(limit.rate.period),
        "worst_case": limit.worst_case,
        "times": limit.worst_case / limit.rate.limit,
    }


def in_words(by: Any) -> str:
    """Return who is counted, as text."""
    if isinstance(by, tuple):
        return " + ".join(map(in_words, by))
    return by if isinstance(by, str) else getattr(by, "__qualname__", type(by).__qualname__)


def _findings(policy: Policy) -> list[Finding]:
    if not chosen_by_client(policy.by):
        return []
    return [
        Finding(
            kind="identity_chosen_by_client",
            subject=policy.name,
            summary=f"{policy.name} counts by {in_words(policy.by)}, which a client can change with each request.",
            cure='Add a policy that counts the same requests by "ip" or "user_or_ip".',
            severity="medium",
        )
    ]
