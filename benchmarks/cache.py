"""What a hit costs, what a read from Redis costs, and how much a cache of a given size has: beside the peers.

``make bench ONLY=cache`` prints the tables; ``ARGS=--write`` puts them in docs/reference/benchmarks.md, and
``ARGS=--quick`` measures once. Each subject is measured in processes of its own, round by round, on a private Redis;
only ratios within a round are kept. A peer that is not installed, or fails, is named as missing. It ends with 1 where a
bar does not hold, with 2 where noa_perf or what it is measured by could not be measured.
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
from benchmarks._cache_subjects import SUBJECTS, Subject
from benchmarks._verdict import Bar, options, say, write

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
OURS, SHARED, READ = "noa_perf", "noa_perf, shared", "noa_perf, Redis read"
LOCMEM, BARE = "Django LocMemCache", "redis-py, bare"
NEEDED = (OURS, SHARED, READ, LOCMEM, BARE)
TRACED = (OURS, "theine", "cachebox LFUCache", "cachebox LRUCache")

Results = dict[tuple[str, str], list[dict[str, float]]]


class Missing(Exception):
    """Why a subject could not be measured, as its one argument."""


def measure(name: str, kind: str, url: str) -> dict[str, float]:
    """Return what a process of the subject's own measured."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks._cache_worker", name, kind, url]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        raise Missing("no end after ten minutes") from None
    told = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not told:
        raise Missing((done.stderr.strip().splitlines() or ["no word"])[-1])
    found: dict[str, float] = json.loads(told[-1])
    return found


def wanted(subject: Subject) -> list[str]:
    """Return the kinds of measurement that a subject takes part in."""
    kinds = [kind for kind in ("memory", "redis") if getattr(subject, kind)]
    return [*kinds, "mixed"] if subject.name == OURS else kinds


def rounds(many: int, url: str, missing: dict[str, str]) -> Results:
    """Return what each subject took in each round; the order turns from round to round."""
    results: Results = {}
    tasks = [(one.name, kind) for one in SUBJECTS if one.installed for kind in wanted(one)]
    missing.update({one.name: "not installed" for one in SUBJECTS if not one.installed})
    for number in range(many):
        for name, kind in tasks if number % 2 else reversed(tasks):
            if name not in missing:
                say(f"round {number + 1} of {many}: {name}, {kind}")
                try:
                    results.setdefault((name, kind), []).append(measure(name, kind, url))
                except Missing as error:
                    missing[name] = str(error)
    return results


def traces(missing: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return hit ratios; a trace is the same each time, so it is run once."""
    found = {}
    for name in TRACED:
        say(f"traces: {name}")
        try:
            found[name] = measure(name, "trace", "")
        except Missing as error:
            missing.setdefault(name, str(error))
    return found


def middle(results: Results, name: str, kind: str, figure: str) -> float:
    """Return the median over the rounds."""
    return statistics.median(one[figure] for one in results[name, kind])


def times(results: Results, kind: str, figure: str, name: str, base: str) -> list[float]:
    """Return, round by round, how many times ``base``'s figure is the subject's: more is quicker."""
    pairs = zip(results[base, kind], results[name, kind], strict=True)
    return [theirs[figure] / own[figure] for theirs, own in pairs]


def memory_table(results: Results) -> list[str]:
    """Return the table of hits in memory."""
    lines = ["| memory | text | dict | text, times LocMem | dict, times LocMem |", "| --- |" + " ---: |" * 4]
    for subject in SUBJECTS:
        if (subject.name, "memory") in results:
            own = [f"{middle(results, subject.name, 'memory', what):.2f} µs" for what in ("text", "dict")]
            against = [
                f"{statistics.median(times(results, 'memory', what, subject.name, LOCMEM)):.1f}×"
                for what in ("text", "dict")
            ]
            lines.append(f"| {subject.title} | " + " | ".join([*own, *against]) + " |")
    return lines


def redis_table(results: Results) -> list[str]:
    """Return the table of reads from Redis."""
    lines = ["| Redis | a read | of it processor | times bare redis-py |", "| --- |" + " ---: |" * 3]
    for subject in SUBJECTS:
        if (subject.name, "redis") in results:
            wall, cpu = (middle(results, subject.name, "redis", what) for what in ("wall", "cpu"))
            ratio = sorted(times(results, "redis", "wall", subject.name, BARE))
            spread = f"{statistics.median(ratio):.2f}× ({ratio[0]:.2f}–{ratio[-1]:.2f})"
            lines.append(f"| {subject.title} | {wall:.0f} µs | {cpu:.0f} µs | {spread} |")
    return lines


def trace_table(found: dict[str, dict[str, float]]) -> list[str]:
    """Return the table of hit ratios."""
    lines = ["| hit ratio | Zipf 0.9 | with scans |", "| --- | ---: | ---: |"]
    return lines + [f"| {name} | {one['zipf']:.4f} | {one['scan']:.4f} |" for name, one in found.items()]


def page(results: Results, found: dict[str, dict[str, float]], missing: dict[str, str]) -> str:
    """Return all tables with what they were measured on."""
    many = len(results[OURS, "memory"])
    rate, share = (middle(results, OURS, "mixed", what) for what in ("rate", "share"))
    mixed = f"With {share:.0%} of the reads answered from memory and the others by Redis, "
    mixed += f"one process of four threads reads {rate:,.0f} keys a second."
    return "\n".join(
        [
            f"{interpreter()}, {many} rounds.",
            "",
            *memory_table(results),
            "",
            *redis_table(results),
            "",
            mixed,
            "",
            *trace_table(found),
            "",
            *(f"Missing: {name} ({why})." for name, why in missing.items()),
        ]
    )


def interpreter() -> str:
    """Return what this runs on."""
    return f"Python {platform.python_version()}, Django {django.get_version()}"


def rows(results: Results, found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each subject and kind, with the figures of each round."""
    measured = [{"subject": name, "kind": kind, "rounds": told} for (name, kind), told in results.items()]
    return [*measured, *({"subject": name, "kind": "trace", "rounds": [one]} for name, one in found.items())]


def bars(results: Results, found: dict[str, dict[str, float]]) -> list[Bar]:
    """Return what noa_perf has to reach."""

    def ratio(kind: str, figure: str, name: str, base: str) -> float:
        return statistics.median(times(results, kind, figure, name, base))

    best = {kind: max(one[kind] for name, one in found.items() if name != OURS) for kind in ("zipf", "scan")}
    return [
        Bar("a hit in memory, shared, µs", middle(results, SHARED, "memory", "dict"), 0.3),
        Bar("the same, times LocMem", ratio("memory", "dict", SHARED, LOCMEM), 8, at_least=True),
        Bar("a hit in memory, copied, times LocMem", ratio("memory", "dict", OURS, LOCMEM), 2, at_least=True),
        Bar("a read from Redis, times bare redis-py", ratio("redis", "wall", READ, BARE), 0.95, at_least=True),
        Bar("reads a second at 85% from memory", middle(results, OURS, "mixed", "rate"), 100_000, at_least=True),
        *(
            Bar(f"hit ratio, {kind}, of the best peer's", found[OURS][kind] / best[kind], 0.99, at_least=True)
            for kind in ("zipf", "scan")
        ),
    ]


def main() -> int:
    """Measure, print, and, if asked to, write; return the exit code."""
    chosen = options(__doc__, ROUNDS)
    from tests.servers import registry
    from tests.servers.base import MissingServer
    from tests.servers.redis import Redis

    missing: dict[str, str] = {}
    try:
        url = registry.get(Redis).urls()["primary"]
    except MissingServer as error:
        say(str(error))
        return 2
    try:
        found = traces(missing)
        results = rounds(chosen.rounds, url, missing)
    finally:
        registry.stop_all()
    lost = [name for name in (*NEEDED, "theine", "cachebox LFUCache") if name in missing]
    if lost:
        say(f"{lost[0]} could not be measured: {missing[lost[0]]}")
        return 2
    text = page(results, found, missing)
    if chosen.write:
        write("cache", text)
    told = {"interpreter": interpreter(), "missing": missing}
    return _verdict.end(chosen.format, text, rows(results, found), bars(results, found), **told)


if __name__ == "__main__":
    sys.exit(main())
