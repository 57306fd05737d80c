"""Removes what a run left behind that was killed together with its watchdog: its servers, and their folders."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

OWNER = "owner"
"""The file in a server's folder that says whose it is: a process id, and when that process was started."""
GONE_WITHIN = 10.0
"""Seconds after which what was killed is gone: a guard, not a measure."""


def sign(folder: Path) -> None:
    """Write into ``folder`` that it is this process's."""
    (folder / OWNER).write_text(f"{os.getpid()} {_started(os.getpid())}")


def sweep(place: Path) -> None:
    """Remove the folders of servers in ``place`` whose owner is gone; what nobody has signed is left alone."""
    for folder in place.glob("noa-perf-*"):
        with suppress(OSError):  # somebody else's, or gone by now
            pid, _, started = (folder / OWNER).read_text().partition(" ")
            if _started(int(pid)) != started:
                _end(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _started(pid: int) -> str:
    """Return when a process was started, in the kernel's ticks; nothing where there is none. Ids are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def processes_in(folder: Path) -> Iterator[int]:
    """Yield the processes that work in ``folder``."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "cwd").readlink().is_relative_to(folder):
                yield int(path.name)


def _end(folder: Path) -> None:
    deadline = time.monotonic() + GONE_WITHIN
    while (left := list(processes_in(folder))) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
