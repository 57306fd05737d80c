"""Redis: one server, a Cluster of three, and a primary with a replica and the Sentinels that watch them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import redis as driver

from tests.servers import base
from tests.servers.base import ANSWERS_WITHIN, Server, Watchdog

CONFIGURATION = (
    ("--bind", "127.0.0.1"),
    ("--save", ""),
    ("--appendonly", "no"),
    ("--databases", "16"),
    ("--enable-debug-command", "local"),
    ("--repl-diskless-sync-delay", "0"),
    ("--repl-ping-replica-period", "1"),
)
"""Nothing is kept: a server that is started again is empty."""
SLOTS = 16384
SERVICE = "noa"
"""What the Sentinels call the primary that they watch."""
DOWN_AFTER = {"sentinel1": 500, "sentinel2": 1500, "sentinel3": 1600}
"""Milliseconds of silence after which each Sentinel takes the primary for dead.

Were they all as quick, each would vote for itself now and then, and the next election is six seconds later.
"""
SENTINEL_TIMES = {
    "INFO-PERIOD": 500,
    # A replica that has not told of itself for five of these is not fit to lead, and they are asked once a second.
    "PING-PERIOD": 300,
    "ASK-PERIOD": 100,
    # Four of these pass before a Sentinel that has not heard of a failover turns the new primary back.
    "PUBLISH-PERIOD": 500,
    "ELECTION-TIMEOUT": 1000,
    "SLAVE-RECONF-TIMEOUT": 1000,
}
"""Milliseconds; Sentinel's own are for data centres."""


class RedisServer(Server):
    """What the three have in common: processes that may be killed, frozen, configured and started again."""

    # One program is the server, the Sentinel and the checker of files, by the name that it is called; redis-tools
    # brings it without a service, and without anything in /etc.
    programs: ClassVar[dict[str, str]] = {"redis-check-rdb": "redis-tools"}
    refuses_root = True  # it does not, but nothing here needs root
    room = 100

    def __init__(self, watchdog: Watchdog) -> None:
        """Give the program its other names."""
        super().__init__(watchdog)
        for name in ("redis-server", "redis-sentinel"):
            link = self.folder / name
            link.symlink_to(Path(self.paths["redis-check-rdb"]).resolve())
            self.paths[name] = str(link)
        self._arguments: dict[str, tuple[str, ...]] = {}

    def urls(self) -> dict[str, str]:
        """Return a URL for each server."""
        return {role: f"redis://127.0.0.1:{port}/0" for role, port in self.ports.items()}

    def query(self, role: str, *command: Any, db: int = 0) -> Any:
        """Run one command on a connection of its own; return the reply as Redis sends it, text decoded."""
        connection = driver.Connection(
            host="127.0.0.1",
            port=self.ports[role],
            db=db,
            protocol=2,
            decode_responses=True,
            socket_timeout=ANSWERS_WITHIN,
            socket_connect_timeout=ANSWERS_WITHIN,
        )
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()

    def config(self, role: str, key: str, value: str | int) -> str:
        """Set one of a server's settings; return what it was."""
        _, before = self.query(role, "CONFIG", "GET", key)
        self.query(role, "CONFIG", "SET", key, value)
        return str(before)

    def info(self, role: str, section: str) -> dict[str, str]:
        """Return one section of INFO."""
        lines = str(self.query(role, "INFO", section)).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def kill(self, role: str) -> None:
        """End a server at once, as ``kill -9`` does; whoever connects is refused."""
        process = self.processes.pop(role)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def restart(self, role: str) -> None:
        """Start a killed server on the port that it had; it is empty."""
        self._launch(role, self.ports[role])

    def freeze(self, role: str) -> None:
        """Let a server stand still; the kernel goes on taking connections and requests for it."""
        os.killpg(self.processes[role].pid, signal.SIGSTOP)

    def thaw(self, role: str) -> None:
        """Let a frozen server go on; it answers what came meanwhile."""
        os.killpg(self.processes[role].pid, signal.SIGCONT)

    def _serve(self, role: str, *arguments: str) -> None:
        self._arguments[role] = arguments
        self.settle(role, lambda port: self._launch(role, port))

    def _launch(self, role: str, port: int) -> None:
        self.spawn(
            role,
            "redis-server",
            *(word for pair in CONFIGURATION for word in pair),
            *("--port", str(port), *self._arguments[role]),
        )
        self.wait_until(lambda: self._answers(role), role)

    def _answers(self, role: str) -> bool:
        # Whoever has taken the port may be a Redis too.
        with suppress(driver.RedisError):
            return int(self.info(role, "server")["process_id"]) == self.processes[role].pid
        return False


class Redis(RedisServer):
    """One server with nothing in it."""

    name = "redis"

    def start(self) -> None:
        """Start it."""
        self._serve("primary")


class RedisCluster(RedisServer):
    """Three primaries that share all slots among them; a node that is started again has its slots, and no keys."""

    name = "redis_cluster"
    roles = ("node1", "node2", "node3")

    def start(self) -> None:
        """Start the nodes, deal out the slots, and return when each node takes the cluster for whole."""
        self._buses: dict[str, tuple[int, int]] = {}
        for number, role in enumerate(self.roles):
            self._serve(role)
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            self.query(role, "CLUSTER", "ADDSLOTSRANGE", first, last)
            self.query(role, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for role in self.roles[1:]:
            self.query("node1", "CLUSTER", "MEET", "127.0.0.1", self.ports[role], self._buses[role][1])
        self.wait_until(self.whole, "the cluster")

    def urls(self) -> dict[str, str]:
        """Return a URL for each node, and one for all of them."""
        nodes = ",".join(f"127.0.0.1:{self.ports[role]}" for role in self.roles)
        return {**super().urls(), "cluster": f"redis+cluster://{nodes}/"}

    def whole(self) -> bool:
        """Tell whether each node knows all others, and an owner of each slot."""
        with suppress(driver.RedisError):
            facts = [self._facts(role) for role in self.roles]
            return all(one["cluster_state"] == "ok" and one["cluster_known_nodes"] == "3" for one in facts)
        return False

    def owner(self, key: str) -> str:
        """Return the role of the node that a key belongs to."""
        slot = int(self.query("node1", "CLUSTER", "KEYSLOT", key))
        for first, last, (_, port, *_), *_ in self.query("node1", "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(role for role in self.roles if self.ports[role] == port)
        raise LookupError(f"nobody owns slot {slot}")

    def begin_move(self, slot: int, source: str, target: str) -> None:
        """Open a slot for a move: from now on ``source`` answers ASK for a key that it does not have."""
        self.query(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        self.query(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(target))

    def move_keys(self, slot: int, source: str, target: str) -> None:
        """Move the keys of a slot that is open for it."""
        while keys := self.query(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            place = ("127.0.0.1", self.ports[target])
            self.query(source, "MIGRATE", *place, "", 0, 1000, "REPLACE", "KEYS", *keys)

    def end_move(self, slot: int, source: str, target: str) -> None:
        """Give the slot to ``target``: from now on ``source`` answers MOVED."""
        for role in (target, source, *(set(self.roles) - {source, target})):
            self.query(role, "CLUSTER", "SETSLOT", slot, "NODE", self._id(target))

    def move_slot(self, slot: int, source: str, target: str) -> None:
        """Move a slot with its keys from one node to another."""
        self.begin_move(slot, source, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)

    def _launch(self, role: str, port: int) -> None:
        # A node that is started again is found where it was; another port is another attempt, with another bus.
        if self._buses.get(role, (0, 0))[0] != port:
            self._buses[role] = (port, base.free_port())
        self._arguments[role] = (
            *("--cluster-enabled", "yes", "--cluster-config-file", f"{role}.conf"),
            *("--cluster-port", str(self._buses[role][1]), "--cluster-node-timeout", "1000"),
        )
        super()._launch(role, port)

    def _facts(self, role: str) -> dict[str, str]:
        return dict(line.split(":", 1) for line in str(self.query(role, "CLUSTER", "INFO")).splitlines())

    def _id(self, role: str) -> str:
        return str(self.query(role, "CLUSTER", "MYID"))


class RedisSentinel(RedisServer):
    """A primary and its replica, and three Sentinels.

    The first is the quickest to take the primary for dead; it carries a failover through once another has voted for it.
    """

    name = "redis_sentinel"
    sentinels = ("sentinel1", "sentinel2", "sentinel3")
    data = ("primary", "replica")
    """The two servers, by the part that each plays at first."""

    def start(self) -> None:
        """Start the pair, then the Sentinels; return when these know one another and the replica."""
        self._serve("primary")
        self._serve("replica", "--replicaof", "127.0.0.1", str(self.ports["primary"]))
        for role in self.sentinels:
            self.settle(role, self._watcher(role))
        self.wait_until(self.ready, "the Sentinels")

    def urls(self) -> dict[str, str]:
        """Return a URL for each server, and one that asks the Sentinels."""
        places = ",".join(f"127.0.0.1:{self.ports[role]}" for role in self.sentinels)
        data = {role: url for role, url in super().urls().items() if role in self.data}
        return {**data, "sentinel": f"redis+sentinel://{places}/{SERVICE}/0"}

    def ready(self) -> bool:
        """Tell whether every Sentinel could carry a failover through now."""
        with suppress(driver.RedisError):
            return self._followed() and all(self._knows_all(role) for role in self.sentinels)
        return False

    def primary(self) -> str:
        """Return the role of the server that the Sentinels, all of them, call the primary; empty while they differ."""
        with suppress(driver.RedisError):
            told = {self.query(role, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1] for role in self.sentinels}
            if len(told) == 1:
                return next(role for role in self.data if str(self.ports[role]) in told)
        return ""

    def failed_over(self, old: str) -> str:
        """Return the new primary's role, as soon as all Sentinels name another than ``old`` and it takes writes."""
        self.wait_until(lambda: self.primary() not in {"", old} and self._leads(self.primary()), "the failover")
        return self.primary()

    def failover(self) -> str:
        """Kill the primary; return the role of the server that has taken its place."""
        old = self.primary()
        self.kill(old)
        return self.failed_over(old)

    def restart(self, role: str) -> None:
        """Start a killed server as a follower of the primary that there is now."""
        lead = self.primary()
        self._arguments[role] = ("--replicaof", "127.0.0.1", str(self.ports[lead])) if lead != role else ()
        super().restart(role)

    def _watcher(self, role: str) -> Callable[[int], None]:
        def start(port: int) -> None:
            path = self.folder / f"{role}.conf"
            path.write_text(
                f"port {port}\nbind 127.0.0.1\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {self.ports['primary']} {1 if role == 'sentinel1' else 2}\n"
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER[role]}\n"
                f"sentinel failover-timeout {SERVICE} 3000\n"
            )
            if self._uid is not None and self._gid is not None:
                os.chown(path, self._uid, self._gid)  # it writes what it learns into the file
            self.spawn(role, "redis-sentinel", path)
            self.wait_until(lambda: self._answers(role), role)
            self.query(role, "SENTINEL", "DEBUG", *(word for pair in SENTINEL_TIMES.items() for word in pair))

        return start

    def _knows_all(self, role: str) -> bool:
        flat = self.query(role, "SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(flat[::2], flat[1::2], strict=True))
        return (facts["num-other-sentinels"], facts["num-slaves"], facts["flags"]) == ("2", "1", "master")

    def _followed(self) -> bool:
        lead = self.primary()
        return bool(lead) and "state=online" in self.info(lead, "replication").get("slave0", "")

    def _leads(self, role: str) -> bool:
        with suppress(driver.RedisError):
            return bool(self.query(role, "ROLE")[0] == "master")
        return False


def caught_up(server: RedisSentinel, seconds: float = base.READY_WITHIN) -> None:
    """Return when the replica has all that the primary has written so far."""
    deadline = time.monotonic() + seconds
    offset = int(server.info(server.primary(), "replication")["master_repl_offset"])
    follower = next(role for role in server.data if role != server.primary())
    while int(server.info(follower, "replication").get("slave_repl_offset", -1)) < offset:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{follower} stays behind")
        time.sleep(0.005)
