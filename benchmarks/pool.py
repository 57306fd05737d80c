"""What a request's way to the database costs, at 1 to 1,000 threads on 20 connections: beside the peers.

``make bench ONLY=pool`` prints the tables; ``ARGS=--write`` puts them in docs/reference/benchmarks.md, and
``ARGS=--quick`` measures once. Each subject is measured in processes of its own, round by round, on private servers. A
peer that is not installed, or fails, is named as missing. It ends with 1 where a bar does not hold, with 2 where
noa_perf or what it is measured by could not be measured.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import django

from benchmarks import _verdict
from benchmarks._pool_subjects import BARE, MOST, NATIVE, OURS, SQLALCHEMY, SUBJECTS, Subject
from benchmarks._pool_worker import CROWD
from benchmarks._verdict import Bar, options, say, write

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
PATIENCE = 300
"""Seconds that a process may take."""
THREADS = ("1", "16", "200", "1000")
SECONDS = {"1": 1.0, "16": 1.5, "200": 2.0, "1000": 3.0, "killed": 1.0, "alone": 0.0}
VENDORS = {"postgresql": "PostgreSQL", "mysql": "MariaDB"}
KILLED = {"postgresql": (OURS, NATIVE), "mysql": (OURS, SQLALCHEMY)}
"""Whose backends are killed."""

Key = tuple[str, str, str]
"""A database, a subject, and what is measured of it."""
Results = dict[Key, list[dict[str, float]]]


class Missing(Exception):
    """Why a subject could not be measured, as its one argument."""


def measure(subject: Subject, kind: str, where: dict[str, Any]) -> dict[str, float]:
    """Return what one process measured."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks._pool_worker", subject.vendor, subject.name, kind]
    try:
        done = subprocess.run(
            [*command, str(SECONDS[kind]), json.dumps(where)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise Missing("no end after five minutes") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise Missing((done.stderr.strip().splitlines() or ["no word"])[-1])
    found: dict[str, float] = json.loads(lines[-1])
    if not found.get("cycles", 1):
        raise Missing((done.stderr.strip().splitlines() or ["nothing was served"])[-1])
    return found


def tasks() -> list[tuple[Subject, str]]:
    """Return what is measured in each round."""
    here = [one for one in SUBJECTS if one.installed]
    found = [(one, many) for many in THREADS for one in here if one.fits(int(many))]
    found += [(one, "killed") for one in here if one.name in KILLED[one.vendor]]
    return [*found, (here[0], "alone")]


def rounds(many: int, places: dict[tuple[str, str], dict[str, Any]], missing: dict[Key, str]) -> Results:
    """Return what each subject took in each round; the order turns from round to round."""
    results: Results = {}
    missing.update({(one.vendor, one.name, "all"): "not installed" for one in SUBJECTS if not one.installed})
    for number in range(many):
        for subject, kind in tasks() if number % 2 else reversed(tasks()):
            key = (subject.vendor, subject.name, kind)
            if key not in missing:
                say(f"round {number + 1} of {many}: {subject.vendor}, {subject.name}, {kind}")
                try:
                    found = measure(subject, kind, places[subject.vendor, subject.role])
                    results.setdefault(key, []).append(found)
                except Missing as error:
                    missing[key] = str(error)
    return results


def middle(results: Results, key: Key, figure: str) -> float:
    """Return the median of the rounds."""
    return statistics.median(one[figure] for one in results[key])


def ratio(results: Results, vendor: str, peer: str, kind: str, figure: str) -> float:
    """Return how many times the peer's figure ours is: the median of the rounds, each compared with its own."""
    pairs = zip(results[vendor, OURS, kind], results[vendor, peer, kind], strict=False)
    return statistics.median(ours[figure] / theirs[figure] for ours, theirs in pairs)


def table(results: Results, vendor: str, missing: dict[Key, str]) -> list[str]:
    """Return the table of a database: cycles a second, and how long they took."""
    heads = [f"{int(many):,} thread{'s' if many != '1' else ''}" for many in THREADS]
    lines = [f"| {VENDORS[vendor]} | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    for subject in SUBJECTS:
        if subject.vendor == vendor and any((vendor, subject.name, many) in results for many in THREADS):
            cells = [cell(results, (vendor, subject.name, many), missing) for many in THREADS]
            lines.append(f"| {subject.title} | " + " | ".join(cells) + " |")
    return lines


def cell(results: Results, key: Key, missing: dict[Key, str]) -> str:
    """Return a cell of it."""
    if key not in results:
        return "failed" if key in missing else "-"
    rate, *took = (middle(results, key, figure) for figure in ("rate", "p50", "p99", "max"))
    text = f"{rate:,.0f}/s; {' / '.join(short(one) for one in took)} ms"
    errors = middle(results, key, "errors")
    return f"{text}; {errors:,.0f} failed" if errors else text


def short(milliseconds: float) -> str:
    """Return a figure with two digits or more."""
    digits = 2 if milliseconds < 1 else 1 if milliseconds < 10 else 0
    return f"{milliseconds:,.{digits}f}"


def killed_table(results: Results) -> list[str]:
    """Return the table of what all backends' death costs."""
    lines = [
        f"| all backends killed under {CROWD} threads | served again after | failed |",
        "| --- | ---: | ---: |",
    ]
    for subject in SUBJECTS:
        key = (subject.vendor, subject.name, "killed")
        if key in results:
            again, errors = middle(results, key, "again"), sum(one["errors"] for one in results[key])
            lines.append(f"| {VENDORS[subject.vendor]}: {subject.title} | {again:,.0f} ms | {errors:,.0f} |")
    return lines


def alone_table(results: Results) -> list[str]:
    """Return the table of what a pool costs without Django and without a statement."""
    key = ("postgresql", OURS, "alone")
    leaks = middle(results, key, "ours") - middle(results, key, "untold")
    return [
        "| alone | a call |",
        "| --- | ---: |",
        f"| noa_perf, acquire and release | {middle(results, key, 'ours'):.2f} µs |",
        f"| the same without leak tracking | {middle(results, key, 'untold'):.2f} µs |",
        f"| leak tracking, 40 frames deep | {leaks:.2f} µs |",
        f"| {BARE}, getconn and putconn | {middle(results, key, 'theirs'):.2f} µs |",
        f"| noa_perf, health check | {middle(results, key, 'alive'):.2f} µs |",
    ]


def page(results: Results, missing: dict[Key, str]) -> str:
    """Return all tables with what they were measured on."""
    many = len(results["postgresql", OURS, "200"])
    measured = f"{interpreter()}, {many} round{'s' if many > 1 else ''}, at most {MOST} connections."
    return "\n".join(
        [
            f"{measured} A cell: requests a second; p50 / p99 / longest.",
            "",
            *table(results, "postgresql", missing),
            "",
            *table(results, "mysql", missing),
            "",
            *killed_table(results),
            "",
            *alone_table(results),
            "",
            *(f"Missing: {vendor}, {name}, {kind} ({why})." for (vendor, name, kind), why in missing.items()),
        ]
    )


def interpreter() -> str:
    """Return what this runs on."""
    return f"Python {platform.python_version()}, Django {django.get_version()}"


def rows(results: Results) -> list[dict[str, Any]]:
    """Return a row for each measure, with the figures of each round."""
    return [
        {"database": vendor, "subject": name, "kind": kind, "rounds": found}
        for (vendor, name, kind), found in results.items()
    ]


def against(results: Results, vendor: str, peer: str, times: float, tail: float) -> list[Bar]:
    """Return what noa_perf has to reach beside a peer."""
    title = f"{VENDORS[vendor]}, times {peer}"
    rates = [(many, ratio(results, vendor, peer, many, "rate")) for many in ("16", "200")]
    tails = ratio(results, vendor, peer, "200", "p99")
    return [
        *(Bar(f"{title}: requests a second, {many} threads", rate, times, at_least=True) for many, rate in rates),
        Bar(f"{title}: p99, 200 threads", tails, tail),
    ]


def crowded(results: Results, vendor: str) -> list[Bar]:
    """Return what has to hold of 1,000 threads, and when all backends are killed."""
    found, killed = results[vendor, OURS, "1000"], results[vendor, OURS, "killed"]
    longest = statistics.median(one["max"] / one["p50"] for one in found)
    return [
        Bar(f"{VENDORS[vendor]}, 1,000 threads: errors", sum(one["errors"] for one in found), 0),
        Bar(f"{VENDORS[vendor]}, 1,000 threads: the longest, times the median", longest, 3),
        Bar(f"{VENDORS[vendor]}, all backends killed: errors", sum(one["errors"] for one in killed), 0),
    ]


def bars(results: Results) -> list[Bar]:
    """Return what noa_perf has to reach."""
    alone = results["postgresql", OURS, "alone"]
    bare = statistics.median(one["ours"] / one["theirs"] for one in alone)
    leaks = statistics.median(one["ours"] - one["untold"] for one in alone)
    health = statistics.median(one["alive"] - one["nothing"] for one in alone)
    return [
        *against(results, "postgresql", NATIVE, 1.5, 1),
        *against(results, "mysql", SQLALCHEMY, 1.3, 0.1),
        Bar(f"acquire and release, times {BARE}", bare, 1.2),
        *(bar for vendor in VENDORS for bar in crowded(results, vendor)),
        Bar("health check on borrow, µs", health, 1),
        Bar("leak tracking a checkout, µs", leaks, 3),
    ]


def lost(missing: dict[Key, str]) -> list[Key]:
    """Return what no verdict can be given without."""
    peers = [(NATIVE, "postgresql"), (SQLALCHEMY, "mysql")]
    needed = {(vendor, name, kind) for name, vendor in peers for kind in ("all", "16", "200")}
    needed |= {(vendor, OURS, kind) for vendor in VENDORS for kind in (*THREADS, "killed", "alone")}
    return sorted(needed & missing.keys())


def places() -> dict[tuple[str, str], dict[str, Any]]:
    """Start the servers; return where each is."""
    from tests.servers.mariadb import MariadbAlone
    from tests.servers.pgbouncer import Pgbouncer
    from tests.servers.registry import get

    postgres, mariadb = get(Pgbouncer), get(MariadbAlone)
    for server in (postgres, mariadb):
        server.query("primary", "CREATE DATABASE bench")
    return {
        ("postgresql", "primary"): postgres.settings("primary", "bench"),
        ("postgresql", "bouncer"): postgres.settings("bouncer", "bench"),
        ("mysql", "primary"): mariadb.settings("primary", "bench"),
    }


def main() -> int:
    """Measure, print, and, if asked to, write; return the exit code."""
    chosen = options(__doc__, ROUNDS)
    from tests.servers import registry
    from tests.servers.base import MissingServer

    missing: dict[Key, str] = {}
    try:
        results = rounds(chosen.rounds, places(), missing)
    except MissingServer as error:
        say(str(error))
        return 2
    finally:
        registry.stop_all()
    for key in lost(missing):
        say(f"{', '.join(key)}, could not be measured: {missing[key]}")
        return 2
    text = page(results, missing)
    if chosen.write:
        write("pool", text)
    more = {"interpreter": interpreter(), "missing": {", ".join(key): why for key, why in missing.items()}}
    return _verdict.end(chosen.format, text, rows(results), bars(results), **more)


if __name__ == "__main__":
    sys.exit(main())
