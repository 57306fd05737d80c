"""Many visitors at once, on PostgreSQL: a connection for each request, and the pool's."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from statistics import quantiles
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from noa_perf.core.commands import table

from .children import Child, DemoError

if TYPE_CHECKING:  # it needs psycopg
    from tests.servers.postgres import PostgresAlone

VISITORS = 64
"""As many as the server has threads."""
REQUESTS = 1_920
"""Unless told otherwise."""
LABELS = {"fresh": "a connection for each request", "kept": "one for each thread", "pooled": "a pool of ten"}
"""Ways to connect, as the shop's settings call them."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """What came of it, by the way to connect."""

    figures: dict[str, dict[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """Return all figures, for a program."""
        return {"visitors": VISITORS, **self.figures}

    def as_table(self) -> str:
        """Return the figures for a person."""
        title = f"{VISITORS} visitors, each asking as soon as it was answered, on PostgreSQL:"
        forms = (
            ("requests per second, all there is", "requests_per_second", ",.1f"),
            ("p50, ms", "p50_ms", ",.0f"),
            ("p95, ms", "p95_ms", ",.0f"),
            ("connections of the server, at most", "connections", ",.0f"),
        )
        rows = [(label, *(format(one[key], form) for one in self.figures.values())) for label, key, form in forms]
        return f"{title}\n\n{table(('', *(LABELS[name] for name in self.figures)), rows, '<>>>')}"


def pooling(scale: float, seed: int, requests: int | None = None) -> Pooling:
    """Start PostgreSQL, fill it, and let the visitors in, once for each way to connect."""
    try:
        from tests.servers import registry
        from tests.servers.base import MissingServer
        from tests.servers.postgres import PostgresAlone
    except ImportError as error:
        raise DemoError(f"--postgres needs {error.name}. Install the group dev.") from None
    try:
        server = registry.get(PostgresAlone)
        address = _filled(server, scale, seed)
        visitors = _visitors(requests or REQUESTS)
        return Pooling({way: _measured(server, address, way, visitors) for way in LABELS})
    except MissingServer as error:
        raise DemoError(str(error)) from None
    finally:
        registry.stop_all()


def _filled(server: PostgresAlone, scale: float, seed: int) -> str:
    import django

    server.query("primary", "CREATE DATABASE shop")
    address = server.urls()["primary"].rpartition("/")[0] + "/shop"
    os.environ |= {"SHOP_DATABASE": address, "SHOP_TWIN": "mended", "SHOP_DEBUG": "0", "SHOP_CONNECTIONS": "kept"}
    os.environ["DJANGO_SETTINGS_MODULE"] = "testproject.settings"
    django.setup()
    from django.core.management import call_command

    from testproject.shop.indexes import create_indexes

    call_command("migrate", verbosity=0)
    call_command("shop_seed", scale=scale, seed=seed)
    create_indexes()
    return address


def _visitors(requests: int) -> list[list[str]]:
    """Return the paths that each visitor asks for: the recorded mix, but for the staff's and the carts'."""
    from .seeding import settle
    from .workload import record

    mix = record(requests, VISITORS)
    settle()
    return [[one["path"] for one in own if not one["staff"] and "cart" not in one["name"]] for own in mix.measured]


def _measured(server: PostgresAlone, address: str, way: str, visitors: list[list[str]]) -> dict[str, float]:
    with Child("testproject.demo.server", address, "", "mended", way) as shop:
        port = shop.hear()["port"]
        _crowd(port, [paths[:2] for paths in visitors])
        with _Watch(server) as watch:
            told = _crowd(port, visitors)
    failed = {status: many for status, many in told["statuses"].items() if status != "200"}
    if failed:
        raise DemoError(f"visitors got {failed} instead of 200.")
    cuts = quantiles(told["ms"], n=100, method="inclusive")
    return {
        "requests_per_second": round(len(told["ms"]) / told["seconds"], 1),
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "connections": watch.most,
    }


def _crowd(port: int, visitors: list[list[str]]) -> dict[str, Any]:
    with Child("testproject.demo.crowd", port) as crowd:
        return crowd.ask(json.dumps({"visitors": visitors, "interval": 0, "times": 0, "wanted": ""}))


class _Watch:
    """Counts the shop's connections, as the server has them, for as long as the ``with`` block lasts."""

    SQL = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'"

    def __init__(self, server: PostgresAlone) -> None:
        self.most = 0
        self._server = server
        self._over = Event()
        self._thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        import psycopg

        with psycopg.connect(self._server.urls()["primary"], autocommit=True) as connection:
            while not self._over.wait(0.1):
                row = connection.execute(self.SQL).fetchone()
                self.most = max(self.most, row[0] if row else 0)
