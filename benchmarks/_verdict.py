"""What each benchmark ends with: its rows, its bars, and an exit code that says whether they hold."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "benchmarks.md"


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure, and what it has to reach."""

    name: str
    value: float
    bound: float
    at_least: bool = False
    """Whether more is better."""

    @property
    def holds(self) -> bool:
        """Whether it is reached."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return {"name": self.name, "value": self.value, "bound": self.bound, "holds": self.holds}

    def __str__(self) -> str:
        word = "at least" if self.at_least else "at most"
        return f"{'holds' if self.holds else 'MISSED'}: {self.name}: {_short(self.value)}, {word} {_short(self.bound)}"


def _short(figure: float) -> str:
    return f"{figure:,.2f}".rstrip("0").rstrip(".")


def end(form: str, table: str, rows: Sequence[dict[str, Any]], bars: Sequence[Bar], **more: Any) -> int:
    """Print the verdict in the ``form`` that was asked for; return the exit code: 1 where a bar does not hold."""
    if form == "json":
        print(json.dumps({"rows": list(rows), "bars": [one.as_dict() for one in bars], **more}, indent=2))
    else:
        print(table)
        print("\n".join(map(str, bars)))
    return 0 if all(one.holds for one in bars) else 1


def write(section: str, text: str) -> None:
    """Put a section's tables of this Python into the page of the docs, in place of those that were there."""
    name = f"{section} python-{sys.version_info[0]}.{sys.version_info[1]}"
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
    before = PAGE.read_text()
    head, _, rest = before.partition(begin)
    _, _, tail = rest.partition(end)
    if not rest:
        sys.exit(f"{PAGE} has no place for {name}: add {begin.strip()} and {end}.")
    PAGE.write_text(f"{head}{begin}{text}\n{end}{tail}")


def options(about: str, rounds: int, quick: int = 1) -> argparse.Namespace:
    """Return what was asked for on the command line; its ``rounds`` are how often each is to be measured."""
    parser = argparse.ArgumentParser(description=about)
    few = "one round" if quick == 1 else f"{quick} rounds"
    parser.add_argument("--quick", action="store_true", help=f"{few}: too few to be told")
    parser.add_argument("--rounds", type=int, default=0, help=f"how often each is measured (default: {rounds})")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")
    parser.add_argument("--write", action="store_true", help="put the tables into the docs")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (quick if chosen.quick else rounds)
    return chosen


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)
