"""Django's own tests of backends and transactions pass on the pooled engines; all else by ``make conformance``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

LINE = re.compile(r"^(\w+): (\d+) of (\d+) passed, (\d+) skipped by Django, (\d+) left out", re.MULTILINE)
ROOT = Path(__file__).parent.parent.parent
LABELS = ["backends", "transactions", "select_for_update"]


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize(("engine", "least"), [("postgresql", 300), ("mysql", 180)])
def test_djangos_own_tests_pass(engine, least):
    command = [sys.executable, "-W", "ignore", "-m", "tests.conformance.pool", f"--engine={engine}", *LABELS]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    ((name, passed, ran, skipped, _),) = LINE.findall(done.stdout)
    assert name == engine
    assert int(passed) + int(skipped) == int(ran)
    assert int(passed) >= least
