"""One seeded third-party site, run in processes of its own, and what its tests say of its pages and findings."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

HEALTHY, FINDINGS = 0, 1
DOCS = Path(__file__).resolve().parents[3] / "docs" / "explanation"

Pages = dict[str, dict[str, Any]]
Report = dict[str, Any]


class Site:
    """A site whose commands run with noa_perf installed or without; ``staff`` is its user with all rights."""

    def __init__(self, name: str, here: Path, package: Path, data: Path, unsettled: tuple[str, ...] = ()) -> None:
        """Run the site in ``here``, which is made with ``package``, on ``data``; ``name`` leads its variables.

        ``unsettled`` are patterns of what differs between any two visits, besides tokens and times.
        """
        self.name = name
        self.here = here
        self.package = package
        self.data = data
        self.unsettled = unsettled
        (data / "media").mkdir()

    def run(self, *command: str, noa_perf: bool, expect: tuple[int, ...] = (0,)) -> str:
        """Run a management command in a process of its own; return what it printed."""
        prefix = self.name.upper()
        kept = os.environ | {f"{prefix}_DATA": str(self.data), f"{prefix}_NOA_PERF": str(int(noa_perf))}
        kept["PYTHONHASHSEED"] = "0"  # sets are printed in one order
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            check=False,
            cwd=self.here,
            env=kept,
            capture_output=True,
            text=True,
        )
        assert done.returncode in expect, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def keep(self) -> None:
        """Take this state of the database and of the files as the seeded one."""
        shutil.copy(self.data / f"{self.name}.sqlite3", self.data / "seeded.sqlite3")
        shutil.copytree(self.data / "media", self.data / "seeded")

    def restore(self) -> None:
        """Go back to the seeded state."""
        shutil.copy(self.data / "seeded.sqlite3", self.data / f"{self.name}.sqlite3")
        shutil.rmtree(self.data / "media")
        shutil.copytree(self.data / "seeded", self.data / "media")

    def visit(self, kind: str, urls: list[str], *, noa_perf: bool) -> Pages:
        """Fetch pages as one kind of user, visitor or staff; a visit leaves its traces."""
        found: Pages = json.loads(self.run("dump_pages", *_as(kind), *urls, noa_perf=noa_perf))
        return found

    def report(self, kind: str, *options: str) -> Report:
        """Return perf_report's JSON, from the seeded state again, with the ``changed`` tables: there may be none."""
        self.restore()
        before = self.tables()
        command = ("perf_report", *options, *_as(kind), "--format", "json")
        found: Report = json.loads(self.run(*command, noa_perf=True, expect=(HEALTHY, FINDINGS)))
        after = self.tables()
        return {**found, "changed": [name for name in before | after if before.get(name) != after.get(name)]}

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the rows of every table."""
        with closing(sqlite3.connect(self.data / f"{self.name}.sqlite3")) as database:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return {name: database.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in names}

    def source(self, place: dict[str, Any]) -> Path:
        """Return the file that a place names: below the site, or below the folder that packages lie in."""
        here = self.here / place["file"]
        return here if here.exists() else self.package.parent / place["file"]

    def line(self, place: dict[str, Any]) -> str:
        """Return the text that stands at a place."""
        return self.source(place).read_text().splitlines()[place["line"] - 1]


def _as(kind: str) -> tuple[str, ...]:
    return ("--as", "staff") if kind == "staff" else ()


TOKENS = r'(csrfmiddlewaretoken\\?"? value=|csrf_?token["\']?: *)\\?["\'][^"\']+["\']'
TIMES = r"\d?\d:\d\d(:\d\d(\.\d+)?)?|\d+(\s|&nbsp;|\\u00a0)(second|minute|hour)s?( ago)?\b|\bjust now\b"


def settled(body: str, *patterns: str) -> str:
    """Return a body without CSRF tokens, times of day or spans of time, and what matches ``patterns``."""
    for pattern in (TOKENS, TIMES, *patterns):
        body = re.sub(pattern, "", body, flags=re.IGNORECASE)
    return body


def assert_same_with_and_without(site: Site, kind: str, urls: list[str]) -> Pages:
    """Fetch the pages with noa_perf and without, each time from the seeded state; return them."""
    site.restore()
    without = site.visit(kind, urls, noa_perf=False)
    site.restore()
    with_it = site.visit(kind, urls, noa_perf=True)
    assert with_it.keys() == without.keys()
    for url, page in without.items():
        assert with_it[url]["status"] == page["status"], url
        bodies = [settled(each["body"], *site.unsettled) for each in (page, with_it[url])]
        assert bodies[0] == bodies[1], url
    return with_it


def places(findings: list[dict[str, Any]], *roles: str) -> list[dict[str, Any]]:
    """Return the places of these roles (``where``, ``template``, ``change``) that findings name."""
    return [each[role] for each in findings for role in roles if each[role]]


def assert_lines_exist(site: Site, findings: list[dict[str, Any]]) -> None:
    """Each finding says where it was seen, and each line it names is there."""
    for place in places(findings, "where", "template", "change"):
        assert 1 <= place["line"] <= len(site.source(place).read_text().splitlines()), place


def steady(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the findings without those that a busy machine makes: a query that happens to take long."""
    return [each for each in findings if each["kind"] != "slow_query"]


def rows_of(page: str) -> list[str]:
    """Return the rows of the tables of a page of the documentation."""
    return [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]


def assert_has_its_row(rows: list[str], *names: str) -> None:
    """One row has all of these names as code."""
    assert any(all(f"`{name}`" in row for name in names) for row in rows), names
