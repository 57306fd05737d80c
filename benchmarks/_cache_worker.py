"""Measures one cache in a process of its own: ``SUBJECT memory|redis|mixed|trace URL``; prints JSON."""

from __future__ import annotations

import bisect
import gc
import itertools
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks._cache_subjects import SUBJECTS

DICT = {"id": 7, "name": "A small thing", "price": 9.5, "tags": ["a", "b"]}
TEXT = "x" * 200
THREADS = 4
KEYS = 1_000
CALLS = 20_000
BATCHES = 15
CAPACITY = 10_000
UNIVERSE = 100_000
REQUESTS = 400_000
SCAN_EVERY, SCAN = 50_000, 15_000


def cpu(call: Callable[[], Any], calls: int, clock: Callable[[], float] = time.thread_time) -> float:
    """Return microseconds for each of the ``calls`` that ``call`` makes: the lower quartile of batches."""
    gc.collect()
    gc.disable()
    times = []
    for _ in range(BATCHES):
        before = clock()
        call()
        times.append((clock() - before) / calls * 1e6)
    gc.enable()
    return sorted(times)[BATCHES // 4]


def loop(get: Any, keys: list[str]) -> Callable[[], None]:
    """Return what reads all keys once, with as little around it as can be."""
    many = getattr(get, "many", None)
    if many is not None:
        return lambda: many(keys)

    def read() -> None:
        for key in keys:
            get(key)

    return read


def memory(get: Any, put: Any) -> dict[str, float]:
    """Return processor time of a hit: of a text, and of a small dict."""
    found = {}
    for name, value in (("text", TEXT), ("dict", DICT)):
        keys = [f"{name}:{number}" for number in range(KEYS)]
        for key in keys:
            put(key, value)
        assert get(keys[0]) == value
        asked = keys * (CALLS // KEYS)
        found[name] = cpu(loop(get, asked), len(asked))
    return found


def redis(get: Any, put: Any) -> dict[str, float]:
    """Return microseconds, of the clock and of the processor, of a read of a text of 200 bytes."""
    keys = [f"text:{number}" for number in range(KEYS)]
    for key in keys:
        put(key, TEXT)
    read = loop(get, keys)
    return {"wall": cpu(read, KEYS, time.perf_counter), "cpu": cpu(read, KEYS)}


def mixed(get: Any, put: Any) -> dict[str, float]:
    """Return reads a second (of the clock) of four threads where memory has 85 in 100 and Redis the others.

    Of one thread it would be the loopback's latency that is measured: while one waits for Redis the others read on.
    """
    hot = [f"hot:{number}" for number in range(KEYS)]
    cold = [f"cold:{number}" for number in range(CALLS)]
    for key in (*hot, *cold):
        put(key, TEXT)
    from django.core.cache import caches

    stack: Any = caches["default"].stack  # type: ignore[attr-defined]
    choose = random.Random(1)
    rates, shares = [], []
    for _ in range(5):
        for _, space in stack.memory.spaces():
            stack.memory.clear(space)
        loop(get, hot)()
        stack.memory.collect()
        next_cold = iter(cold)
        asked = [choose.choice(hot) if choose.random() < 0.85 else next(next_cold) for _ in range(CALLS)]
        parts = [threading.Thread(target=loop(get, asked[number::THREADS])) for number in range(THREADS)]
        before = time.perf_counter()
        for part in parts:
            part.start()
        for part in parts:
            part.join()
        rates.append(CALLS / (time.perf_counter() - before))
        shares.append(sum(stack.memory.collect()[0].values()) / CALLS)
    middle = sorted(range(5), key=rates.__getitem__)[2]
    return {"rate": rates[middle], "share": shares[middle]}


def zipf(scanned: bool) -> list[str]:
    """Return a Zipf 0.9 trace, with scans of keys that never come again mixed in where asked for."""
    choose = random.Random(7)
    sums = list(itertools.accumulate(1 / (rank + 1) ** 0.9 for rank in range(UNIVERSE)))
    asked = [f"k{bisect.bisect(sums, choose.random() * sums[-1])}" for _ in range(REQUESTS)]
    if not scanned:
        return asked
    found: list[str] = []
    for turn, start in enumerate(range(0, REQUESTS, SCAN_EVERY)):
        found += asked[start : start + SCAN_EVERY]
        found += [f"scan{turn}:{number}" for number in range(SCAN)]
    return found


def trace(name: str) -> dict[str, float]:
    """Return the share of a trace that a cache of 10,000 entries has."""
    return {kind: _ratio(*_bounded(name), zipf(kind == "scan")) for kind in ("zipf", "scan")}


def _bounded(name: str) -> tuple[Any, Any]:
    if name == "theine":
        import theine

        cache: Any = theine.Cache(CAPACITY)
        return (lambda key: cache.get(key)[0]), cache.set
    if name.startswith("cachebox"):
        import cachebox

        cache = getattr(cachebox, name.split()[1])(CAPACITY)
        return cache.get, cache.__setitem__
    from noa_perf.cache.tiers.memory import Bounds, Memory

    tier = Memory(Bounds(max_entries=CAPACITY, max_bytes=2**40))
    space = tier.space(("", 1))

    def get(key: str) -> Any:
        entry = space.get(key)
        if entry is None:
            return None
        entry.hits += 1  # as TieredCache.get does
        return entry.data[0]

    return get, lambda key, value: tier.put(space, key, (value, None, 9e9, 9e9), 28)


def _ratio(get: Any, put: Any, asked: list[str]) -> float:
    hits = 0
    for key in asked:
        if get(key) is None:
            put(key, 1)
        else:
            hits += 1
    return hits / len(asked)


def main() -> None:
    """Measure what the command line names."""
    name, kind, url = sys.argv[1:4]
    if kind == "trace":
        print(json.dumps(trace(name)))
        return
    subject = next(one for one in SUBJECTS if one.name == name)
    get, put = subject.make(url if subject.redis or kind == "mixed" else "")
    print(json.dumps({"memory": memory, "redis": redis, "mixed": mixed}[kind](get, put)))


if __name__ == "__main__":
    main()
