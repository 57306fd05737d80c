"""Measures one subject in a process of its own, named with what to measure on the command line; prints JSON."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings

from benchmarks import _optimizer_site as site
from benchmarks._optimizer_subjects import RAISING, SUBJECTS, Subject

BOOKS = 200
REQUESTS = 12


def prepare(subject: Subject, extra: dict[str, Any]) -> None:
    """Set the site up with the subject in it, and fill its database in memory."""
    chosen = {**site.SETTINGS, **subject.settings, **extra}
    chosen["INSTALLED_APPS"] = [*chosen["INSTALLED_APPS"], *subject.apps]
    chosen["MIDDLEWARE"] = [*subject.middleware, *chosen["MIDDLEWARE"]]
    settings.configure(**chosen)
    django.setup()
    if subject.urls is not None:
        from django.urls import include, path

        prefix, module = subject.urls
        site.urlpatterns.append(path(prefix, include(module)))
    from django.core.management import call_command

    call_command("migrate", verbosity=0, run_syncdb=True)
    from tests.library.fill import fill

    fill(BOOKS)


def speed() -> dict[str, float]:
    """Return microseconds of processor time for each query of each shape: the lower quartile of the requests."""
    from django.test import Client

    client = Client()
    gc.disable()
    found = {}
    for shape, queries in (("loop", BOOKS + 1), ("deep", BOOKS + 1), ("template", BOOKS + 1), ("raw", site.RAW)):
        times = sorted(timed(lambda shape=shape: client.get(f"/{shape}/")) for _ in range(REQUESTS + 2))
        found[shape] = times[len(times) // 4] / queries * 1e6
    return found


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds of processor time that a call takes in this thread."""
    gc.collect()
    before = time.thread_time()
    call()
    return time.thread_time() - before


def scenarios(subject: Subject) -> dict[str, list[str]]:
    """Return the names of the scenarios that were reported, missed, wrongly reported and rightly passed over."""
    from django.db import transaction
    from django.test import Client

    from tests.optimizer.test_n_plus_one_found import CASES
    from tests.optimizer.test_n_plus_one_silent import SILENT

    client = Client(raise_request_exception=True)
    told: dict[str, list[str]] = {"found": [], "missed": [], "false": [], "silent": [], "broken": []}
    loops = [case[0] if isinstance(case, tuple) else case.values[0] for case in CASES]
    for block, wanted in [*((each, True) for each in loops), *((each, False) for each in SILENT)]:
        site.scenario = block
        assert subject.detects is not None
        try:
            with transaction.atomic():
                try:
                    reported = subject.detects(lambda: client.get("/scenario/"))
                finally:
                    transaction.set_rollback(True)
        except Exception as error:  # noqa: BLE001  (a peer may fail in any way; that is told)
            told["broken"].append(f"{block.__name__} ({type(error).__name__})")
            continue
        told[("found" if reported else "missed") if wanted else ("false" if reported else "silent")].append(
            block.__name__
        )
    return told


def main() -> None:
    """Measure what the command line names."""
    name, kind = sys.argv[1:3]
    subject = next(one for one in SUBJECTS if one.name == name)
    prepare(subject, RAISING.get(name, {}) if kind == "scenarios" else {})
    print(json.dumps(speed() if kind == "speed" else scenarios(subject)))


if __name__ == "__main__":
    main()
