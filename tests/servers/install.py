"""Installs the servers' packages by apt, as root, and starts no system service; otherwise names what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import registry

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this program whether a freshly installed service may start; 101 says no."""


def missing() -> list[str]:
    """Return the packages that the servers need and that are not installed."""
    return sorted(set().union(*(cls.missing() for cls in registry.SERVERS.values())))


def install() -> int:
    """Install what is missing; return 0, or 2 where a person has to do it."""
    packages = missing()
    if not packages:
        return 0
    if os.geteuid() != 0:
        sys.stderr.write(
            f"The tests need servers that are not installed. As root: apt-get install {' '.join(packages)}\n"
        )
        return 2
    sys.stderr.write(f"Installing for the tests: {' '.join(packages)} ...\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_service_starts():
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    left = missing()
    if left:
        sys.stderr.write(f"Still missing after the installation: {' '.join(left)}\n")
    return 2 if left else 0


@contextmanager
def _no_service_starts() -> Iterator[None]:
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


if __name__ == "__main__":
    sys.exit(install())
