"""Django's own tests of databases and transactions, on the pooled engines: ``make conformance ONLY=pool``.

Each engine runs in a process of its own on a private server, with both of its aliases pooled. Django's own engine runs
the same on the same server beside it: what fails there too is told as Django's, and only what fails here alone counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance import _django
from tests.servers import registry
from tests.servers.base import MissingServer, Server
from tests.servers.mariadb import MariadbAlone
from tests.servers.postgres import PostgresAlone

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 1_200
"""Seconds after which a suite hangs."""

COMMON = ("multiple_database", "backends", "transactions", "transaction_hooks", "db_utils", "select_for_update")
LABELS = {
    "postgresql": (*COMMON, "test_utils", "handlers", "async", "servers"),
    "mysql": COMMON,
}
SERVERS: dict[str, type[Server]] = {"postgresql": PostgresAlone, "mysql": MariadbAlone}
USERS = {"postgresql": "postgres", "mysql": "root"}
"""Who may create databases."""

_NATIVE = "sets up Django's own pool, which this engine refuses beside its own"
_PERSISTENT = "wants CONN_MAX_AGE to hold a connection between requests: a pooled one is given back at the end of each"
LEFT_OUT = {
    "Tests.test_connect_pool": _NATIVE,
    "Tests.test_connect_pool_set_to_true": _NATIVE,
    "Tests.test_connect_pool_with_timezone": _NATIVE,
    "Tests.test_pool_check_can_be_overridden": _NATIVE,
    "Tests.test_pool_options_not_mutated": _NATIVE,
    "Tests.test_pooling_health_checks": _NATIVE,
    "ConnectionHealthChecksTests.test_health_checks_disabled": _PERSISTENT,
    "ConnectionHealthChecksTests.test_health_checks_enabled": _PERSISTENT,
    "ConnectionHealthChecksTests.test_health_checks_enabled_errors_occurred": _PERSISTENT,
    "ConnectionHealthChecksTests.test_set_autocommit_health_checks_enabled": _PERSISTENT,
}
"""What tests Django's own ways to keep connections, each with why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    ran: int
    wrong: frozenset[str]
    skipped: dict[str, str]
    left_out: list[str]
    said: str


def databases(vendor: str, engine: str) -> dict[str, dict[str, Any]]:
    """Return both aliases."""
    server: Any = registry.get(SERVERS[vendor])
    where = {**server.settings("primary"), "USER": USERS[vendor], "ENGINE": engine}
    return {alias: {**where, "NAME": f"conformance_{alias}"} for alias in ("default", "other")}


def run(vendor: str, engine: str, labels: list[str]) -> Outcome:
    """Return what came of the tests on ``engine``, in a process of their own."""
    folder = _django.tests()
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        told = {"databases": databases(vendor, engine), "without": [*LEFT_OUT], "answer": answer.name}
        options = ["--settings=tests.conformance._pool_settings", "--noinput", "--parallel=1", "--verbosity=0"]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "runtests.py", *options, *labels],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NOA_PERF_CONFORMANCE": json.dumps(told)},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        written = Path(answer.name).read_text()
    if not written:
        sys.exit(f"The tests could not be run on {engine}:\n{done.stderr[-8000:]}")
    found = json.loads(written)
    return Outcome(found["ran"], frozenset(found["wrong"]), found["skipped"], found["left_out"], done.stderr)


def tell(vendor: str, ours: Outcome, theirs: Outcome) -> bool:
    """Print what came of it; tell whether all is well."""
    passed = ours.ran - len(ours.wrong) - len(ours.skipped)
    skipped = f"{len(ours.skipped)} skipped by Django"
    lines = [f"{vendor}: {passed} of {ours.ran} passed, {skipped}, {len(ours.left_out)} left out"]
    lines += [f"  left out: {name}, for it {LEFT_OUT[name]}" for name in ours.left_out]
    lines += [f"  fails with Django's own engine too: {name}" for name in sorted(ours.wrong & theirs.wrong)]
    lines += [f"  passes here, fails with Django's own engine: {name}" for name in sorted(theirs.wrong - ours.wrong)]
    failed = sorted(ours.wrong - theirs.wrong)
    lines += [f"  FAILED: {name}" for name in failed]
    alone = sorted(ours.skipped.keys() - theirs.skipped.keys())
    lines += [f"  SKIPPED here alone: {name}: {ours.skipped[name]}" for name in alone]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    if failed:
        sys.stderr.write(ours.said)
    return not failed and not alone and ours.ran == theirs.ran


def main() -> int:
    """Run all, or what the command line names; return 1 where something fails with our engine alone."""
    parser = argparse.ArgumentParser(prog="make conformance ONLY=pool", description=__doc__)
    parser.add_argument("--engine", choices=[*LABELS], action="append", help="only this one (may be repeated)")
    parser.add_argument("labels", nargs="*", help="only these tests, as Django's runtests.py names them")
    chosen = parser.parse_args()
    well = True
    try:
        for vendor in chosen.engine or LABELS:
            labels = chosen.labels or [*LABELS[vendor]]
            ours = run(vendor, f"noa_perf.pool.backends.{vendor}", labels)
            well &= tell(vendor, ours, run(vendor, f"django.db.backends.{vendor}", labels))
    except MissingServer as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finally:
        registry.stop_all()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
