"""``manage.py cache_stats``: how often each cache had what was asked for, by tier and group of keys."""

from __future__ import annotations

import time
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.cache import caches
from django.core.management.base import CommandParser

from noa_perf.cache import registry
from noa_perf.cache.exceptions import CacheError
from noa_perf.core.commands import ReportCommand, table
from noa_perf.core.findings import Finding


class StatsUnavailable(CacheError):
    """There is nobody who keeps figures: add ``noa_perf.metrics`` to INSTALLED_APPS and run ``manage.py migrate``."""

    def __init__(self) -> None:
        """Say what is missing."""
        super().__init__(
            'Figures are kept by noa_perf.metrics: add "noa_perf.metrics" to INSTALLED_APPS, run manage.py migrate.'
        )


class Command(ReportCommand):
    """Reports what all processes counted, and asks each Redis whether it is there."""

    help = "Show hits, misses, memory and Redis of each cache, of all processes."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the window."""
        super().add_arguments(parser)
        parser.add_argument("--minutes", type=float, default=60.0, help="how far to look back (default: 60)")
        parser.add_argument("--top", type=int, default=20, help="groups of keys to show (default: 20)")

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return ``{"caches": [...], "groups": [...], "findings": [...]}``."""
        if not registry.aliases():
            raise CacheError(f'No entry of CACHES has the BACKEND "{registry.BACKEND}".')
        if not apps.is_installed("noa_perf.metrics"):
            raise StatsUnavailable
        from noa_perf.cache import panels
        from noa_perf.metrics import rollup

        until = time.time()
        window = until - options["minutes"] * 60, until + 10
        groups = rollup.read("cache", *window, by="count")
        answers = {line.labels["alias"]: line.total for line in rollup.read("cache_redis", *window)}
        states = {line.labels["alias"]: line.total for line in rollup.read("cache_state", *window, by="count")}
        told = []
        for alias in registry.aliases():
            own = [line.total for line in groups if line.labels["alias"] == alias]
            told.append(_of_cache(alias, panels.hit_ratio(own), own, states.get(alias), answers.get(alias)))
        return {
            "minutes": options["minutes"],
            "caches": told,
            "groups": [
                {
                    "alias": line.labels["alias"],
                    "group": line.labels["group"],
                    "asked": line.total.count,
                    "hit_ratio": round(panels.hit_ratio([line.total]), 4),
                    "memory": round(panels.share(line.total, "memory"), 4),
                    "redis": round(panels.share(line.total, "redis"), 4),
                    "misses": line.total.extra.get("misses", 0),
                }
                for line in groups[: options["top"]]
            ],
            "findings": [_away(one["alias"]).as_dict() for one in told if one["reachable"] is False],
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write a table of caches, and one of groups."""
        headers = ("cache", "redis", "asked", "hits", "memory", "from redis", "entries", "MiB", "redis p95 ms")
        rows = [
            (
                one["alias"],
                {True: "answers", False: "AWAY", None: "none"}[one["reachable"]],
                f"{one['asked']:,}",
                f"{one['hit_ratio']:.1%}",
                f"{one['memory']:.1%}",
                f"{one['redis']:.1%}",
                f"{one['entries']:,}",
                f"{one['bytes'] / 2**20:.1f}",
                "" if one["redis_p95_ms"] is None else f"{one['redis_p95_ms']:.1f}",
            )
            for one in report["caches"]
        ]
        self.stdout.write(f"The last {report['minutes']:g} minutes, all processes; entries and MiB of one, on average.")
        self.stdout.write(table(headers, rows, "<<>>>>>>>"))
        if report["groups"]:
            self.stdout.write("\n" + table(("keys", "cache", "asked", "hits", "missed"), _group_rows(report), "<<>>>"))
        for finding in report["findings"]:
            self.stdout.write(self.style.WARNING(f"\n{finding['summary']} {finding['cure']}"))


def _group_rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (one["group"], one["alias"], f"{one['asked']:,}", f"{one['hit_ratio']:.1%}", f"{one['misses']:,}")
        for one in report["groups"]
    ]


def _of_cache(alias: str, ratio: float, own: list[Any], state: Any, answers: Any) -> dict[str, Any]:
    asked = sum(total.count for total in own)

    def part(tier: str) -> float:
        return sum(total.extra.get(tier, 0) for total in own) / asked if asked else 0.0

    def held(name: str) -> int:
        return round(state.extra.get(name, 0) / state.count) if state and state.count else 0

    return {
        "alias": alias,
        "reachable": _reachable(alias),
        "asked": asked,
        "hit_ratio": round(ratio, 4),
        "memory": round(part("memory"), 4),
        "redis": round(part("redis"), 4),
        "stale": round(part("stale"), 4),
        "entries": held("entries"),
        "bytes": held("bytes"),
        "redis_p95_ms": answers.percentile(0.95) * 1000 if answers and answers.count else None,
        "redis_failed": answers.extra.get("failed", 0) if answers else 0,
    }


def _reachable(alias: str) -> bool | None:
    if not registry.is_redis(settings.CACHES[alias].get("LOCATION", "")):
        return None
    cache: Any = caches[alias]
    return bool(cache.stack.reachable(ask=True))


def _away(alias: str) -> Finding:
    return Finding(
        kind="redis_away",
        subject=alias,
        summary=f"Redis of CACHES[{alias!r}] does not answer.",
        cure="See that it runs and that LOCATION and password are right.",
        severity="high",
    )
