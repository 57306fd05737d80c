"""Django's own tests, from the source distribution of the version that is installed: fetched, never committed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

from tests.servers.fetching import locked

PLACE = Path(__file__).parent.parent.parent / ".conformance"


def tests() -> Path:
    """Return the folder of the tests of Django as it is installed here, fetched by pip when first asked for."""
    version = django.get_version()
    kept = PLACE / f"django-{version}"
    with locked(PLACE):
        if not (kept / "tests" / "runtests.py").exists():
            with tempfile.TemporaryDirectory(dir=PLACE) as folder:
                _fetch(version, Path(folder))
                shutil.rmtree(kept, ignore_errors=True)
                (next(Path(folder).glob("[Dd]jango-*/"))).rename(kept)
    return kept / "tests"


def _fetch(version: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps", "-d", str(folder)]
    done = subprocess.run([*command, f"Django=={version}"], capture_output=True, text=True, check=False)
    archives = [*folder.glob("*.tar.gz")]
    if done.returncode or not archives:
        sys.exit(f"The source of Django {version} could not be fetched by pip:\n{done.stderr[-2000:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
