"""Fulfils wishes on redis-py's clients; raises what those raise."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from noa_perf.cache.tiers.wishes import Argument, Batch, Command, Get, GetMany, Lua, Scan, Wish
from noa_perf.core import redis
from noa_perf.core.redis import Clients

PATIENCE = 4
"""How many times the longest call a wish may take on an event loop, where a reply's parts cannot be timed as they come;
and as much again for each :data:`noa_perf.core.redis.MANY` commands or values."""


def perform(clients: Clients, wish: Wish) -> Any:
    """Return Redis' reply."""
    client = clients.get()
    if isinstance(wish, Get):
        return redis.fast_get(client, encoded(wish.key))
    if isinstance(wish, Command):
        return redis.fast_call(client, *_command(wish.arguments))
    if isinstance(wish, GetMany):
        return redis.fast_mget(client, _all_encoded(wish.keys))
    if isinstance(wish, Lua):
        keys, arguments = _all_encoded(wish.keys), _all_encoded(wish.arguments)
        return wish.script.run(client, keys, arguments, again=wish.again)
    if isinstance(wish, Batch):
        return redis.fast_batch(client, [_command(arguments) for arguments in wish.commands])
    nodes = client.get_primaries() if _is_cluster(clients) else [None]
    where = client if nodes[0] is None else client.get_redis_connection(_node(nodes, wish))
    cursor, keys = where.scan(_cursor(wish), match=encoded(wish.pattern), count=wish.batch)
    return list(keys), _next(wish, int(cursor), len(nodes))


async def aperform(clients: Clients, wish: Wish) -> Any:
    """Return Redis' reply, on the running loop's client, in bounded time: see :data:`PATIENCE`."""
    limit = clients.target.longest_call
    if not limit:
        return await _aperform(clients, wish)
    async with asyncio.timeout(limit * PATIENCE * (1 + size(wish) / redis.MANY)):
        return await _aperform(clients, wish)


async def _aperform(clients: Clients, wish: Wish) -> Any:
    client = clients.on_loop()
    if isinstance(wish, Get):
        return await client.get(encoded(wish.key))
    if isinstance(wish, Command):
        return await client.execute_command(*_command(wish.arguments))
    if isinstance(wish, GetMany):
        keys = _all_encoded(wish.keys)
        if _is_cluster(clients):
            return await _filled(client, [("GET", key) for key in keys]).execute()
        return await client.mget(keys)
    if isinstance(wish, Lua):
        return await wish.script.arun(client, _all_encoded(wish.keys), _all_encoded(wish.arguments))
    if isinstance(wish, Batch):
        replies = await _filled(client, wish.commands).execute(raise_on_error=False)
        pool = getattr(client, "connection_pool", None)
        if pool is not None and any(redis.is_astray(reply) for reply in replies):
            await pool.leave()
        return replies
    if _is_cluster(clients):
        await client.initialize()
        nodes = client.get_primaries()
        cursor, keys = await _node(nodes, wish).execute_command(
            "SCAN", _cursor(wish), "MATCH", encoded(wish.pattern), "COUNT", wish.batch
        )
        return list(keys), _next(wish, int(cursor), len(nodes))
    cursor, keys = await client.scan(_cursor(wish), match=encoded(wish.pattern), count=wish.batch)
    return list(keys), _next(wish, int(cursor), 1)


def size(wish: Wish) -> int:
    """Return how many commands, keys or values a wish is about."""
    if isinstance(wish, Batch):
        return len(wish.commands)
    if isinstance(wish, GetMany):
        return len(wish.keys)
    return wish.batch if isinstance(wish, Scan) else 1


def encoded(text: str) -> bytes:
    """Return a key as Redis has it: what is no UTF-8, a lone surrogate, too."""
    return text.encode("utf-8", "surrogatepass")


def _all_encoded(arguments: Iterable[Argument]) -> list[Any]:
    return [encoded(one) if isinstance(one, str) else one for one in arguments]


def _command(arguments: Sequence[Argument]) -> list[Any]:
    return [arguments[0], *_all_encoded(arguments[1:])]  # redis-py knows commands by their names as text


def _is_cluster(clients: Clients) -> bool:
    return clients.target.mode == "cluster"


def _filled(client: Any, commands: Iterable[Sequence[Argument]]) -> Any:
    pipeline = client.pipeline(transaction=False)
    for arguments in commands:
        pipeline.execute_command(*_command(arguments))
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
