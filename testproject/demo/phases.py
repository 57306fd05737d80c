"""One phase of the demo: a twin of the shop is served, warmed up, driven and asked what it saw."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noa_perf.core.commands import progress

from . import report
from .children import Child, DemoError

if TYPE_CHECKING:  # it imports models, which need Django set up
    from .workload import Workload


@dataclass(frozen=True, slots=True)
class Phase:
    """What one twin did."""

    figures: dict[str, Any]
    findings: list[dict[str, Any]]
    answers: dict[tuple[int, int], tuple[int, str]]
    """Status and digest of the body, by client and place."""


def measure(twin: str, label: str, seeded: Path, run: Path, workload: Workload, *more: str) -> Phase:
    """Serve one twin on a fresh copy of the data, warm it up, and drive the mix; ``more`` may be ``cached``."""
    with Child("testproject.demo.server", seeded, run / f"{'-'.join([twin, *more])}.sqlite3", twin, *more) as server:
        port = server.hear()["port"]
        said, seconds = drive(port, workload, label, lambda: server.ask("reset"))
        told = server.ask("report")
    figures = report.figures([answer["ms"] for answer in said], seconds, told["totals"], told["cache"])
    outcomes = {(a["client"], a["index"]): (a["status"], a["digest"]) for a in said}
    return Phase(figures, told["findings"], outcomes)


def drive(
    port: int, workload: Workload, label: str, when_warm: Callable[[], object] = lambda: None
) -> tuple[list[dict[str, Any]], float]:
    """Send the warm-up, then the mix; return the mix's answers, and the seconds that it took."""
    with Child("testproject.demo.driver", port) as driver:
        driver.tell(json.dumps(workload.as_dict()))
        list(_answers(driver, "warm_up", sum(map(len, workload.warm_up))))
        driver.hear()
        when_warm()
        answers = _answers(driver, "measured", workload.size)
        said = list(progress(answers, total=workload.size, label=label))
        return said, driver.hear()["seconds"]


def compare(before: Phase, after: Phase, requests: list[list[dict[str, Any]]]) -> None:
    """Raise where a request failed, or where the twins answered it differently."""
    for (client, index), answer in sorted(before.answers.items()):
        path = requests[client][index]["path"]
        if answer[0] != 200:
            raise DemoError(f"{path} answered with status {answer[0]}.")
        if after.answers[client, index] != answer:
            raise DemoError(f"the mended shop answers {path} differently: {answer} {after.answers[client, index]}.")


def _answers(driver: Child, part: str, total: int) -> Iterator[dict[str, Any]]:
    """Have one part of the workload sent, and yield each answer."""
    driver.tell(part)
    for _ in range(total):
        answer = driver.hear()
        if "seconds" in answer:
            raise DemoError("a client stopped early; what it wrote above says why.")
        yield answer
