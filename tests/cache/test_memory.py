"""The memory tier: its bounds under any load, expiry, scans, threads, forks."""

from __future__ import annotations

import os
import random
import sys
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noa_perf.cache.tiers.memory import FOREVER, OVERHEAD, Bounds, Memory
from noa_perf.core.clock import ManualClock


def data(value, until=FOREVER, expires=FOREVER):
    return (value, None, until, expires)


def hit(space, key):
    entry = space.get(key)
    if entry is not None:
        entry.hits += 1
    return entry is not None


@pytest.fixture
def clock():
    return ManualClock()


def check(memory):
    """What has to hold whatever was done."""
    entries = [entry for _, space in memory.spaces() for entry in space.values()]
    assert memory.entries == len(entries) <= memory.bounds.max_entries
    assert memory.bytes == sum(entry.size for entry in entries) <= memory.bounds.max_bytes
    assert memory._small_bytes == sum(entry.size for entry in entries if entry.small)
    queued = [entry for entry in (*memory._small, *memory._main) if entry.live]
    assert sorted(map(id, queued)) == sorted(map(id, entries))
    assert len(memory._small) + len(memory._main) == len(queued) + memory._dead
    assert memory._dead <= len(entries) + 64
    assert len(memory._ghosts) <= max(1, memory.bounds.max_entries)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "hit", "drop", "clear", "wait", "collect"]),
        st.integers(0, 12),
        st.integers(0, 400),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(OPERATIONS, st.integers(1, 6), st.integers(400, 4000), st.sampled_from([0, 1, 2]))
def test_the_bounds_hold_and_the_books_agree_whatever_is_done(operations, entries, size, evict):
    clock = ManualClock()
    memory = Memory(Bounds(max_entries=entries, max_bytes=size, evict=evict), clock)
    spaces = [memory.space(("", 1)), memory.space(("", 2))]
    for what, number, amount in operations:
        space, key = spaces[number % 2], f"k{number}"
        if what == "put":
            memory.put(space, key, data(amount, expires=clock.monotonic() + amount / 10), amount)
        elif what == "hit":
            hit(space, key)
        elif what == "drop":
            memory.drop(space, key)
        elif what == "clear":
            memory.clear(space)
        elif what == "wait":
            clock.advance(amount / 20)
        else:
            memory.collect()
        check(memory)


def test_what_was_put_last_is_there(clock):
    memory = Memory(Bounds(max_entries=2), clock)
    space = memory.space(("", 1))
    for number in range(50):
        assert memory.put(space, str(number), data(number), 10)
        assert space[str(number)].data[0] == number


def test_a_value_larger_than_all_the_room_is_not_kept_and_takes_the_older_one_along(clock):
    memory = Memory(Bounds(max_bytes=5_000), clock)
    space = memory.space(("", 1))
    memory.put(space, "other", data("there"), 100)
    memory.put(space, "big", data("older"), 100)

    assert not memory.put(space, "big", data("newer"), 6_000)

    assert set(space) == {"other"}
    check(memory)


def test_a_value_that_grows_makes_room_for_itself(clock):
    memory = Memory(Bounds(max_bytes=10 * (OVERHEAD + 101)), clock)
    space = memory.space(("", 1))
    for number in range(10):
        memory.put(space, str(number), data(number), 100)

    memory.put(space, "5", data("grown"), 2_000)

    check(memory)
    assert "5" not in space or space["5"].data[0] == "grown"


def test_a_scan_leaves_what_is_asked_for_again(clock):
    memory = Memory(Bounds(max_entries=1_000), clock)
    space = memory.space(("", 1))
    hot = [f"hot{number}" for number in range(500)]
    for key in hot * 3:
        if not hit(space, key):
            memory.put(space, key, data(1), 10)

    for number in range(20_000):
        memory.put(space, f"scan{number}", data(1), 10)

    assert sum(key in space for key in hot) > 450


def test_what_was_evicted_and_comes_again_is_no_newcomer(clock):
    memory = Memory(Bounds(max_entries=100), clock)
    space = memory.space(("", 1))
    memory.put(space, "again", data(1), 10)
    for number in range(100):
        memory.put(space, str(number), data(1), 10)
    assert "again" not in space

    memory.put(space, "again", data(1), 10)

    assert not space["again"].small


def test_the_hits_of_the_past_do_not_count_for_ever(clock):
    memory = Memory(Bounds(max_entries=10), clock)
    space = memory.space(("", 1))
    memory.put(space, "once hot", data(1), 10)
    for _ in range(1_000):
        hit(space, "once hot")

    for number in range(200):
        key = f"k{number % 20}"
        if not hit(space, key):
            memory.put(space, key, data(1), 10)
        hit(space, key)

    assert "once hot" not in space


def test_hits_and_evictions_are_told_once(clock):
    memory = Memory(Bounds(max_entries=2), clock)
    memory.group = lambda key: key[0]
    space = memory.space(("", 1))
    memory.put(space, "a1", data(1), 10)
    hit(space, "a1")
    hit(space, "a1")
    memory.put(space, "b1", data(1, expires=5.0), 10)
    hit(space, "b1")
    memory.drop(space, "a1")
    clock.advance(10)

    assert memory.collect() == ({"a": 2, "b": 1}, {"expired": 1})
    assert memory.collect() == ({}, {})


def test_a_fill_loses_to_whoever_wrote_since_it_began(clock):
    memory = Memory(clock=clock)
    space = memory.space(("", 1))
    before = memory.epoch("k")
    memory.drop(space, "k")

    assert not memory.fill(space, "k", data("older"), 10, before)
    assert memory.fill(space, "k", data("newer"), 10, memory.epoch("k"))
    before = memory.epoch("k")
    memory.clear(space)
    assert not memory.fill(space, "k", data("older"), 10, before)


def test_threads_leave_the_books_in_order():
    memory = Memory(Bounds(max_entries=200, max_bytes=200 * (OVERHEAD + 60)))
    space = memory.space(("", 1))
    errors = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(seed):
        choose = random.Random(seed)
        try:
            for _ in range(4_000):
                key = f"k{choose.randrange(600)}"
                entry = space.get(key)
                if entry is not None:
                    value, _, _, _ = entry.data
                    assert value in (None, key), "another key's value"
                    entry.hits += 1
                elif choose.random() < 0.9:
                    memory.put(space, key, data(key), choose.randrange(100))
                else:
                    memory.drop(space, f"k{choose.randrange(600)}")
        except Exception as error:  # noqa: BLE001  (whatever it is, the test fails with it)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert not errors
    check(memory)


def test_what_it_says_it_takes_is_what_it_takes():
    memory = Memory(Bounds(max_entries=100_000, max_bytes=2**30))
    space = memory.space(("", 1))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20_000):
            value = b"x" * 200 + str(number).encode()
            memory.put(space, f"key:{number:08}", data(value, float(number), float(number)), sys.getsizeof(value))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert 0.7 * taken < memory.bytes < 1.4 * taken


def test_a_child_of_a_busy_process_can_use_it():
    memory = Memory(Bounds(max_entries=500))
    space = memory.space(("", 1))
    stop = threading.Event()

    def churn():
        number = 0
        while not stop.is_set():
            memory.put(space, f"k{number % 900}", data(number), 20)
            number += 1

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        codes = [_in_child(memory, space) for _ in range(20)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert codes == [0] * 20


def _in_child(memory, space):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            check(memory)
            memory.put(space, "child", data(1), 20)
            check(memory)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
