"""Measures one rate limiter in a process of its own: ``SUBJECT memory|redis|fire|floor|asyncio URL``; prints JSON."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks._ratelimit_subjects import SUBJECTS, Many, ours

HUGE = 1_000_000
"""A limit that nobody reaches."""
SMALL = 100
FIRE = 1_000
"""The limit that all processes hammer, each of them ASKED times."""
ASKED = 400
CALLS = 2_000
KEYS = 4_000
TURNS = 8
SECONDS = 1.0
"""At least so many turns, and for at least so long."""
THREADS = 4
ROUND_TRIPS = 300
TOGETHER = 50

GCRA = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local empty = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0)) + ARGV[1]
local room = ARGV[2] - (empty - now)
if room < 0 then
    return {0, 0, -room}
end
redis.call('SET', KEYS[1], string.format('%d', empty), 'PX', math.ceil((empty - now) / 1000))
return {1, math.floor(room / ARGV[1]), 0}
"""
"""As short as an exact GCRA can be: one key, two numbers, and an answer of three figures."""

Calls = dict[str, Callable[[], int]]
"""By what each measures; a call returns how many checks it made."""


def turns(calls: Calls) -> dict[str, float]:
    """Return microseconds of a check, the best of many short turns: what disturbs only ever adds, and to all alike."""
    best = dict.fromkeys(calls, float("inf"))
    gc.collect()
    gc.disable()
    turn, end = 0, time.perf_counter() + SECONDS
    while turn < TURNS or time.perf_counter() < end:
        turn += 1
        for name, call in calls.items():
            before = time.perf_counter()
            many = call()
            best[name] = min(best[name], (time.perf_counter() - before) / many * 1e6)
    gc.enable()
    return best


def memory(make: Callable[[int], Many]) -> dict[str, float]:
    """Return microseconds of a check: of one key, of many, of one that is over its limit, and of four threads."""
    ask, small = make(HUGE), make(SMALL)
    many = [f"many:{number}" for number in range(KEYS)]
    assert ask(many) == KEYS
    assert small(["over"] * CALLS) <= SMALL + 1
    turn = itertools.count()

    def asked(ask: Many, keys: list[str]) -> int:
        ask(keys)
        return len(keys)

    return turns(
        {
            # Another key each turn: otherwise a log would be as long as the benchmark.
            "hot": lambda: asked(ask, [f"hot:{next(turn)}"] * CALLS),
            "many": lambda: asked(ask, many),
            "refused": lambda: asked(small, ["over"] * CALLS),
            "threads": lambda: threads(ask, f"threads:{next(turn)}"),
        }
    )


def threads(ask: Many, key: str) -> int:
    """Have four threads ask for one key."""
    parts = [threading.Thread(target=ask, args=([key] * (CALLS // THREADS),)) for _ in range(THREADS)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    return CALLS


def redis(make: Callable[[int], Many]) -> dict[str, float]:
    """Return microseconds of a check on Redis."""
    ask = make(HUGE)
    keys = [f"client:{number}" for number in range(ROUND_TRIPS)]
    assert ask(keys) == ROUND_TRIPS
    return turns({"check": lambda: ask(keys)})


def fire(make: Callable[[int], Many]) -> dict[str, float]:
    """Return how many were admitted of one key, once the parent says go."""
    ask = make(FIRE)
    ask(["warm"])
    print("ready", flush=True)
    sys.stdin.readline()
    return {"admitted": ask(["everybody"] * ASKED)}


def floor(url: str) -> dict[str, float]:
    """Return microseconds of our check beside what no client of a script can be quicker than, turn by turn."""
    import redis as driver

    limiter = ours(url)
    client = driver.Redis.from_url(url)
    one, three = policies()
    script, keys, arguments = wire(limiter, one)
    own = client.script_load(script)
    shortest = client.script_load(GCRA)
    limiter.hit(one, "client")
    limiter.hit(three, "client")

    def often(call: Callable[[], Any]) -> Callable[[], int]:
        return lambda: len([call() for _ in range(ROUND_TRIPS)])

    return turns(
        {
            "one": often(lambda: limiter.hit(one, "client")),
            "three": often(lambda: limiter.hit(three, "client")),
            "bare": often(lambda: client.evalsha(own, len(keys), *keys, *arguments)),
            "shortest": often(lambda: client.evalsha(shortest, 1, "shortest", 86_400, 86_400 * HUGE)),
        }
    )


def policies() -> tuple[Any, Any]:
    """Return a policy of one limit, and one of three."""
    from noa_perf.ratelimit.policy import Policy

    limits = [f"{HUGE}/d", f"{HUGE // 10}/h", f"{HUGE // 100}/m"]
    return Policy.parse("one", limits[0]), Policy.parse("three", limits)


def wire(limiter: Any, policy: Any) -> tuple[str, list[Any], list[Any]]:
    """Return script, keys and arguments of a check of ours."""
    from noa_perf.ratelimit.storages.base import Charge
    from noa_perf.ratelimit.storages.redis import _asked

    call = limiter.storage._packed("hit", _asked([Charge(policy, "client", 1)]))
    return call.script.text, call.keys, call.arguments


def on_loop(url: str) -> dict[str, float]:
    """Return microseconds of a check of an event loop's, one by one and fifty together, beside redis-py's evalsha."""
    import redis.asyncio as driver

    limiter = ours(url)
    policy, _ = policies()
    script, keys, arguments = wire(limiter, policy)
    loop = asyncio.new_event_loop()
    client = driver.Redis.from_url(url)
    sha = loop.run_until_complete(client.script_load(script))

    def often(call: Callable[[], Awaitable[Any]], many: int) -> Callable[[], int]:
        return lambda: loop.run_until_complete(together(call, many))

    def own() -> Awaitable[Any]:
        return limiter.ahit(policy, "client")

    def bare() -> Awaitable[Any]:
        return client.evalsha(sha, len(keys), *keys, *arguments)

    calls = {"ours": own, "bare": bare}
    found = turns({f"{name}, {many}": often(call, many) for many in (1, TOGETHER) for name, call in calls.items()})
    loop.run_until_complete(client.aclose())
    return found


async def together(call: Callable[[], Awaitable[Any]], many: int) -> int:
    """Call, where ``many`` are waited for at a time; return how often."""
    rounds = ROUND_TRIPS // many
    for _ in range(rounds):
        if many == 1:
            await call()
        else:
            await asyncio.gather(*[call() for _ in range(many)])
    return rounds * many


def main() -> None:
    """Measure what the command line names."""
    name, kind, url = sys.argv[1:4]
    if kind in ("floor", "asyncio"):
        found = floor(url) if kind == "floor" else on_loop(url)
    else:
        place = "memory" if kind == "memory" else "redis"
        subject = next(one for one in SUBJECTS if (one.name, one.kind) == (name, place))
        found = {"memory": memory, "redis": redis, "fire": fire}[kind](lambda limit: subject.make(url, limit))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
