"""The demo's private folder: the seeded database, kept from run to run, and each run's own files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import django

from .children import ROOT

SHOP = Path(__file__).resolve().parent.parent / "shop"


@contextmanager
def run_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for this run alone; remove it afterwards, and those that killed runs left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("run-*"):
        if not _alive(int(left.name.removeprefix("run-"))):
            shutil.rmtree(left, ignore_errors=True)
    own = folder / f"run-{os.getpid()}"
    own.mkdir()
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def prepare(folder: Path, run: Path, scale: float, seed: int) -> Path:
    """Return this run's copy of the seeded database; seed it anew only if data or schema would differ.

    Sets Django up on that copy.
    """
    kept, own = folder / f"seed-{_stamp(scale, seed)}.sqlite3", run / "seeded.sqlite3"
    if kept.exists():
        shutil.copyfile(kept, own)
    os.environ |= {"SHOP_DATABASE": str(own), "SHOP_TWIN": "as_is", "SHOP_DEBUG": "0"}
    os.environ["DJANGO_SETTINGS_MODULE"] = "testproject.settings"  # whatever else the caller works on
    django.setup()
    if not kept.exists():
        _seed(own, scale, seed)
        _keep(own, kept)
    return own


def settle() -> None:
    """Close the database, so that its file is complete and can be copied."""
    from django.db import connections

    connections.close_all()


def _seed(path: Path, scale: float, seed: int) -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("shop_seed", scale=scale, seed=seed)
    settle()


def _keep(own: Path, kept: Path) -> None:
    """Keep a copy for the next run, whole or not at all; what older code seeded is of no more use."""
    ready = own.with_name("ready.sqlite3")
    shutil.copyfile(own, ready)
    for old in kept.parent.glob("seed-*.sqlite3"):
        old.unlink(missing_ok=True)
    ready.replace(kept)


def _stamp(scale: float, seed: int) -> str:
    """Return a name for the data: its scale and seed, and the code that decides the rest."""
    sources = ["seed.py", "catalogue.py", "models.py"]
    sources += sorted(map(str, [*SHOP.glob("migrations/*.py"), *ROOT.glob("noa_perf/*/migrations/*.py")]))
    digest = blake2b(f"{scale} {seed} {django.VERSION}".encode(), digest_size=8)
    for source in sources:
        digest.update((SHOP / source).read_bytes())
    return digest.hexdigest()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
