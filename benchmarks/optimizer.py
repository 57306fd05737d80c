"""What it costs to watch a lazy-FK loop, and what is found: beside bare Django and the peers, all in one run.

``make bench ONLY=optimizer`` prints the tables; ``ARGS=--write`` puts them in docs/reference/benchmarks.md, and
``ARGS="--rounds 2"`` is quicker. Each subject is measured in processes of its own, one after the other, round by
round, and only ratios within a round are kept: what else the machine does meets all alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django

from benchmarks._optimizer_subjects import SUBJECTS, Subject

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
ROUNDS = 9
SHAPES = {"loop": "lazy-FK loop", "deep": "the same under 40 frames", "template": "the same in a template"}
BAR = 1.08
"""What noa_perf may cost at most, by its design."""
WATCHED = 10_000
"""Queries a second that one process is to watch at least."""

Result = dict[str, float]


def measure(subject: Subject, kind: str) -> Any:
    """Return what a process of the subject's own measured."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks._optimizer_worker", subject.name, kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        sys.exit(f"{subject.name} could not be measured:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def rounds(many: int) -> dict[str, list[Result]]:
    """Return, for each subject, its result of each round; the order turns from round to round."""
    results: dict[str, list[Result]] = {subject.name: [] for subject in SUBJECTS}
    for number in range(many):
        for subject in SUBJECTS if number % 2 else reversed(SUBJECTS):
            say(f"round {number + 1} of {many}: {subject.name}")
            results[subject.name].append(measure(subject, "speed"))
    return results


def ratios(results: dict[str, list[Result]], name: str, shape: str) -> list[float]:
    """Return what a subject took of bare Django's time, round by round."""
    bare = results[SUBJECTS[0].name]
    return [own[shape] / plain[shape] for own, plain in zip(results[name], bare, strict=True)]


def cost_table(results: dict[str, list[Result]]) -> list[str]:
    """Return the table of ratios: the median, and the range of all rounds."""
    lines = ["| | " + " | ".join(SHAPES.values()) + " |", "| --- |" + " ---: |" * len(SHAPES)]
    for subject in SUBJECTS[1:]:
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


def page(results: dict[str, list[Result]], told: dict[str, dict[str, list[str]]]) -> str:
    """Return both tables with what they were measured on."""
    bare = statistics.median(one["loop"] for one in results[SUBJECTS[0].name])
    raw = statistics.median(1e6 / one["raw"] for one in results["noa_perf"])
    many = len(results["noa_perf"])
    measured = f"Python {platform.python_version()}, Django {django.get_version()}, SQLite in memory, {many} rounds."
    measured += f" A query of bare Django's loop takes {bare:.0f} µs of processor time here."
    return "\n".join(
        [
            measured,
            "",
            *cost_table(results),
            "",
            f"On raw cursors one process watched {raw:,.0f} queries a second.",
            "",
            *found_table(told),
            "",
        ]
    )


def judge(results: dict[str, list[Result]]) -> list[str]:
    """Return the bars that were missed, in words."""
    missed = []
    for shape, title in SHAPES.items():
        middle = statistics.median(ratios(results, "noa_perf", shape))
        if middle > BAR:
            missed.append(f"{title}: {middle:.3f}× of bare Django; the bar is {BAR}×")
    raw = statistics.median(1e6 / one["raw"] for one in results["noa_perf"])
    if raw < WATCHED:
        missed.append(f"{raw:,.0f} queries a second; the bar is {WATCHED:,}")
    return missed


def write(text: str) -> None:
    """Put the tables of this Python into the page, in place of those that were there."""
    name = f"python-{sys.version_info[0]}.{sys.version_info[1]}"
    begin, end = f"<!-- optimizer {name} -->\n", f"<!-- end {name} -->"
    before = PAGE.read_text()
    head, _, rest = before.partition(begin)
    _, _, tail = rest.partition(end)
    if not rest:
        sys.exit(f"{PAGE} has no place for {name}: add {begin.strip()} and {end}.")
    PAGE.write_text(f"{head}{begin}{text}\n{end}{tail}")


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, and, if asked to, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often each is measured (default: {ROUNDS})")
    parser.add_argument("--write", action="store_true", help="put the tables into the docs")
    options = parser.parse_args()
    told = {one.name: measure(one, "scenarios") for one in SUBJECTS if one.detects is not None}
    results = rounds(options.rounds)
    text = page(results, told)
    print(text)
    if told["noa_perf"]["missed"] or told["noa_perf"]["false"]:
        say(f"noa_perf missed {told['noa_perf']['missed']} and cried at {told['noa_perf']['false']}")
    for line in judge(results):
        say(f"NOT REACHED: {line}")
    if options.write:
        write(text)


if __name__ == "__main__":
    main()
