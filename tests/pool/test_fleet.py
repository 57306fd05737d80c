"""Two processes of one site, on a pooled database that holds their figures too: they add up, and obey alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pool.engines import GUARD, Engine, until

pytestmark = pytest.mark.server

SITE = """
import json, os, sys, time
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="fleet", USE_TZ=True, DATABASES=json.loads(os.environ["POOL_DATABASES"]),
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "noa_perf.metrics", "noa_perf.pool"],
    NOA_PERF={"METRICS": {"FLUSH_SECONDS": 0.1}},
)
django.setup()
from django.core.management import call_command
from django.db import connection
from noa_perf.pool import registry

def ask():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()

for line in sys.stdin:
    what, *rest = line.split()
    if what == "migrate":
        call_command("migrate", verbosity=0)
        connection.close()
        told = None
    elif what == "ask":
        told = ask()
    elif what == "limit":
        told = [keeper.pool.limit for keeper in registry.keepers()]
    elif what == "drained":
        told = sum(keeper.pool.figures.recycled["drained"] for keeper in registry.keepers())
    elif what == "order":
        from noa_perf.pool.models import PoolOrder
        PoolOrder.objects.create(alias="default", action=rest[0], value=int(rest[1]) if rest[1:] else None)
        told = connection.close()
    elif what == "fleet":
        from noa_perf.pool import fleet
        now = time.time()
        told = [fleet.processes(now - 300, now + 10), fleet.pools(now - 300, now + 10)]
        connection.close()
    print(json.dumps(told), flush=True)
"""


class Process:
    """One of them; it does what it is told by a line."""

    def __init__(self, one: Engine, **more: str) -> None:
        settings = {name: value for name, value in one.settings.items() if name != "TEST"}
        environment = {**os.environ, "POOL_DATABASES": json.dumps({"default": settings}), **more}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        self._process = subprocess.Popen(
            [sys.executable, "-c", SITE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def tell(self, line: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(GUARD) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def processes(engine: Callable[..., Engine]) -> Iterator[tuple[Process, Process]]:
    one = engine(max_size=4, min_size=0)
    before = Process(one, NOA_PERF_DISABLE="metrics")  # it would count as a third, and finds no tables yet
    before.tell("migrate")
    before.end()
    both = Process(one), Process(one)
    yield both
    for process in both:
        process.end()
    until(lambda: not one.backends(), "a process that ended left connections")


def test_processes_add_up_and_obey(processes: tuple[Process, Process]) -> None:
    first, second = processes
    for process in processes:
        process.tell("ask")
    until(lambda: first.tell("fleet")[0] == 2, "one of them does not tell")
    (pool,) = first.tell("fleet")[1]
    assert pool["pool"] == "default"
    assert pool["uses"] >= 2

    first.tell("order resize 2")
    until(lambda: [one.tell("limit") for one in processes] == [[2], [2]], "a process does not obey")
    second.tell("order drain")
    until(lambda: all(one.tell("drained") for one in processes), "a process does not drain")
