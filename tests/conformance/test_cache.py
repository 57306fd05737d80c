"""Django's own cache tests pass: here with memory and with a Redis; all else by ``make conformance ONLY=cache``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

LINE = re.compile(r"^\w+, \w+ +(\w+(?: on TieredCache)?) +(\d+) of (\d+) passed", re.MULTILINE)
ROOT = Path(__file__).parent.parent.parent


NO_LIMIT = 3
"""Tests of MAX_ENTRIES, which a server has not: skipped for Django's own Redis cache too."""


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize(("server", "methods", "skipped"), [("memory", "sync", 0), ("redis", "async", NO_LIMIT)])
def test_djangos_own_cache_tests_pass(server, methods, skipped):
    command = [sys.executable, "-W", "ignore", "-m", "tests.conformance.cache"]
    done = subprocess.run(
        [*command, f"--server={server}", f"--methods={methods}"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    passed = {name: (int(some), int(every)) for name, some, every in LINE.findall(done.stdout)}
    some, every = passed.pop("BaseCacheTests on TieredCache")
    assert some == every - skipped >= 51
    assert len(passed) >= 4
    assert all(some == every for some, every in passed.values()), done.stdout
