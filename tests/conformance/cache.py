"""Django's own tests of caches, sessions and template fragments, against TieredCache: ``make conformance ONLY=cache``.

Each way to set it up (memory alone, Redis, Sentinel, Cluster), sync and async, runs in a process of its own. Every
method of BaseCacheTests runs, and of what RedisCacheTests adds all but what looks into Django's own private classes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
BACKENDS = {
    "sync": "noa_perf.cache.backend.TieredCache",
    "async": "tests.conformance._async_cache.AsyncTieredCache",
}
SERVERS = {"memory": "", "redis": "redis", "sentinel": "redis_sentinel", "cluster": "redis_cluster"}
ROLES = {"redis": "primary", "redis_sentinel": "sentinel", "redis_cluster": "cluster"}
CULLED = {"cull", "zero_cull"}
"""Aliases that Django leaves out for its own Redis cache: a server has no MAX_ENTRIES."""

PRIVATE = {
    "test_incr_write_connection": "patches django.core.cache.backends.redis.RedisCacheClient",
    "test_cache_client_class": "asks for Django's private attributes _class and _cache",
    "test_get_connection_pool_index": "asks RedisCacheClient, by the private attribute _cache",
    "test_get_connection_pool": "asks RedisCacheClient, by the private attribute _cache",
    "test_get_client": "asks RedisCacheClient, by the private attribute _cache",
    "test_serializer_dumps": "asks RedisCacheClient, by the private attribute _cache",
    "test_client_driver_info": "asks the private attribute _cache for redis-py's client",
    "test_redis_pool_options": "asks RedisCacheClient, by the private attribute _cache; ours: tests/core/test_redis*",
}
"""Of RedisCacheTests: what tests Django's own classes rather than what a cache does."""


def configure(backend: str, location: str) -> None:
    """Set Django up with this cache for everything."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="conformance",
        USE_TZ=False,
        ROOT_URLCONF="urls",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "cache",
            "sessions_tests",
        ],
        DATABASES={
            name: {"ENGINE": "django.db.backends.sqlite3", "NAME": f"file:{name}?mode=memory&cache=shared"}
            for name in ("default", "other")
        },
        CACHES={"default": {"BACKEND": backend, "LOCATION": location}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {}}],
        MIDDLEWARE=[],
    )
    django.setup()


def cases(backend: str, location: str) -> list[type[unittest.TestCase]]:
    """Return Django's cases, with our cache in the place of theirs."""
    theirs = importlib.import_module("cache.tests")
    sessions = importlib.import_module("sessions_tests.tests")
    fragments = importlib.import_module("template_tests.syntax_tests.test_cache")
    from django.test import TestCase, override_settings

    excluded = CULLED if location else set()
    caches = theirs.caches_setting_for_tests(BACKEND=backend, LOCATION=location, exclude=excluded)
    base = type("BaseCacheTests on TieredCache", (theirs.BaseCacheTests, TestCase), {})
    found: list[Any] = [override_settings(CACHES=caches)(base)]
    if location:
        own = {name: None for name in PRIVATE}
        inherited = {name: None for name in dir(theirs.BaseCacheTests) if name.startswith("test")}
        # unittest passes over a test that is None.
        facts = {**inherited, **own, "__unittest_skip__": False}  # Django skips it where it is not itself set up
        more = type("RedisCacheTests on TieredCache", (theirs.RedisCacheTests,), facts)
        found.append(override_settings(CACHES=caches)(more))
    found += [sessions.CacheSessionTests, sessions.CacheDBSessionTests, fragments.CacheTagTests, fragments.CacheTests]
    return found


def run_here(backend: str, location: str, only: str) -> dict[str, Any]:
    """Run the cases in this process; returns what came of them."""
    from tests.conformance import _django

    folder = _django.tests()
    sys.path[:0] = [str(folder)]
    os.chdir(folder)
    configure(backend, location)
    from django.test.runner import DiscoverRunner

    runner = DiscoverRunner(verbosity=0, interactive=False)
    runner.setup_test_environment()
    databases = runner.setup_databases(aliases={"default", "other"})
    told: dict[str, Any] = {}
    try:
        for case in cases(backend, location):
            suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
            chosen = [one for one in suite if isinstance(one, unittest.TestCase) and only in one.id()]
            result = unittest.TextTestRunner(sys.stderr, verbosity=0).run(unittest.TestSuite(chosen))
            wrong = [*result.failures, *result.errors]
            told[case.__name__] = {
                "ran": result.testsRun,
                "passed": result.testsRun - len(wrong) - len(result.skipped),
                "skipped": [f"{one.id().rpartition('.')[2]}: {why}" for one, why in result.skipped],
                "failed": [one.id().rpartition(".")[2] for one, _ in wrong],
            }
    finally:
        runner.teardown_databases(databases)
    return told


def main() -> int:
    """Run all, or what the command line names; print a table, or JSON; return 1 where something failed."""
    parser = argparse.ArgumentParser(prog="make conformance ONLY=cache", description=__doc__)
    parser.add_argument("--server", choices=[*SERVERS], action="append", help="only with this one (may be repeated)")
    parser.add_argument("--methods", choices=[*BACKENDS], action="append", help="only by these (may be repeated)")
    parser.add_argument("--only", default="", help="only tests whose name holds this")
    parser.add_argument("--location", help=argparse.SUPPRESS)
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.backend:
        sys.stdout.write(json.dumps(run_here(chosen.backend, chosen.location, chosen.only)) + "\n")
        return 0
    from tests.conformance import _django
    from tests.servers import registry

    _django.tests()
    failed = False
    for name in chosen.server or SERVERS:
        server = SERVERS[name]
        location = registry.get(registry.SERVERS[server]).urls()[ROLES[server]] if server else ""
        for how in chosen.methods or BACKENDS:
            failed |= not tell(f"{name}, {how}", run_child(BACKENDS[how], location, chosen.only))
    for test, why in PRIVATE.items():
        sys.stdout.write(f"Left out of RedisCacheTests: {test}, for it {why}.\n")
    registry.stop_all()
    return int(failed)


def run_child(backend: str, location: str, only: str) -> dict[str, Any]:
    """Return what came of the cases in a process of their own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.conformance.cache", f"--backend={backend}"]
    done = subprocess.run(
        [*command, f"--location={location}", f"--only={only}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        sys.exit(f"The tests could not be run:\n{done.stderr[-4000:]}")
    told: dict[str, Any] = json.loads(lines[-1])
    if any(one["failed"] for one in told.values()):
        sys.stderr.write(done.stderr)
    return told


def tell(title: str, told: dict[str, Any]) -> bool:
    """Print what came of it; tell whether all is well."""
    for name, one in told.items():
        sys.stdout.write(f"{title:<16} {name:<32} {one['passed']} of {one['ran']} passed\n")
        for line in one["skipped"]:
            sys.stdout.write(f"{'':<16}   skipped by Django: {line}\n")
        for line in one["failed"]:
            sys.stdout.write(f"{'':<16}   FAILED: {line}\n")
    sys.stdout.flush()
    return not any(one["failed"] for one in told.values())


if __name__ == "__main__":
    sys.exit(main())
