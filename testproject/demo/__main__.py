"""Measure the shop as it is, explain it, mend it, and measure it again: ``python -m testproject.demo``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from noa_perf.core.commands import progress

from . import report
from .children import ROOT, Child, DemoError
from .seeding import prepare, run_folder, settle


@dataclass(frozen=True, slots=True)
class Phase:
    """What one twin did."""

    figures: dict[str, Any]
    findings: list[dict[str, Any]]
    answers: dict[tuple[int, int], tuple[int, str]]
    """Status and digest of the body, by client and place."""


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    options = _options(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        before, after = _measure_both(options)
    except DemoError as error:
        sys.stderr.write(f"The demo failed: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        return 130
    if options.format == "json":
        print(report.as_json(before.figures, after.figures, before.findings))
        return 0
    _print(before, after, options.findings)
    return 0


def _print(before: Phase, after: Phase, shown: int) -> None:
    """Print for a person."""
    found = len(before.findings)
    print("\nWhat noa_perf found, dearest first:\n\n" + report.as_list(before.findings[:shown]))
    if found > shown:
        print(f"\n... and {found - shown} more: --findings {found} prints them all.")
    print(f"\nFindings: {found} as it is, {len(after.findings)} mended. The same requests, as measured now:\n")
    print(report.as_table(before.figures, after.figures))


def _measure_both(options: argparse.Namespace) -> tuple[Phase, Phase]:
    with run_folder(options.folder) as run:
        seeded = prepare(options.folder, run, options.scale, options.seed)
        from .workload import record

        workload = record(options.requests)
        settle()
        before = _measure("as_is", "As it is", seeded, run, workload)
        after = _measure("mended", "Mended", seeded, run, workload)
    _compare(before, after, workload.measured)
    return before, after


def _measure(twin: str, label: str, seeded: Path, run: Path, workload: Any) -> Phase:
    """Serve one twin on a fresh copy of the data, warm it up, and drive the mix."""
    with Child("testproject.demo.server", seeded, run / f"{twin}.sqlite3", twin) as server:
        port = server.hear()["port"]
        with Child("testproject.demo.driver", port) as driver:
            driver.tell(json.dumps(workload.as_dict()))
            list(_answers(driver, "warm_up", sum(map(len, workload.warm_up))))
            server.ask("reset")
            answers = _answers(driver, "measured", workload.size)
            said = list(progress(answers, total=workload.size, label=label))
            seconds = driver.hear()["seconds"]
        told = server.ask("report")
    figures = report.figures([answer["ms"] for answer in said], seconds, told["totals"])
    outcomes = {(a["client"], a["index"]): (a["status"], a["digest"]) for a in said}
    return Phase(figures, told["findings"], outcomes)


def _answers(driver: Child, part: str, total: int) -> Iterator[dict[str, Any]]:
    """Have one part of the workload sent, and yield each answer."""
    driver.tell(part)
    for _ in range(total):
        answer = driver.hear()
        if "seconds" in answer:
            raise DemoError("a client stopped early; what it wrote above says why.")
        yield answer
    if part == "warm_up":
        driver.hear()


def _compare(before: Phase, after: Phase, requests: list[list[dict[str, Any]]]) -> None:
    """Raise where a request failed, or where the twins answered it differently."""
    for (client, index), answer in sorted(before.answers.items()):
        path = requests[client][index]["path"]
        if answer[0] != 200:
            raise DemoError(f"{path} answered with status {answer[0]}.")
        if after.answers[client, index] != answer:
            raise DemoError(f"the mended shop answers {path} differently: {answer} {after.answers[client, index]}.")


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m testproject.demo", description=__doc__)
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")
    parser.add_argument("--scale", type=float, default=1.0, help="how much data (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="which data (default: 1)")
    parser.add_argument("--requests", type=int, help="how many requests in each phase (default: as recorded)")
    parser.add_argument("--findings", type=int, default=25, help="how many to print (default: 25)")
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo", help="where the data is kept")
    return parser.parse_args(argv)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End as on Ctrl-C, so that the same cleaning is done."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
