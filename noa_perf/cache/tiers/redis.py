"""Fulfils wishes on redis-py's clients; raises what those raise."""

from __future__ import annotations

from typing import Any

from noa_perf.cache.tiers.wishes import Batch, Command, Get, GetMany, Lua, Scan, Wish
from noa_perf.core import redis
from noa_perf.core.redis import Clients


def perform(clients: Clients, wish: Wish) -> Any:
    """Return Redis' reply."""
    client = clients.get()
    if isinstance(wish, Get):
        return redis.fast_get(client, wish.key.encode())
    if isinstance(wish, Command):
        return redis.fast_call(client, *wish.arguments)
    if isinstance(wish, GetMany):
        return redis.fast_mget(client, [key.encode() for key in wish.keys])
    if isinstance(wish, Lua):
        return wish.script.run(client, wish.keys, wish.arguments)
    if isinstance(wish, Batch):
        return redis.fast_batch(client, wish.commands)
    nodes = client.get_primaries() if _is_cluster(clients) else [None]
    where = client if nodes[0] is None else client.get_redis_connection(_node(nodes, wish))
    cursor, keys = where.scan(_cursor(wish), match=wish.pattern, count=wish.batch)
    return list(keys), _next(wish, int(cursor), len(nodes))


async def aperform(clients: Clients, wish: Wish) -> Any:
    """Return Redis' reply, on the running loop's client."""
    client = clients.on_loop()
    if isinstance(wish, Get):
        return await client.get(wish.key)
    if isinstance(wish, Command):
        return await client.execute_command(*wish.arguments)
    if isinstance(wish, GetMany):
        if _is_cluster(clients):
            return await _filled(client, Batch([("GET", key) for key in wish.keys])).execute()
        return await client.mget(wish.keys)
    if isinstance(wish, Lua):
        return await wish.script.arun(client, wish.keys, wish.arguments)
    if isinstance(wish, Batch):
        return await _filled(client, wish).execute(raise_on_error=False)
    if _is_cluster(clients):
        await client.initialize()
        nodes = client.get_primaries()
        cursor, keys = await _node(nodes, wish).execute_command(
            "SCAN", _cursor(wish), "MATCH", wish.pattern, "COUNT", wish.batch
        )
        return list(keys), _next(wish, int(cursor), len(nodes))
    cursor, keys = await client.scan(_cursor(wish), match=wish.pattern, count=wish.batch)
    return list(keys), _next(wish, int(cursor), 1)


def _is_cluster(clients: Clients) -> bool:
    return clients.target.mode == "cluster"


def _filled(client: Any, wish: Batch) -> Any:
    pipeline = client.pipeline(transaction=False)
    for arguments in wish.commands:
        pipeline.execute_command(*arguments)
    return pipeline


def _node(nodes: list[Any], wish: Scan) -> Any:
    return sorted(nodes, key=lambda node: str(node.name))[wish.place[0] if wish.place else 0]


def _cursor(wish: Scan) -> int:
    return wish.place[1] if wish.place else 0


def _next(wish: Scan, cursor: int, nodes: int) -> tuple[int, int] | None:
    number = wish.place[0] if wish.place else 0
    if cursor:
        return number, cursor
    return (number + 1, 0) if number + 1 < nodes else None
