"""Django's own cache tests pass: here with memory and with a Redis; all else by ``make conformance ONLY=cache``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize(("server", "methods", "passed"), [("memory", "sync", 54), ("redis", "async", 51)])
def test_djangos_own_cache_tests_pass(server, methods, passed):
    command = [sys.executable, "-W", "ignore", "-m", "tests.conformance.cache"]
    done = subprocess.run(
        [*command, f"--server={server}", f"--methods={methods}"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert f"{passed} of 54 passed" in done.stdout
    assert len(re.findall(r"Tests? .*?(\d+) of \1 passed|Cache\w+ +(\d+) of \2 passed", done.stdout)) >= 4
