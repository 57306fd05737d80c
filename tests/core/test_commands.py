"""Tables, progress and time as every command uses them."""

from __future__ import annotations

import io

from noa_perf.core.clock import SYSTEM, ManualClock
from noa_perf.core.commands import progress, table


def test_table_aligns_columns():
    text = table(("name", "queries"), [("/", 3), ("/long/", 12)], "<>")

    assert text.splitlines() == ["name    queries", "------  -------", "/             3", "/long/       12"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_redraws_on_a_terminal_ten_times_a_second_at_most():
    clock, out = ManualClock(), Terminal()

    for _ in progress(range(100), total=100, label="working", stream=out, now=clock.monotonic):
        clock.advance(0.03)

    drawn = out.getvalue().split("\r")
    assert 20 < len(drawn) < 35
    assert drawn[-1].startswith("working")
    assert "100/100 in 3.0 s" in drawn[-1]


def test_progress_writes_one_line_elsewhere():
    out = io.StringIO()

    assert list(progress(iter("ab"), total=2, label="working", stream=out)) == ["a", "b"]
    assert out.getvalue().count("\n") == 1
    assert "\r" not in out.getvalue()


def test_the_systems_clock_goes_on():
    assert SYSTEM.monotonic() <= SYSTEM.monotonic()
