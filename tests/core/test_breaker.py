from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.core.breaker import BreakerPolicy, CircuitBreaker
from noa_perf.core.clock import ManualClock

POLICY = BreakerPolicy(
    window=10, failures=3, slow_seconds=0.1, slow_calls=4, cooldown=1, max_cooldown=5, probes=1, probe_timeout=2
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def breaker(clock) -> CircuitBreaker:
    return CircuitBreaker(POLICY, clock=clock, name="test")


def opened(clock: ManualClock, **changes) -> CircuitBreaker:
    policy = BreakerPolicy(**{name: getattr(POLICY, name) for name in POLICY.__slots__} | changes)
    breaker = CircuitBreaker(policy, clock=clock)
    fail(breaker, policy.failures)
    assert state(breaker) == "open"
    return breaker


def state(breaker: CircuitBreaker) -> str:
    return breaker.state


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.failure()


def elsewhere(call, *arguments):
    """Return what a call on another thread, which lives no longer than that, returns."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *arguments).result()


def test_failures_within_the_window_open_it(breaker, clock):
    fail(breaker, 2)
    assert breaker.allow()
    assert breaker.closed

    breaker.failure()

    assert not breaker.allow()
    assert state(breaker) == "open"
    assert breaker.seconds_left == 1
    assert breaker.retry_at == 101


def test_failures_further_apart_do_not(breaker, clock):
    for _ in range(10):
        breaker.failure()
        clock.advance(5)
    assert state(breaker) == "closed"


def test_a_window_that_slides_counts_what_is_in_it(breaker, clock):
    breaker.failure()
    clock.advance(9)
    breaker.failure()
    clock.advance(1)  # the first is ten seconds old now
    breaker.failure()
    assert state(breaker) == "closed"
    breaker.failure()
    assert state(breaker) == "open"


def test_slow_calls_open_it_and_quick_ones_do_not(breaker):
    for _ in range(100):
        breaker.success(0.1)
    for _ in range(3):
        breaker.success(0.11)
    assert state(breaker) == "closed"
    breaker.success(0.11)
    assert state(breaker) == "open"


def test_a_probe_passes_after_the_cooldown_and_closes_it(clock):
    breaker = opened(clock)
    clock.advance(0.99)
    assert not breaker.allow()
    clock.advance(0.01)
    assert state(breaker) == "open"

    assert breaker.allow()
    assert state(breaker) == "half_open"
    breaker.success(0.01)

    assert state(breaker) == "closed"
    assert breaker.seconds_left == 0
    fail(breaker, 2)  # what was counted before is forgotten
    assert breaker.allow()


@pytest.mark.parametrize("report", [lambda one: one.failure(), lambda one: one.success(0.2)], ids=["failed", "slow"])
def test_the_cooldown_doubles_to_its_bound_while_probes_fail_or_drag(clock, report):
    breaker = opened(clock)
    waited = []
    for _ in range(4):
        waited.append(breaker.seconds_left)
        clock.advance(breaker.seconds_left)
        assert breaker.allow()
        report(breaker)
        assert state(breaker) == "open"
    assert waited == [1, 2, 4, 5]

    clock.advance(5)
    assert breaker.allow()
    breaker.success(0)
    fail(breaker, 3)
    assert breaker.seconds_left == 1


def test_only_so_many_probes_at_a_time_and_as_many_successes_close_it(clock):
    breaker = opened(clock, probes=2)
    clock.advance(1)

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        assert one.submit(breaker.allow).result()
        assert two.submit(breaker.allow).result()
        assert not breaker.allow()
        one.submit(breaker.success, 0).result()
        assert state(breaker) == "half_open"
        assert breaker.allow()
        two.submit(breaker.success, 0).result()
        assert state(breaker) == "closed"


def test_one_failed_probe_of_two_opens_it_and_the_others_success_comes_too_late(clock):
    breaker = opened(clock, probes=2)
    clock.advance(1)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        one.submit(breaker.allow).result()
        two.submit(breaker.allow).result()
        one.submit(breaker.failure).result()
        two.submit(breaker.success, 0).result()
        two.submit(breaker.success, 0).result()
    assert state(breaker) == "open"
    assert breaker.seconds_left == 2


def test_what_was_begun_before_it_opened_is_no_probe(clock):
    breaker = opened(clock)
    breaker.failure()
    assert breaker.seconds_left == 1  # open: a late failure prolongs nothing
    clock.advance(1)
    assert breaker.allow()

    for _ in range(5):
        elsewhere(breaker.failure)
        elsewhere(breaker.success, 0)
        elsewhere(breaker.success, 9)

    assert state(breaker) == "half_open"
    breaker.success(0)
    assert state(breaker) == "closed"


def test_what_was_begun_before_it_closed_does_not_open_it_again(clock):
    breaker = opened(clock)
    clock.advance(1)
    assert breaker.allow()
    breaker.success(0)

    clock.advance(0.5)
    for _ in range(5):
        breaker.failure(0.6)
        breaker.success(0.6)
    assert state(breaker) == "closed"
    for _ in range(3):
        breaker.failure(0.5)
    assert state(breaker) == "open"


def test_a_probe_that_never_reports_is_given_up(clock):
    breaker = opened(clock)
    clock.advance(1)
    assert elsewhere(breaker.allow)
    clock.advance(1.9)
    assert not breaker.allow()
    clock.advance(0.1)

    assert breaker.allow()
    assert not elsewhere(breaker.allow)
    breaker.success(0)
    assert state(breaker) == "closed"


def test_a_lost_probe_that_reports_late_says_nothing(clock):
    breaker = opened(clock)
    clock.advance(1)
    with ThreadPoolExecutor(1) as lost:
        assert lost.submit(breaker.allow).result()
        clock.advance(3)
        assert breaker.allow()
        lost.submit(breaker.failure).result()
    assert state(breaker) == "half_open"


def test_who_asks_again_without_a_report_has_given_its_probe_up(clock):
    breaker = opened(clock)
    clock.advance(1)
    assert breaker.allow()
    assert breaker.allow()
    breaker.success(0)
    assert state(breaker) == "closed"


def test_two_tasks_of_one_thread_are_two_callers(clock):
    async def main() -> None:
        breaker = opened(clock)
        clock.advance(1)
        admitted, late = asyncio.Event(), asyncio.Event()

        async def probe() -> None:
            assert breaker.allow()
            admitted.set()
            await late.wait()
            assert state(breaker) == "half_open"
            breaker.success(0)

        async def begun_before() -> None:
            await admitted.wait()
            assert not breaker.allow()
            breaker.failure()
            late.set()

        await asyncio.gather(probe(), begun_before())
        assert state(breaker) == "closed"

    asyncio.run(main())


@pytest.mark.parametrize("probes", [1, 3])
def test_threads_that_ask_at_once_are_not_all_let_through(clock, probes):
    threads = 8
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(100):
            breaker = opened(clock, probes=probes)
            clock.advance(1)
            barrier = threading.Barrier(threads)

            def ask(breaker: CircuitBreaker = breaker, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait()
                return breaker.allow()

            asked = [pool.submit(ask) for _ in range(threads)]
            assert sum(one.result() for one in asked) == probes


def test_threads_that_fail_at_once_open_it_once(clock):
    heard = []
    breaker = CircuitBreaker(POLICY, clock=clock)
    breaker.on_change(lambda one, old, new: heard.append((old, new)))
    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(fail, breaker, 50) for _ in range(8)]:
            one.result()
    assert heard == [("closed", "open")]
    assert breaker.seconds_left == 1


def test_listeners_hear_of_each_change_in_order_and_may_ask_back(clock):
    breaker = opened(clock)
    heard = []

    def listener(one, old, new) -> None:
        assert one is breaker
        assert not elsewhere(one._lock.locked)
        heard.append((old, new, one.state))

    breaker.on_change(listener)
    clock.advance(1)
    breaker.allow()
    breaker.failure()
    clock.advance(2)
    breaker.allow()
    breaker.success(0)
    assert [new for _, new, _ in heard] == ["half_open", "open", "half_open", "closed"]
    assert all(new == state for _, new, state in heard)


def test_a_listener_that_changes_the_state_is_heard_out_and_the_order_kept(clock):
    breaker = CircuitBreaker(POLICY, clock=clock)
    heard = []
    breaker.on_change(lambda one, old, new: one.reset() if new == "open" else None)
    breaker.on_change(lambda one, old, new: heard.append(new))
    breaker.force_open()
    assert heard == ["open", "closed"]


def test_changes_made_by_threads_at_once_are_told_in_order(clock):
    breaker = CircuitBreaker(POLICY, clock=clock)
    heard = []
    breaker.on_change(lambda one, old, new: heard.append((old, new)))

    def toggle() -> None:
        for _ in range(200):
            breaker.force_open()
            breaker.reset()

    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(toggle) for _ in range(4)]:
            one.result()
    assert heard[-1][1] == state(breaker) == "closed"
    assert all(before[1] == after[0] for before, after in itertools.pairwise(heard))


def test_a_listener_that_raises_is_logged_and_the_next_one_told(breaker, caplog):
    heard = []
    breaker.on_change(lambda *_: 1 / 0)
    breaker.on_change(lambda *change: heard.append(change))
    with caplog.at_level(logging.ERROR, "noa_perf.core"):
        fail(breaker, 3)
    assert "listener of the circuit breaker test failed" in caplog.text
    assert heard == [(breaker, "closed", "open")]


def test_forced_open_it_stays_so_until_it_is_reset(breaker, clock):
    breaker.force_open()
    clock.advance(1e9)
    assert not breaker.allow()
    assert breaker.seconds_left == float("inf")
    breaker.reset()
    assert breaker.allow()


def test_a_probe_does_not_close_what_was_forced_open_meanwhile(clock):
    breaker = opened(clock)
    clock.advance(1)
    assert breaker.allow()
    breaker.force_open()
    breaker.success(0)
    assert not breaker.allow()


def test_a_reset_forgets_what_was_counted_and_how_long_it_had_waited(breaker):
    fail(breaker, 2)
    breaker.reset()
    fail(breaker, 2)
    assert state(breaker) == "closed"


def test_no_lock_is_touched_while_all_is_well(breaker):
    class Untouchable:
        def __enter__(self):
            raise AssertionError("locked")

        __exit__ = acquire = __enter__

    breaker._lock = Untouchable()
    assert breaker.allow()
    breaker.success(0.01)


def test_a_child_is_not_held_up_by_a_lock_that_the_parent_held(breaker):
    with breaker._lock:
        pid = os.fork()
        if pid == 0:
            breaker.force_open()
            os._exit(0 if state(breaker) == "open" else 1)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_nothing_keeps_a_breaker_that_nobody_has(clock):
    gone = weakref.ref(CircuitBreaker(POLICY, clock=clock))
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "numbers",
    [{"failures": 0}, {"probes": 0}, {"window": 0}, {"cooldown": -1}, {"cooldown": 2, "max_cooldown": 1}],
)
def test_numbers_with_which_it_could_not_work_are_refused(numbers):
    with pytest.raises(ValueError, match=rf"{list(numbers)[-1]} is .* has to be"):
        BreakerPolicy(**numbers)


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["ask", "fail", "succeed", "drag", "late failure"]),
        st.floats(0, 3).map(lambda seconds: round(seconds, 2)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_it_lets_calls_through_again(steps):
    clock = ManualClock()
    breaker = CircuitBreaker(POLICY, clock=clock)
    reports: dict[str, Callable[[], object]] = {
        "ask": breaker.allow,
        "fail": breaker.failure,
        "succeed": lambda: breaker.success(0),
        "drag": lambda: breaker.success(1),
        "late failure": lambda: breaker.failure(2),
    }
    for step in steps:
        if isinstance(step, float):
            clock.advance(step)
        else:
            reports[step]()
        assert breaker.closed == (state(breaker) == "closed")
        assert breaker.seconds_left <= POLICY.max_cooldown

    clock.advance(POLICY.max_cooldown)
    assert breaker.allow()
    breaker.success(0)
    assert state(breaker) == "closed"
