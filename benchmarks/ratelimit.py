"""What a check costs in memory and on Redis, and how many requests pass under fire: beside the peers.

``make bench ONLY=ratelimit`` prints the tables; ``ARGS=--write`` puts them in docs/reference/benchmarks.md, and
``ARGS=--quick`` measures once. Each subject is measured in processes of its own, round by round, on a private Redis. A
peer that is not installed, or fails, is named as missing. It ends with 1 where a bar does not hold, with 2 where
noa_perf or what it is measured by could not be measured.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import redis

from benchmarks import _verdict
from benchmarks._ratelimit_subjects import OURS, SUBJECTS, Subject
from benchmarks._ratelimit_worker import FIRE, TOGETHER
from benchmarks._verdict import Bar, options, say, write

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
PROCESSES = 8
PATIENCE = 600
"""Seconds that a process may take."""
FIGURES = ("hot", "many", "refused", "threads")

Key = tuple[str, str]
"""A subject, and what is measured of it."""
Results = dict[Key, list[dict[str, float]]]


class Missing(Exception):
    """Why a subject could not be measured, as its one argument."""


def start(name: str, kind: str, url: str) -> subprocess.Popen[str]:
    """Start a process of the subject's own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks._ratelimit_worker", name, kind, url]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def told(process: subprocess.Popen[str]) -> dict[str, float]:
    """Return what a process measured, once it may go."""
    try:
        out, errors = process.communicate("go\n", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Missing("no end after ten minutes") from None
    finally:
        process.kill()
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise Missing((errors.strip().splitlines() or ["no word"])[-1])
    found: dict[str, float] = json.loads(lines[-1])
    return found


def forget(url: str) -> None:
    """Empty the Redis, for some peers give two algorithms the same key."""
    if url:
        redis.Redis.from_url(url).flushall()


def measure(name: str, kind: str, url: str) -> dict[str, float]:
    """Return what one process measured."""
    forget(url)
    return told(start(name, kind, url))


def hammer(name: str, url: str) -> dict[str, float]:
    """Return how many requests of eight processes on one key were admitted, of all that were asked for."""
    forget(url)
    processes = [start(name, "fire", url) for _ in range(PROCESSES)]
    try:
        for process in processes:
            assert process.stdout
            process.stdout.readline()
        for process in processes:
            _go(process)
        return {"admitted": sum(told(process)["admitted"] for process in processes)}
    finally:
        for process in processes:
            process.kill()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    try:
        process.stdin.write("go\n")
        process.stdin.flush()
    except OSError:
        pass  # it has died, and told() finds out why


def tasks() -> list[Key]:
    """Return what is measured in each round."""
    return [*((one.name, one.kind) for one in SUBJECTS if one.installed), (OURS, "floor"), (OURS, "asyncio")]


def rounds(many: int, url: str, missing: dict[Key, str]) -> Results:
    """Return what each subject took in each round; the order turns from round to round."""
    results: Results = {}
    missing.update({(one.name, one.kind): "not installed" for one in SUBJECTS if not one.installed})
    for number in range(many):
        for name, kind in tasks() if number % 2 else reversed(tasks()):
            if (name, kind) not in missing:
                say(f"round {number + 1} of {many}: {name}, {kind}")
                try:
                    found = measure(name, kind, "" if kind == "memory" else url)
                    results.setdefault((name, kind), []).append(found)
                except Missing as error:
                    missing[name, kind] = str(error)
    return results


def fire(url: str, missing: dict[Key, str]) -> dict[str, float]:
    """Return how many times its limit each subject admitted; each is asked once."""
    found = {}
    for subject in SUBJECTS:
        if subject.kind == "redis" and (subject.name, "redis") not in missing:
            say(f"under fire: {subject.name}")
            try:
                found[subject.name] = hammer(subject.name, url)["admitted"] / FIRE
            except Missing as error:
                missing[subject.name, "fire"] = str(error)
    return found


def best(results: Results, name: str, kind: str, figure: str) -> float:
    """Return the least of the rounds: what disturbs only ever adds."""
    return min(one[figure] for one in results[name, kind])


def ratio(results: Results, kind: str, figure: str, base: str) -> float:
    """Return how many times ``base``'s figure another one of the same process is: the median of the rounds."""
    return statistics.median(one[figure] / one[base] for one in results[OURS, kind])


def fastest(results: Results, figure: str) -> tuple[float, str]:
    """Return the quickest peer's microseconds in memory, and its name."""
    peers = [one.name for one in SUBJECTS if one.package != "noa_perf" and (one.name, "memory") in results]
    return min((best(results, name, "memory", figure), name) for name in peers)


def of(results: Results, kind: str) -> list[Subject]:
    """Return the subjects that were measured so."""
    return [one for one in SUBJECTS if one.kind == kind and (one.name, kind) in results]


def memory_table(results: Results) -> list[str]:
    """Return the table of checks in memory, in microseconds."""
    lines = ["| memory | one key | many keys | over its limit | four threads |", "| --- |" + " ---: |" * 4]
    for subject in of(results, "memory"):
        cells = [f"{best(results, subject.name, 'memory', figure):.2f} µs" for figure in FIGURES]
        lines.append(f"| {subject.title} | " + " | ".join(cells) + " |")
    return lines


def redis_table(results: Results, admitted: dict[str, float]) -> list[str]:
    """Return the table of checks on Redis."""
    lines = [f"| Redis | a check | eight processes, a limit of {FIRE:,} |", "| --- | ---: | ---: |"]
    for subject in of(results, "redis"):
        passed = f"{admitted[subject.name]:.3f}×" if subject.name in admitted else "-"
        lines.append(f"| {subject.title} | {best(results, subject.name, 'redis', 'check'):.0f} µs | {passed} |")
    return lines


def floor_table(results: Results) -> list[str]:
    """Return the table of what a check on Redis costs beside bare redis-py."""
    rows = {
        ("floor", "bare"): "redis-py, our script and arguments",
        ("floor", "one"): "noa_perf, one limit",
        ("floor", "three"): "noa_perf, three limits",
        ("floor", "shortest"): "redis-py, the shortest GCRA",
        ("asyncio", "bare, 1"): "asyncio: redis-py, our script",
        ("asyncio", "ours, 1"): "asyncio: noa_perf",
        ("asyncio", f"bare, {TOGETHER}"): f"asyncio, {TOGETHER} at a time: redis-py, our script",
        ("asyncio", f"ours, {TOGETHER}"): f"asyncio, {TOGETHER} at a time: noa_perf",
    }
    base = {"floor": "bare", "asyncio": "bare, 1"}
    lines = ["| beside bare redis-py | a call | calls a second, times bare |", "| --- | ---: | ---: |"]
    for (kind, figure), title in rows.items():
        against = f"bare, {TOGETHER}" if figure.endswith(f" {TOGETHER}") else base[kind]
        times = ratio(results, kind, against, figure)
        lines.append(f"| {title} | {best(results, OURS, kind, figure):.0f} µs | {times:.2f}× |")
    return lines


def page(results: Results, admitted: dict[str, float], missing: dict[Key, str]) -> str:
    """Return all tables with what they were measured on."""
    many = len(results[OURS, "memory"])
    return "\n".join(
        [
            f"{interpreter()}, {many} rounds.",
            "",
            *memory_table(results),
            "",
            *redis_table(results, admitted),
            "",
            *floor_table(results),
            "",
            *(f"Missing: {name}, {kind} ({why})." for (name, kind), why in missing.items()),
        ]
    )


def interpreter() -> str:
    """Return what this runs on."""
    return f"Python {platform.python_version()}, Django {django.get_version()}"


def rows(results: Results, admitted: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row for each subject and kind, with the figures of each round."""
    measured = [{"subject": name, "kind": kind, "rounds": found} for (name, kind), found in results.items()]
    return [*measured, *({"subject": name, "kind": "fire", "admitted": times} for name, times in admitted.items())]


def bars(results: Results, admitted: dict[str, float]) -> list[Bar]:
    """Return what noa_perf has to reach."""
    peers = {figure: fastest(results, figure) for figure in ("hot", "many")}
    own = [times for name, times in admitted.items() if name.startswith("noa_perf ")]
    return [
        *(
            Bar(
                f"checks a second in memory, {figure}, times the quickest peer's ({name})",
                theirs / best(results, OURS, "memory", figure),
                3,
                at_least=True,
            )
            for figure, (theirs, name) in peers.items()
        ),
        Bar("checks a second on Redis, times bare EVALSHA", ratio(results, "floor", "bare", "one"), 0.9, at_least=True),
        Bar("three limits, times one", ratio(results, "floor", "three", "one"), 1.3),
        Bar("admitted under fire, times the limit, by the algorithm that admits most", max(own), 1),
        Bar("the same, by the one that admits least", min(own), 1, at_least=True),
    ]


def lost(missing: dict[Key, str]) -> list[Key]:
    """Return what no verdict can be given without."""
    own = [one for one in SUBJECTS if one.package == "noa_perf"]
    quick = [one for one in SUBJECTS if one.package == "limits" and one.kind == "memory"]
    fired = [(one.name, "fire") for one in own if one.kind == "redis"]
    needed = [*((one.name, one.kind) for one in (*own, *quick)), *fired, (OURS, "floor"), (OURS, "asyncio")]
    return [one for one in needed if one in missing]


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and all that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def main() -> int:
    """Measure, print, and, if asked to, write; return the exit code."""
    chosen = options(__doc__, ROUNDS)
    from tests.servers import registry
    from tests.servers.base import MissingServer
    from tests.servers.redis import Redis

    missing: dict[Key, str] = {}
    try:
        # Client and server take turns: where the scheduler puts them, which costs up to twice the time, is chance.
        with one_core():
            url = registry.get(Redis).urls()["primary"]
            results = rounds(chosen.rounds, url, missing)
    except MissingServer as error:
        say(str(error))
        return 2
    try:
        admitted = fire(url, missing)
    finally:
        registry.stop_all()
    for name, kind in lost(missing):
        say(f"{name}, {kind}, could not be measured: {missing[name, kind]}")
        return 2
    text = page(results, admitted, missing)
    if chosen.write:
        write("ratelimit", text)
    more = {"interpreter": interpreter(), "missing": {f"{name}, {kind}": why for (name, kind), why in missing.items()}}
    return _verdict.end(chosen.format, text, rows(results, admitted), bars(results, admitted), **more)


if __name__ == "__main__":
    sys.exit(main())
