"""Starts processes of the small site, waits for what they do, and leaves none behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GUARD = 60.0
"""Seconds after which something that should happen has failed: a guard, not a measure."""

BEGIN = "import django; django.setup()\n"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process of the small site, whose database lies in ``folder``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NOA_PERF", "DJANGO_", "PROM"))}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.metrics.small.settings",
        "SMALL_DATABASE": str(folder / "small.sqlite3"),
        **more,
    }


def start(code: str, folder: Path, **more: str) -> subprocess.Popen[str]:
    """Run ``code`` in a process of the small site, Django being set up."""
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + code],
        cwd=ROOT,
        env=environment(folder, **more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(code: str, folder: Path, **more: str) -> str:
    """Run ``code`` to its end and return what it printed."""
    process = start(code, folder, **more)
    printed, _ = process.communicate(timeout=GUARD)
    assert process.returncode == 0, printed
    return printed


def migrate(folder: Path) -> None:
    """Make the small site's tables."""
    run("from django.core.management import call_command; call_command('migrate', verbosity=0)", folder)


def until(true: Callable[[], Any], what: str) -> Any:
    """Return what ``true`` returns once it is truthy; fails after :data:`GUARD` seconds."""
    end = time.monotonic() + GUARD
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {GUARD:.0f} seconds: {what}")
