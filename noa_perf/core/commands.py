"""What every noa_perf command shares: formats, exit codes, tables and a progress bar."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser

from noa_perf.core.exceptions import NoaPerfError

T = TypeVar("T")

HEALTHY, FINDINGS, FAILED = 0, 1, 2
SEVERITIES = ("low", "medium", "high")


class ReportCommand(BaseCommand):
    """A command that reports: ``--format table|json`` and ``--fail-level``.

    It exits with 0 when healthy, 1 with findings of that level, 2 when it could not run.
    """

    captured = False  # the optimizer opens no scope over a command that reports on scopes
    fail_level = "never"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options that every report has."""
        parser.add_argument(
            "--format", choices=("table", "json"), default="table", help="how to print (default: table)"
        )
        parser.add_argument(
            "--fail-level",
            choices=(*SEVERITIES, "never"),
            default=self.fail_level,
            help=f"exit 1 when a finding is at least this severe (default: {self.fail_level})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Collect the report, print it, and end with its exit code."""
        try:
            report = self.collect(**options)
        except NoaPerfError as error:
            raise CommandError(str(error), returncode=FAILED) from error
        if options["format"] == "json":
            self.stdout.write(json.dumps(report, indent=2, default=str))
        else:
            self.render(report, **options)
        if why := self.obstacle(report):
            raise CommandError(why, returncode=FAILED)
        if self._fails(report, options["fail_level"]):
            sys.exit(FINDINGS)

    def collect(self, **options: Any) -> dict[str, Any]:
        """Return the report as JSON-serialisable data; its ``findings`` decide the exit code."""
        raise NotImplementedError

    def obstacle(self, report: dict[str, Any]) -> str:
        """Return why a report that was printed is none of what was asked for; empty if it is one."""
        return ""

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write the report for a person to ``self.stdout``."""
        raise NotImplementedError

    @staticmethod
    def _fails(report: dict[str, Any], level: str) -> bool:
        if level == "never":
            return False
        least = SEVERITIES.index(level)
        return any(SEVERITIES.index(finding["severity"]) >= least for finding in report["findings"])


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], align: str = "") -> str:
    """Return ``rows`` below ``headers`` as text; ``align`` has one of ``<`` or ``>`` per column (default ``<``)."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    sides = align.ljust(len(headers), "<")

    def line(row: Sequence[str]) -> str:
        return "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, cells)])


def paragraph(text: str, indent: str = "", hang: str | None = None) -> str:
    """Return ``text`` wrapped to the terminal's width (100 columns at most)."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent if hang is None else hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def progress(
    items: Iterable[T],
    *,
    total: int,
    label: str,
    stream: TextIO | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Yield ``items`` while a bar on stderr shows how many of ``total`` are done.

    On a terminal the bar is redrawn ten times a second at most; elsewhere one line is written at the end.
    """
    out = stream or sys.stderr
    live = out.isatty()
    drawn = started = now()
    done = 0
    for item in items:
        yield item
        done += 1
        if live and now() - drawn >= 0.1:
            drawn = now()
            out.write("\r" + _bar(label, done, total))
            out.flush()
    ending = f"{_bar(label, done, total)} in {now() - started:.1f} s\n"
    out.write(("\r" if live else "") + ending)
    out.flush()


def _bar(label: str, done: int, total: int) -> str:
    filled = 24 if not total else min(24, 24 * done // total)
    return f"{label:<24.24} [{'#' * filled}{'.' * (24 - filled)}] {done:,}/{total:,}"
