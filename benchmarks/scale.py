"""The shop at a hundred times its size on PostgreSQL: what the capture holds in memory, and how soon a report is there.

``make bench ONLY=scale`` starts a private PostgreSQL and seeds it, which takes some twenty minutes at scale 100;
``ARGS="--database postgresql://..."`` takes a shop that was seeded before.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import django

ROUNDS = 4
PAGES = 40


def main() -> None:
    """Seed, walk the shop again and again, and print what was held and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=100.0)
    parser.add_argument("--database", default="", help="a shop that was seeded before, as a URL")
    options = parser.parse_args()
    os.environ["SHOP_DATABASE"] = options.database or fresh()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "testproject.settings", "SHOP_TWIN": "as_is", "SHOP_DEBUG": "0"}
    django.setup()
    if not options.database:
        seed(options.scale)
    print("\n".join(lines(measure(), rows())))


def fresh() -> str:
    """Start a server and return the URL of an empty database on it."""
    from tests.servers.postgres import Postgres
    from tests.servers.registry import get

    server = get(Postgres)
    server.query("primary", "CREATE DATABASE shop")
    return f"{server.urls()['primary'].rpartition('/')[0]}/shop"


def seed(scale: float) -> None:
    """Fill the shop, and let the planner know what is in it."""
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    call_command("shop_seed", scale=scale)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def rows() -> int:
    """Return about how many rows the shop has."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(reltuples)::bigint FROM pg_class WHERE relkind = 'r' AND relname LIKE 'shop_%%'", [])
        (found,) = cursor.fetchone()
    return int(found)


def measure() -> dict[str, Any]:
    """Walk the shop once to find its pages, then ask for them all in each round."""
    from noa_perf.optimizer import visits
    from noa_perf.optimizer.collector import Collector

    urls, walking = timed(walk)
    collector = Collector()
    held: list[int] = []
    tracemalloc.start()
    with visits.visiting("staff", collector) as (visitor, _):
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}: {len(urls)} pages")
            for url in urls:
                visitor.visit(url)
            held.append(held_by_noa_perf())
    tracemalloc.stop()
    findings, reporting = timed(collector.findings)
    totals = collector.totals()
    return {
        "pages": len(urls),
        "walking": walking,
        "held": held,
        "findings": len(findings),
        "reporting": reporting,
        "queries": totals["queries"],
        "requests": totals["requests"],
    }


def walk() -> list[str]:
    """Return the pages that a crawl of the shop as staff finds, each answered by 200."""
    from noa_perf.optimizer import visits
    from noa_perf.optimizer.collector import Collector
    from noa_perf.optimizer.crawl import walk as crawl
    from noa_perf.optimizer.crawl.frontier import Frontier

    plan = crawl.plan(PAGES, [], [])
    with visits.visiting("staff", Collector()) as (visitor, _):
        records = []
        for record in crawl.walk(plan, visitor, crawl.Walk(Frontier(plan.skip))):
            say(f"{record['url']}: {record['status']}, {record['queries']} queries, {record['ms']:,.0f} ms")
            records.append(record)
    return [record["url"] for record in records if record["status"] == 200]


def held_by_noa_perf() -> int:
    """Return the bytes that code of noa_perf has allocated and still holds."""
    taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/noa_perf/*")])
    return sum(one.size for one in taken.statistics("filename"))


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what ``call`` returns, and the seconds that it took."""
    before = time.perf_counter()
    return call(), time.perf_counter() - before


def lines(found: dict[str, Any], many: int) -> Iterator[str]:
    """Yield what was measured, as lines to read."""
    yield f"{many:,} rows; {found['pages']} pages, {found['requests']:,} requests, {found['queries']:,} queries"
    yield f"walking the site to find them: {found['walking']:.1f} s"
    held = ", ".join(f"{size / 1024:,.0f}" for size in found["held"])
    yield f"held by noa_perf after each round, KiB: {held}"
    yield f"the report, {found['findings']} findings with plans: {found['reporting']:.1f} s"


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
