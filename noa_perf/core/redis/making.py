"""How a client of redis-py is made for a target; imported only where redis-py is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from django.utils.module_loading import import_string
from redis import asyncio as aredis
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from noa_perf.core.redis import pools
from noa_perf.core.redis.discovery import Discovery, check
from noa_perf.core.redis.errors import ERRORS
from noa_perf.core.redis.target import TIMEOUT, Address, RedisTarget

DEFAULTS = {
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "health_check_interval": 0,
    # One round trip less for each connection, and the same replies from every server.
    "protocol": 2,
}
_THEIRS = ("ConnectionPool", "BlockingConnectionPool")
OWN_POOLS = {"", *(f"redis.{name}" for name in _THEIRS), *(f"redis.connection.{name}" for name in _THEIRS)}
"""Pools of redis-py whose place ours takes: bounded as they are, and quicker."""
# Not typed by redis-py.
_Sentinel: Any = redis.Sentinel
_AsyncSentinel: Any = aredis.Sentinel
_Node: Any = ClusterNode
# Before 6 a Cluster's client counted its retries otherwise.
_COUNTS_RETRIES = int(redis.__version__.partition(".")[0]) < 6


class _AsyncCluster(aredis.RedisCluster):
    """redis-py's client, which tasks may begin to use at the same time.

    Before it knows the nodes, redis-py's sends each command to any of them; and what closes connections under a
    command that is on its way makes that fail with an AttributeError. And nodes that do not answer hold each task for
    as long as all of them take, one task after the other.
    """

    def __init__(self, discovery: Discovery, **kwargs: Any) -> None:
        """Ask nobody yet."""
        super().__init__(**kwargs)
        self._discovery = discovery

    async def initialize(self, *args: Any, **kwargs: Any) -> Any:
        """Ask for the nodes, where they are not known, for a bounded time and not over and over."""
        if not self._initialize:
            return self
        self._discovery.refuse()
        try:
            async with asyncio.timeout(self._discovery.limit):
                return await super().initialize(*args, **kwargs)
        except TimeoutError as error:
            self._discovery.failed()
            raise redis.TimeoutError("The nodes of the Cluster take too long to answer.") from error
        except ERRORS:
            self._discovery.failed()
            raise

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Send a command to the node that it belongs to."""
        if self._initialize:
            await self.initialize()
        try:
            return await super().execute_command(*args, **kwargs)
        except AttributeError as error:
            raise redis.ConnectionError("The connection to a node of the Cluster was closed meanwhile.") from error


def sync_client(target: RedisTarget, index: int) -> Any:
    """Return the client of a target's primary (``index`` 0) or of one of its replicas."""
    if target.mode == "cluster":
        return _cluster(target)
    if target.mode == "sentinel":
        return redis.Redis(connection_pool=_sentinel_pool(target, primary=index == 0))
    return redis.Redis(connection_pool=_pool(target, target.addresses[index]))


def async_client(target: RedisTarget, index: int) -> Any:
    """Return the same for the running event loop."""
    if target.mode == "cluster":
        return _async_cluster(target)
    if target.mode == "sentinel":
        return aredis.Redis(connection_pool=_async_sentinel_pool(target, primary=index == 0))
    address = target.addresses[index]
    pool = pools.AsyncPool(
        connection_class=_connection_class(aredis, address),
        max_connections=target.max_connections,
        wait=target.wait,
        retry=AsyncRetry(NoBackoff(), 0),
        **_kwargs(target, address),
    )
    return aredis.Redis(connection_pool=pool)


def close(client: Any) -> None:
    """Close a client's connections, those in use and those to the Sentinels too."""
    pool = getattr(client, "connection_pool", None)
    # redis-py leaves a pool that it has not made itself alone.
    (pool.disconnect if pool is not None else client.close)()
    for sentinel in _sentinels(pool):
        sentinel.close()


async def aclose(client: Any) -> None:
    """Close those of an asyncio client; what cannot be closed is as good as closed."""
    pool = getattr(client, "connection_pool", None)
    closing = [pool.disconnect if pool is not None else client.aclose, *(one.aclose for one in _sentinels(pool))]
    for one in closing:
        with suppress(Exception):
            await one()


def _sentinels(pool: Any) -> list[Any]:
    manager = getattr(pool, "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)


def _pool(target: RedisTarget, address: Address) -> Any:
    kwargs = {"retry": Retry(NoBackoff(), 0), **_kwargs(target, address)}
    kwargs |= {"connection_class": _connection_class(redis, address), "max_connections": target.max_connections}
    if target.pool_class in OWN_POOLS:
        return pools.Pool(wait=target.wait, **kwargs)
    cls = import_string(target.pool_class)
    if issubclass(cls, redis.BlockingConnectionPool):
        kwargs["timeout"] = target.wait
    return cls(**kwargs)


def _sentinel_pool(target: RedisTarget, *, primary: bool) -> Any:
    retry = Retry(NoBackoff(), 0)
    manager = _Sentinel(
        [(one.host, one.port) for one in target.addresses], sentinel_kwargs={"retry": retry, **_asking(target)}
    )
    return pools.SentinelPool(
        target.service,
        manager,
        is_master=primary,
        ssl=target.tls,
        max_connections=target.max_connections,
        wait=target.wait,
        **{"retry": retry, **_kwargs(target)},
    )


def _async_sentinel_pool(target: RedisTarget, *, primary: bool) -> Any:
    retry = AsyncRetry(NoBackoff(), 0)
    manager = _AsyncSentinel(
        [(one.host, one.port) for one in target.addresses], sentinel_kwargs={"retry": retry, **_asking(target)}
    )
    return pools.AsyncSentinelPool(
        target.service,
        manager,
        is_master=primary,
        ssl=target.tls,
        max_connections=target.max_connections,
        wait=target.wait,
        retry=retry,
        **_kwargs(target),
    )


def _asking(target: RedisTarget) -> dict[str, Any]:
    """Return the keyword arguments of the clients that ask the Sentinels."""
    own = {"ssl": True} if target.addresses[0].tls else {}
    return {**DEFAULTS, **own, **target.sentinel_options}


def _cluster(target: RedisTarget) -> Any:
    first, *others = target.addresses
    retries = {"cluster_error_retry_attempts": 0} if _COUNTS_RETRIES else {"retry": Retry(NoBackoff(), 0)}
    # Only a client made from a URL lets its pools be chosen.
    client = redis.RedisCluster(
        url=f"{'rediss' if target.tls else 'redis'}://{_bracketed(first.host)}:{first.port}",
        startup_nodes=[_Node(one.host, one.port) for one in others],
        connection_pool_class=_pool_of(target),
        max_connections=target.max_connections,
        **retries,
        **_kwargs(target),
    )
    # redis-py asks for the nodes anew where one of them fails.
    manager: Any = client.nodes_manager
    manager.initialize = _bounded(manager.initialize, Discovery(target.longest_exchange))
    return client


def _bounded(initialize: Callable[..., None], discovery: Discovery) -> Callable[..., None]:
    def bounded(*args: Any, **kwargs: Any) -> None:
        discovery.run(lambda: initialize(*args, **kwargs))

    return bounded


def _pool_of(target: RedisTarget) -> type[pools.Pool]:
    class ClusterPool(pools.Pool):
        """Connections to one node."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(wait=target.wait, **kwargs)

        def get_connection(self, *args: Any, **kwargs: Any) -> Any:
            check()
            return super().get_connection(*args, **kwargs)

    return ClusterPool


def _async_cluster(target: RedisTarget) -> Any:
    kwargs = {name: value for name, value in _kwargs(target).items() if name != "redis_connect_func"}
    retries = {"cluster_error_retry_attempts": 0} if _COUNTS_RETRIES else {"retry": AsyncRetry(NoBackoff(), 0)}
    return _AsyncCluster(
        Discovery(target.longest_exchange),
        # A client that learns of moved slots one by one closes no connection that others use.
        reinitialize_steps=0,
        startup_nodes=[AsyncClusterNode(one.host, one.port) for one in target.addresses],
        ssl=target.tls,
        max_connections=target.max_connections,
        **retries,
        **kwargs,
    )


def _kwargs(target: RedisTarget, address: Address | None = None) -> dict[str, Any]:
    if address is None:
        return {**DEFAULTS, **target.options}
    place = {"path": address.path} if address.path else {"host": address.host, "port": address.port}
    return {**DEFAULTS, **target.options, **address.options, **place}


def _connection_class(library: Any, address: Address) -> Any:
    if address.path:
        return library.UnixDomainSocketConnection
    return library.SSLConnection if address.tls else library.Connection


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
