"""Ends servers whose run has ended: reads names of process groups and folders, and waits for the pipe to close."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress

GRACE = 3.0
"""Seconds between asking a process group to end and killing it."""


def alive(group: int) -> bool:
    """Tell whether the process group has a member; a zombie whose parent never asked is none."""
    with suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def end(groups: list[int]) -> None:
    """End all process groups: first by request, then by force."""
    for number in (signal.SIGQUIT, signal.SIGKILL):
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGCONT)
                os.killpg(group, number)
        deadline = time.monotonic() + GRACE
        while any(alive(group) for group in groups) and time.monotonic() < deadline:
            time.sleep(0.02)


def main() -> None:
    """Read until the pipe closes, then end and remove."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever stops the run stops us by closing the pipe
    groups: list[int] = []
    folders: list[str] = []
    for line in sys.stdin:
        word, _, value = line.strip().partition(" ")
        if word == "group":
            groups.append(int(value))
        elif word == "folder":
            folders.append(value)
    end(groups)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
