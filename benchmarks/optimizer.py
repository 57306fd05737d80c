"""What it costs to watch a lazy-FK loop, and what is found: beside bare Django and the peers, all in one run.

``make bench ONLY=optimizer`` prints the tables; ``ARGS=--write`` puts them in docs/reference/benchmarks.md, and
``ARGS=--quick`` shows in a minute whether all of it runs. Each subject is measured in processes of its own, one after
the other, round by round, and only ratios within a round are kept: what else the machine does meets all alike. A peer
that is not installed, or fails, is named as missing. It ends with 1 where a bar does not hold, with 2 where noa_perf or
bare Django could not be measured.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import django

from benchmarks import _verdict
from benchmarks._optimizer_subjects import SUBJECTS, Subject
from benchmarks._verdict import Bar, options, say, write

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 9
QUICK = 2
SHAPES = {"loop": "lazy-FK loop", "deep": "the same under 40 frames", "template": "the same in a template"}
BAR = 1.08
"""What noa_perf may cost at most, by its design."""
WATCHED = 10_000
"""Queries a second that one process is to watch at least."""
BARE, OURS = "bare Django", "noa_perf"

Result = dict[str, float]
Told = dict[str, list[str]]


class Missing(Exception):
    """Why a subject could not be measured, as its one argument."""


def measure(subject: Subject, kind: str) -> Any:
    """Return what a process of the subject's own measured."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks._optimizer_worker", subject.name, kind]
    try:
        if subject.package:
            version(subject.package)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    except PackageNotFoundError:
        raise Missing("not installed") from None
    except subprocess.TimeoutExpired:
        raise Missing("no end after ten minutes") from None
    if done.returncode:
        raise Missing((done.stderr.strip().splitlines() or ["no word"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def scenarios(missing: dict[str, str]) -> dict[str, Told]:
    """Return what each subject that judges told of the scenarios."""
    told = {}
    for subject in SUBJECTS:
        if subject.detects is not None:
            try:
                told[subject.name] = measure(subject, "scenarios")
            except Missing as why:
                missing[subject.name] = str(why)
    return told


def rounds(many: int, missing: dict[str, str]) -> dict[str, list[Result]]:
    """Return, for each subject, its result of each round; the order turns from round to round."""
    results: dict[str, list[Result]] = {subject.name: [] for subject in SUBJECTS}
    for number in range(many):
        for subject in SUBJECTS if number % 2 else reversed(SUBJECTS):
            if subject.name in missing:
                continue
            say(f"round {number + 1} of {many}: {subject.name}")
            try:
                results[subject.name].append(measure(subject, "speed"))
            except Missing as why:
                missing[subject.name] = str(why)
    return {name: found for name, found in results.items() if name not in missing}


def ratios(results: dict[str, list[Result]], name: str, shape: str) -> list[float]:
    """Return what a subject took of bare Django's time, round by round."""
    return [own[shape] / plain[shape] for own, plain in zip(results[name], results[BARE], strict=True)]


def cost_table(results: dict[str, list[Result]]) -> list[str]:
    """Return the table of ratios: the median, and the range of all rounds."""
    lines = ["| | " + " | ".join(SHAPES.values()) + " |", "| --- |" + " ---: |" * len(SHAPES)]
    for subject in SUBJECTS[1:]:
        if subject.name not in results:
            continue
        cells = []
        for shape in SHAPES:
            found = sorted(ratios(results, subject.name, shape))
            cells.append(f"{statistics.median(found):.2f}× ({found[0]:.2f}–{found[-1]:.2f})")
        lines.append(f"| {named(subject)} | " + " | ".join(cells) + " |")
    return lines


def found_table(told: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return the table of what was found, missed, and reported though nothing was wrong."""
    lines = ["| | found | missed | false alarms | broke |", "| --- | ---: | ---: | ---: | ---: |"]
    for subject in SUBJECTS:
        if subject.name in told:
            own = told[subject.name]
            loops = len(own["found"]) + len(own["missed"])
            quiet = len(own["false"]) + len(own["silent"])
            cells = [
                f"{len(own['found'])} of {loops}",
                str(len(own["missed"])),
                f"{len(own['false'])} of {quiet}",
                str(len(own["broken"])),
            ]
            lines.append(f"| {named(subject)} | " + " | ".join(cells) + " |")
    return lines


def named(subject: Subject) -> str:
    """Return a subject's name and version."""
    return f"{subject.name} {version(subject.package)}" if subject.package else subject.name


def page(results: dict[str, list[Result]], told: dict[str, Told], missing: dict[str, str]) -> str:
    """Return both tables with what they were measured on."""
    bare = statistics.median(one["loop"] for one in results[BARE])
    measured = f"Python {platform.python_version()}, Django {django.get_version()}, SQLite in memory, "
    measured += (
        f"{len(results[OURS])} rounds. A query of bare Django's loop takes {bare:.0f} µs of processor time here."
    )
    lines = [
        measured,
        "",
        *cost_table(results),
        "",
        f"On raw cursors one process watched {watched(results):,.0f} queries a second.",
    ]
    lines += ["", *found_table(told), ""]
    lines += [f"Missing: {name} ({why})." for name, why in sorted(missing.items())]
    return "\n".join(lines)


def watched(results: dict[str, list[Result]]) -> float:
    """Return the queries a second that noa_perf watches on raw cursors."""
    return statistics.median(1e6 / one["raw"] for one in results[OURS])


def rows(results: dict[str, list[Result]], told: dict[str, Told]) -> list[dict[str, Any]]:
    """Return a row for each subject: its ratios to bare Django, and how many scenarios it told right and wrong."""
    return [
        {
            "subject": subject.name,
            "version": version(subject.package) if subject.package else "",
            "ratios": {shape: ratios(results, subject.name, shape) for shape in SHAPES},
            "scenarios": {kind: len(names) for kind, names in told.get(subject.name, {}).items()},
        }
        for subject in SUBJECTS
        if subject.name in results
    ]


def bars(results: dict[str, list[Result]], told: dict[str, Told]) -> list[Bar]:
    """Return what noa_perf has to reach."""
    cost = [
        Bar(f"{title}, times bare Django", statistics.median(ratios(results, OURS, shape)), BAR)
        for shape, title in SHAPES.items()
    ]
    own = told[OURS]
    return [
        *cost,
        Bar("raw queries watched a second", watched(results), WATCHED, at_least=True),
        Bar("scenarios missed", len(own["missed"]) + len(own["broken"]), 0),
        Bar("false alarms", len(own["false"]), 0),
    ]


def main() -> int:
    """Measure, print, and, if asked to, write; return the exit code."""
    chosen = options(__doc__, ROUNDS, QUICK)
    missing: dict[str, str] = {}
    told = scenarios(missing)
    results = rounds(chosen.rounds, missing)
    if lost := [name for name in (BARE, OURS) if name in missing]:
        say(f"{lost[0]} could not be measured: {missing[lost[0]]}")
        return 2
    text = page(results, told, missing)
    if chosen.write:
        write("optimizer", text)
    interpreter = f"Python {platform.python_version()}, Django {django.get_version()}"
    return _verdict.end(
        chosen.format, text, rows(results, told), bars(results, told), interpreter=interpreter, missing=missing
    )


if __name__ == "__main__":
    sys.exit(main())
