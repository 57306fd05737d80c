"""The shop at a hundred times its size on PostgreSQL: what the capture holds in memory, and how soon a report is there.

Memory is told twice. What noa_perf holds is what its own lines have allocated and not given back, by tracemalloc: not
what Django or the driver allocated and noa_perf keeps alive. That shows in the size of the whole process, which is
taken in rounds of their own, for tracing costs memory itself. Neither may grow once each page has been seen.

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
from pathlib import Path
from typing import Any

import django

from benchmarks import _verdict
from benchmarks._verdict import Bar

ROUNDS = 4
PAGES = 40
QUICK = 1.0
"""The scale of a quick run."""
FLAT = 1.1
"""How many times what was held after the second round may be held after the last."""
SECONDS = 10.0
"""What the report may take."""


def main() -> int:
    """Seed, walk the shop again and again, and print what was held and how long it took; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.0, help="times the shop's size (default: 100)")
    parser.add_argument("--quick", action="store_true", help="the shop at its own size: seconds, and no proof")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")
    parser.add_argument("--database", default="", help="a shop that was seeded before, as a URL")
    options = parser.parse_args()
    os.environ["SHOP_DATABASE"] = options.database or fresh()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "testproject.settings", "SHOP_TWIN": "as_is", "SHOP_DEBUG": "0"}
    django.setup()
    if not options.database:
        seed(options.scale or (QUICK if options.quick else 100.0))
    found = measure()
    return _verdict.end(options.format, "\n".join(lines(found, rows())), [found], bars(found))


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
    process, held = [], []
    with visits.visiting("staff", collector) as (visitor, _):
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}: {len(urls)} pages")
            ask_for(urls, visitor)
            process.append(size_of_process())
    tracemalloc.start()
    traced = Collector()
    with visits.visiting("staff", traced) as (visitor, _):
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}, traced: {len(urls)} pages")
            ask_for(urls, visitor)
            held.append(held_by_noa_perf())
    tracemalloc.stop()
    findings, reporting = timed(collector.findings)
    totals = collector.totals()
    return {
        "pages": len(urls),
        "walking": walking,
        "held": held,
        "process": process,
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


def ask_for(urls: list[str], visitor: Any) -> None:
    """Ask for each page once."""
    for url in urls:
        visitor.visit(url)


def bars(found: dict[str, Any]) -> list[Bar]:
    """Return what has to hold: memory is flat, and the report is there in seconds."""
    return [
        Bar("held by noa_perf, the last round to the second", found["held"][-1] / found["held"][1], FLAT),
        Bar("size of the process, the last round to the second", found["process"][-1] / found["process"][1], FLAT),
        Bar("seconds until the report is there", found["reporting"], SECONDS),
    ]


def size_of_process() -> int:
    """Return the bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


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
    yield f"held by noa_perf's own lines after each round, KiB: {held}"
    process = ", ".join(f"{size / 2**20:,.1f}" for size in found["process"])
    yield f"size of the whole process after each round, MiB: {process}"
    yield f"the report, {found['findings']} findings with plans: {found['reporting']:.1f} s"


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
