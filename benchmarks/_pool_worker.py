"""Measures one way to keep connections in a process of its own: ``VENDOR SUBJECT KIND SECONDS URLS``; prints JSON.

``KIND`` is a number of threads, ``killed`` (200 threads, whose backends are all killed on the way), or ``alone``.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import Any

from benchmarks._pool_subjects import MOST, Settings, named

CROWD = 200
SERVED_WITHIN = 60.0
"""Seconds after which who was not served never will be."""
TURNS = 60
CALLS = 400
FRAMES = 40
"""How deep in a site a connection is taken."""


def configure(settings: Settings) -> Any:
    """Set Django up with this database; return its handler of connections."""
    import django
    from django.conf import settings as conf

    conf.configure(SECRET_KEY="benchmark", INSTALLED_APPS=[], DATABASES={"default": settings}, USE_TZ=True)
    django.setup()
    from django.db import connections

    return connections


class Client(threading.Thread):
    """One who asks, again and again."""

    def __init__(self, connections: Any, start: threading.Barrier, end: threading.Event) -> None:
        """Wait for the others."""
        super().__init__(daemon=True)
        self._connections, self._at, self._end = connections, start, end
        self.cycles: list[tuple[float, float]] = []
        """When each began and ended."""
        self.errors: list[str] = []

    def run(self) -> None:
        """Do what requests do: ask, and give back."""
        connection = self._connections["default"]
        now = time.perf_counter
        self._at.wait()
        while not self._end.is_set():
            began = now()
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                    cursor.fetchone()
            except Exception as error:  # noqa: BLE001  (counted, and told)
                self.errors.append(f"{type(error).__name__}: {error}".splitlines()[0])
                connection.close()
            connection.close_if_unusable_or_obsolete()
            self.cycles.append((began, now()))
        connection.close()


def crowd(connections: Any, many: int) -> tuple[list[Client], threading.Event]:
    """Return so many clients that have just begun, and what ends them."""
    start, end = threading.Barrier(many + 1), threading.Event()
    threading.stack_size(256 * 1024)
    clients = [Client(connections, start, end) for _ in range(many)]
    for client in clients:
        client.start()
    start.wait()
    return clients, end


def join(clients: list[Client]) -> None:
    """Wait for the last."""
    deadline = time.monotonic() + SERVED_WITHIN
    for client in clients:
        client.join(max(0.0, deadline - time.monotonic()))


def threads(connections: Any, many: int, seconds: float) -> dict[str, float]:
    """Return cycles a second, and milliseconds that they took; those that ended while all came at once do not count."""
    gc.disable()
    clients, end = crowd(connections, many)
    time.sleep(seconds / 2)
    counted_from = time.perf_counter()
    time.sleep(seconds)
    until = time.perf_counter()
    end.set()
    join(clients)
    # One that began earlier, and still waits, is what it is about.
    cycles = [one for client in clients for one in client.cycles if one[0] < until and one[1] > counted_from]
    took = sorted((ended - began) * 1e3 for began, ended in cycles) or [float("inf")]
    errors = [error for client in clients for error in client.errors]
    if errors:
        print(errors[0], file=sys.stderr)
    return {
        "rate": sum(1 for _, ended in cycles if ended < until) / (until - counted_from),
        "p50": median(took),
        "p99": took[int(len(took) * 0.99)],
        "max": took[-1],
        "errors": len(errors),
        "cycles": len(cycles),
    }


def killed(connections: Any, seconds: float, kill: Callable[[], int]) -> dict[str, float]:
    """Return milliseconds from when all backends were killed until each client was served again, and who failed."""
    clients, end = crowd(connections, CROWD)
    time.sleep(seconds)
    began = time.perf_counter()
    many = kill()
    done = time.perf_counter()
    deadline = done + SERVED_WITHIN
    while not all(client.cycles and client.cycles[-1][0] > done for client in clients):
        if time.perf_counter() > deadline:
            break
        time.sleep(0.001)
    end.set()
    join(clients)
    served = [next((ended for start, ended in one.cycles if start > done), deadline) for one in clients]
    errors = sum(len(client.errors) for client in clients)
    return {"killed": many, "killing": (done - began) * 1e3, "again": (max(served) - done) * 1e3, "errors": errors}


def killer(vendor: str, settings: Settings) -> Callable[[], int]:
    """Return what kills all backends of the site's, on a connection of its own that is open already."""
    if vendor == "postgresql":
        import psycopg

        conninfo = {"host": settings["HOST"], "port": settings["PORT"], "user": settings["USER"]}
        postgres = psycopg.connect(dbname="postgres", autocommit=True, **conninfo)
        sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
        return lambda: int(postgres.execute(sql, [settings["NAME"]]).fetchone()[0])  # type: ignore[index]
    import MySQLdb

    mysql = MySQLdb.connect(host=settings["HOST"], port=int(settings["PORT"]), user="root")

    def kill() -> int:
        cursor = mysql.cursor()
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [settings["NAME"]])
        pids = [pid for (pid,) in cursor.fetchall()]
        for pid in pids:
            with suppress(MySQLdb.OperationalError):  # it has gone by itself
                cursor.execute(f"KILL {pid}")
        return len(pids)

    return kill


def alone(connections: Any, conninfo: str) -> dict[str, float]:
    """Return microseconds of taking and giving back, ours beside psycopg_pool's, turn by turn, and of its parts."""
    from psycopg_pool import ConnectionPool

    from noa_perf.pool.core import Pool
    from noa_perf.pool.options import PoolOptions

    connections["default"].ensure_connection()
    driver = connections["default"].noa_pool.driver
    holder = weakref.ref(connections["default"])
    told, silent = (Pool("alone", driver, PoolOptions(max_size=MOST, leak_threshold=after)) for after in (60, 0))
    theirs = ConnectionPool(conninfo, min_size=1, max_size=MOST, kwargs={"autocommit": True})
    theirs.wait()
    last = {pool: pool.acquire(holder) for pool in (told, silent)}
    for pool, entry in last.items():
        pool.release(entry)

    def ours(pool: Any) -> Callable[[], None]:
        entry = last[pool]
        return lambda: pool.release(pool.acquire(holder, entry))

    connection = last[told].connection
    found = deep(
        FRAMES,
        lambda: best(
            {
                "ours": ours(told),
                "untold": ours(silent),
                "theirs": lambda: theirs.putconn(theirs.getconn()),
                "alive": lambda: driver.alive(connection),
                "nothing": lambda: None,
            }
        ),
    )
    theirs.close()
    for pool in last:
        pool.close()
    return found


def deep(frames: int, call: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Call something under so many frames."""
    return call() if frames <= 0 else deep(frames - 1, call)


def best(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return microseconds of each call, the best of many short turns: what disturbs only ever adds."""
    found = dict.fromkeys(calls, float("inf"))
    gc.disable()
    for _ in range(TURNS):
        for name, call in calls.items():
            before = time.perf_counter()
            for _ in range(CALLS):
                call()
            found[name] = min(found[name], (time.perf_counter() - before) / CALLS * 1e6)
    return found


def main() -> None:
    """Measure what the command line names."""
    vendor, name, kind, seconds, where = sys.argv[1:6]
    subject = named(vendor, name)
    settings = json.loads(where)
    connections = configure(subject.set_up(settings))
    if kind == "alone":
        conninfo = "host={HOST} port={PORT} user={USER} dbname={NAME}".format(**settings)
        found = alone(connections, conninfo)
    elif kind == "killed":
        found = killed(connections, float(seconds), killer(vendor, settings))
    else:
        found = threads(connections, int(kind), float(seconds))
    print(json.dumps(found), flush=True)
    close = getattr(connections["default"], "close_pool", None)
    if close is not None:
        close()


if __name__ == "__main__":
    main()
