"""The servers of this run: each started once, when a test first asks."""

from __future__ import annotations

import atexit
import os
import shutil
from typing import TypeVar

from tests.servers import sweep
from tests.servers.base import Server, Watchdog, scratch
from tests.servers.chromium import Chromium
from tests.servers.mariadb import Mariadb
from tests.servers.node import Node
from tests.servers.pgbouncer import Pgbouncer
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis, RedisCluster, RedisSentinel
from tests.servers.s3 import S3
from tests.servers.varnish import Varnish

SERVERS: dict[str, type[Server]] = {
    cls.name: cls
    for cls in (Chromium, Mariadb, Node, Pgbouncer, Postgres, Redis, RedisCluster, RedisSentinel, S3, Varnish)
}

S = TypeVar("S", bound=Server)

_watchdog: Watchdog | None = None
_running: dict[type[Server], Server] = {}
_owner = 0


def get(cls: type[S]) -> S:
    """Return the running server of this class, started now if it is the first to be asked for."""
    global _watchdog, _owner
    if cls not in _running:
        if _watchdog is None:
            sweep.sweep(scratch())
            _watchdog, _owner = Watchdog(), os.getpid()
            atexit.register(stop_all)
        server = cls(_watchdog)
        server.start()
        _running[cls] = server
    return _running[cls]  # type: ignore[return-value]


def names() -> list[str]:
    """Return the names of all servers."""
    return sorted(SERVERS)


def stop_all() -> None:
    """End every server of this run, in the process that started them, and wait until they are gone."""
    global _watchdog
    if _watchdog is not None and os.getpid() == _owner:
        for server in _running.values():
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)  # even if somebody killed the watchdog
        _running.clear()
        _watchdog.dismiss()
        _watchdog = None
