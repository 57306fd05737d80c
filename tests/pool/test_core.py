"""What any pool has to do, on a driver without a database: the time and every answer are told to it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from noa_perf.core.clock import ManualClock
from noa_perf.pool import leaks, registry, stacks
from noa_perf.pool.core import Pool
from noa_perf.pool.exceptions import PoolClosed, PoolFull, PoolTimeout
from noa_perf.pool.housekeeper import Housekeeper, Keeper
from noa_perf.pool.options import PoolOptions
from tests.pool.fake import FakeConnection, FakeDriver

GUARD = 20.0
"""Seconds after which a thread hangs."""


class Bench:
    """A pool with its driver and its clock, and threads to ask of it."""

    def __init__(self, **options: Any) -> None:
        self.driver = FakeDriver()
        self.clock = ManualClock()
        self.pool: Pool[FakeConnection] = Pool("default", self.driver, PoolOptions(**options), self.clock, lambda: 0.0)
        self.pool.patience = 0.005
        self.keeper = Keeper(self.pool, self.clock)
        self.threads: list[threading.Thread] = []

    def start(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """Do ``work`` in a thread; what is returned waits for what came of it, and raises what was raised."""
        came: list[Any] = []

        def run() -> None:
            try:
                came.append((work(), None))
            except BaseException as error:  # noqa: BLE001  (handed to whoever asks)
                came.append((None, error))

        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()

        def result() -> Any:
            thread.join(GUARD)
            assert came, "it hangs"
            value, error = came[0]
            if error is not None:
                raise error
            return value

        return result

    def until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds."""
        deadline = time.monotonic() + GUARD
        while not condition():
            assert time.monotonic() < deadline, "it does not come true"
            time.sleep(0.001)

    def waiting(self, many: int) -> None:
        self.until(lambda: self.pool.state().waiting == many)


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make
    for one in made:
        one.pool.close()
        for thread in one.threads:
            thread.join(GUARD)
            assert not thread.is_alive()


class TestTaking:
    def test_one_that_came_back_is_given_out_again(self, bench: Callable[..., Bench]) -> None:
        one = bench()
        entry = one.pool.acquire()
        one.pool.release(entry)
        assert one.pool.acquire() is entry
        assert len(one.driver.opened) == 1

    def test_who_had_one_before_gets_it_again_and_others_the_last_that_came_back(
        self, bench: Callable[..., Bench]
    ) -> None:
        one = bench()
        first, second = one.pool.acquire(), one.pool.acquire()
        one.pool.release(first)
        one.pool.release(second)
        assert one.pool.acquire(again=first) is first
        assert one.pool.acquire(again=first) is second

    def test_there_are_never_more_than_max_size(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=3)
        held = [one.pool.acquire() for _ in range(3)]
        results = [one.start(one.pool.acquire) for _ in range(5)]
        one.waiting(5)
        assert len(one.driver.opened) == 3
        for entry in held:
            one.pool.release(entry)
        one.waiting(2)
        assert len(one.driver.opened) == 3
        for result in results[:3]:
            one.pool.release(result())
        for result in results[3:]:
            one.pool.release(result())

    def test_giving_back_twice_changes_nothing(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=1)
        entry = one.pool.acquire()
        one.pool.release(entry)
        one.pool.release(entry)
        assert one.pool.state().idle == 1
        one.pool.acquire()
        result = one.start(one.pool.acquire)
        one.waiting(1)
        one.pool.close()
        with pytest.raises(PoolClosed):
            result()


class TestQueue:
    def test_who_comes_first_is_served_first(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=1)
        entry = one.pool.acquire()
        served: list[int] = []

        def take(number: int) -> None:
            mine = one.pool.acquire()
            served.append(number)
            one.pool.release(mine)

        results = []
        for number in range(10):
            results.append(one.start(lambda number=number: take(number)))  # type: ignore[misc]
            one.waiting(number + 1)
        one.pool.release(entry)
        for result in results:
            result()
        assert served == list(range(10))

    def test_nobody_overtakes_those_who_wait(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=1, timeout=5.0)
        entry = one.pool.acquire()
        first = one.start(one.pool.acquire)
        one.waiting(1)
        one.pool.release(entry)
        got = first()
        # It was put into the hands of who waited: at no time was it idle for somebody else to take.
        second = one.start(one.pool.acquire)
        one.waiting(1)
        one.pool.release(got)
        assert second() is entry

    def test_who_waits_too_long_is_told_who_has_them(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=2, timeout=5.0)
        one.pool.acquire()
        one.clock.advance(1.5)
        one.pool.acquire()
        result = one.start(one.pool.acquire)
        one.waiting(1)
        one.clock.advance(5.0)
        with pytest.raises(
            PoolTimeout, match=r"'default'.*5 s.*2 of 2 in use.*6.5 s by MainThread.*test_core.py"
        ) as told:
            result()
        assert "max_size" in str(told.value)
        assert one.pool.figures.timeouts == 1
        assert one.pool.state().waiting == 0

    def test_what_is_handed_over_in_the_last_moment_is_not_lost(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=1, timeout=5.0)
        for _ in range(200):
            entry = one.pool.acquire()
            result = one.start(one.pool.acquire)
            one.waiting(1)
            moves = [lambda: one.clock.advance(5.0), lambda entry=entry: one.pool.release(entry)]  # type: ignore[misc]
            random.shuffle(moves)
            both = [one.start(move) for move in moves]
            for each in both:
                each()
            try:
                one.pool.release(result())
            except PoolTimeout:
                pass
            assert one.pool.state().idle == 1
            assert one.pool.state().used == 0

    def test_one_too_many_is_turned_away_at_once(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=1, max_waiting=2)
        entry = one.pool.acquire()
        waiting = [one.start(one.pool.acquire) for _ in range(2)]
        one.waiting(2)
        with pytest.raises(PoolFull, match="max_waiting"):
            one.pool.acquire()
        assert one.pool.figures.refused == 1
        one.pool.release(entry)
        for result in waiting:
            one.pool.release(result())

    def test_many_threads_lose_nothing(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=3, timeout=1_000.0)
        inside, most = [0], [0]
        guard = threading.Lock()

        def work() -> None:
            for _ in range(100):
                entry = one.pool.acquire()
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                if random.random() < 0.05:
                    entry.connection.there = False
                with guard:
                    inside[0] -= 1
                one.pool.release(entry)

        for result in [one.start(work) for _ in range(30)]:
            result()
        state = one.pool.state()
        assert most[0] <= 3
        assert (state.used, state.waiting, state.opening) == (0, 0, 0)
        assert state.uses == 3_000
        assert len(one.driver.open_now) == state.idle <= 3


class TestOpening:
    def test_an_error_that_stays_goes_to_whom_it_concerns(self, bench: Callable[..., Bench]) -> None:
        one = bench()

        def wrong() -> None:
            raise PermissionError("password")

        one.driver.before_open = wrong
        with pytest.raises(PermissionError):
            one.pool.acquire()
        assert one.pool.state().opening == 0
        one.driver.before_open = lambda: None
        one.pool.acquire()

    def test_a_server_that_is_away_is_tried_again_until_the_timeout(self, bench: Callable[..., Bench]) -> None:
        one = bench(timeout=5.0)
        tried = []

        def refuse() -> None:
            tried.append(one.clock.monotonic())
            one.clock.advance(0.3)
            raise ConnectionRefusedError("connection refused\nmore")

        one.driver.before_open = refuse
        with pytest.raises(PoolTimeout, match="connection refused") as told:
            one.start(lambda: self._ticking(one))()
        assert isinstance(told.value.__cause__, ConnectionRefusedError) or "reached" in str(told.value)
        assert len(tried) > 2
        assert one.pool.figures.failures["ConnectionRefusedError"] == len(tried)
        assert one.pool.state().opening == 0

    def _ticking(self, one: Bench) -> Any:
        stop = threading.Event()

        def tick() -> None:
            while not stop.wait(0.001):
                one.clock.advance(0.05)

        ticker = threading.Thread(target=tick)
        ticker.start()
        try:
            return one.pool.acquire()
        finally:
            stop.set()
            ticker.join()

    def test_only_one_tries_whether_it_is_back_and_the_others_follow(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=5, timeout=60.0)
        trying, most, away = [0], [0], [True]
        guard = threading.Lock()

        def refuse() -> None:
            with guard:
                trying[0] += 1
                most[0] = max(most[0], trying[0])
            time.sleep(0.001)
            with guard:
                trying[0] -= 1
            if away[0]:
                raise ConnectionRefusedError

        one.driver.before_open = refuse
        with pytest.raises(ConnectionRefusedError):
            refuse()
        first = one.start(one.pool.acquire)
        one.until(lambda: one.pool.figures.failures["ConnectionRefusedError"] > 0)
        most[0] = 0
        others = [one.start(one.pool.acquire) for _ in range(9)]
        one.waiting(10)
        for _ in range(20):
            one.clock.advance(0.2)
            time.sleep(0.002)
        assert most[0] <= 1
        away[0] = False
        one.clock.advance(2.0)
        taken = [first()]
        one.until(lambda: len(one.driver.open_now) == 5)
        del taken
        self._serve_all(one, others)

    def _serve_all(self, one: Bench, results: list[Callable[[], Any]]) -> None:
        stop = threading.Event()

        def give_back() -> None:
            while not stop.wait(0.001):
                for entry in list(one.pool._places.taken):
                    one.pool.release(entry)

        helper = threading.Thread(target=give_back)
        helper.start()
        for result in results:
            result()
        stop.set()
        helper.join()

    def test_one_that_has_others_waits_for_them_rather_than_fail(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=2, timeout=5.0)
        entry = one.pool.acquire()

        def wrong() -> None:
            raise PermissionError("password")

        one.driver.before_open = wrong
        result = one.start(one.pool.acquire)
        one.waiting(1)
        one.pool.release(entry)
        assert result() is entry


class TestFitness:
    def test_a_dead_one_is_not_given_out(self, bench: Callable[..., Bench]) -> None:
        one = bench()
        entry = one.pool.acquire()
        one.pool.release(entry)
        entry.connection.there = False
        assert one.pool.acquire() is not entry
        assert entry.connection.closed == 1
        assert one.pool.figures.recycled == {"dead": 1}

    def test_a_dead_one_makes_those_that_are_older_suspect(self, bench: Callable[..., Bench]) -> None:
        one = bench(ping_after=1_000.0)
        held = [one.pool.acquire() for _ in range(3)]
        for entry in held:
            one.pool.release(entry)
        held[2].connection.there = False
        held[1].connection.answers = False
        one.clock.advance(1.0)
        assert one.pool.acquire() is held[0]
        assert one.driver.pings == 2
        assert one.pool.figures.recycled == {"dead": 1, "silent": 1}
        one.pool.release(held[0])
        one.pool.acquire()
        assert one.driver.pings == 2, "one that answered is above suspicion"

    def test_one_that_idled_for_long_is_asked_first(self, bench: Callable[..., Bench]) -> None:
        one = bench(ping_after=30.0)
        entry = one.pool.acquire()
        one.pool.release(entry)
        one.clock.advance(29.0)
        one.pool.release(one.pool.acquire())
        assert one.driver.pings == 0
        one.clock.advance(31.0)
        one.pool.release(one.pool.acquire())
        assert one.driver.pings == 1

    def test_those_that_are_silent_take_no_longer_than_the_timeout(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=9, timeout=3.0, ping_after=0.0)
        for entry in [one.pool.acquire() for _ in range(9)]:
            entry.connection.answers = False
            one.pool.release(entry)
        one.driver.before_ping = lambda: one.clock.advance(1.0)
        one.clock.advance(1.0)
        with pytest.raises(PoolTimeout):
            one.pool.acquire()
        assert one.driver.pings == 1 + 3
        assert len(one.driver.open_now) == 5

    def test_none_lives_for_longer_than_max_lifetime(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_lifetime=100.0)
        entry = one.pool.acquire()
        one.clock.advance(99.0)
        one.pool.release(entry)
        assert one.pool.acquire() is entry
        one.clock.advance(1.0)
        one.pool.release(entry)
        assert entry.connection.closed == 1
        assert one.pool.figures.recycled == {"lifetime": 1}

    def test_one_that_cannot_be_put_in_order_is_closed(self, bench: Callable[..., Bench]) -> None:
        one = bench()
        entry = one.pool.acquire()
        entry.connection.untidy = True
        one.pool.release(entry)
        assert entry.connection.closed == 1
        assert one.pool.figures.recycled == {"untidy": 1}

    def test_what_was_put_in_order_is_counted_and_a_transaction_told_once(
        self, bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "noa_perf.pool")
        one = bench()
        for _ in range(3):
            entry = one.pool.acquire()
            entry.connection.found = ("transaction", "session")
            one.pool.release(entry)
        assert one.pool.figures.cleaned == {"transaction": 3, "session": 3}
        (record,) = caplog.records
        assert "test_core.py" in record.getMessage()


class TestInterrupted:
    """By what a signal's handler raises: gunicorn's and Celery's time limits, Ctrl-C."""

    def interrupt(self, *_: Any) -> Any:
        raise KeyboardInterrupt

    def test_whoever_is_while_a_connection_is_checked_loses_no_place(
        self, bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = bench(max_size=1, ping_after=0.0)
        one.pool.release(one.pool.acquire())
        one.clock.advance(1.0)
        with monkeypatch.context() as patched:
            patched.setattr(one.driver, "ping", self.interrupt)
            with pytest.raises(KeyboardInterrupt):
                one.pool.acquire()
        assert one.driver.open_now == []
        one.pool.release(one.pool.acquire())

    def test_whoever_is_while_one_is_put_in_order_loses_no_place(
        self, bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = bench(max_size=1)
        entry = one.pool.acquire()
        with monkeypatch.context() as patched:
            patched.setattr(one.driver, "tidy", self.interrupt)
            with pytest.raises(KeyboardInterrupt):
                one.pool.release(entry)
        assert one.driver.open_now == []
        one.pool.release(one.pool.acquire())


class TestClosing:
    def test_those_who_wait_are_told(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=1)
        entry = one.pool.acquire()
        results = [one.start(one.pool.acquire) for _ in range(3)]
        one.waiting(3)
        one.pool.close()
        for result in results:
            with pytest.raises(PoolClosed, match="default"):
                result()
        assert entry.connection.closed == 0
        one.pool.release(entry)
        assert entry.connection.closed == 1
        with pytest.raises(PoolClosed):
            one.pool.acquire()

    def test_one_that_is_being_opened_is_closed_too(self, bench: Callable[..., Bench]) -> None:
        one = bench()
        opening, go = threading.Event(), threading.Event()

        def slowly() -> None:
            opening.set()
            assert go.wait(GUARD)

        one.driver.before_open = slowly
        result = one.start(one.pool.acquire)
        assert opening.wait(GUARD)
        one.pool.close()
        go.set()
        with pytest.raises(PoolClosed):
            result()
        assert one.driver.open_now == []
        assert one.pool.state().opening == 0

    def test_one_that_comes_back_while_the_pool_closes_is_closed(self, bench: Callable[..., Bench]) -> None:
        for _ in range(100):
            one = bench()
            entry = one.pool.acquire()
            both = [one.start(one.pool.close), one.start(lambda one=one, entry=entry: one.pool.release(entry))]  # type: ignore[misc]
            for each in both:
                each()
            assert entry.connection.closed == 1


class TestOperating:
    def test_a_drain_closes_idle_ones_now_and_others_when_they_come_back(self, bench: Callable[..., Bench]) -> None:
        one = bench()
        idle, busy = one.pool.acquire(), one.pool.acquire()
        one.pool.release(idle)
        one.pool.drain()
        assert (idle.connection.closed, busy.connection.closed) == (1, 0)
        one.pool.release(busy)
        assert busy.connection.closed == 1
        assert one.pool.acquire() not in {idle, busy}
        assert one.pool.figures.recycled == {"drained": 2}

    def test_a_drain_closes_one_that_was_being_opened(self, bench: Callable[..., Bench]) -> None:
        one = bench()
        one.driver.before_open = one.pool.drain
        entry = one.pool.acquire()
        one.pool.release(entry)
        assert one.driver.open_now == []

    def test_a_smaller_limit_closes_what_is_too_many(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=4)
        held = [one.pool.acquire() for _ in range(4)]
        one.pool.release(held[0])
        one.pool.resize(2)
        one.pool.release(held[1])
        assert len(one.driver.open_now) == 2
        one.pool.release(held[2])
        one.pool.release(held[3])
        assert len(one.driver.open_now) == 2

    def test_a_greater_limit_serves_those_who_wait(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=1)
        one.pool.acquire()
        result = one.start(one.pool.acquire)
        one.waiting(1)
        one.pool.resize(2)
        assert result().connection.number == 1


class TestKeeping:
    def test_min_size_is_opened_and_kept(self, bench: Callable[..., Bench]) -> None:
        one = bench(min_size=3, max_idle=10.0, ping_after=1_000.0)
        one.keeper.tend()
        assert one.pool.state().idle == 3
        one.clock.advance(11.0)
        one.keeper.tend()
        assert one.pool.state().idle == 3
        assert len(one.driver.opened) == 3

    def test_what_is_being_opened_counts(self, bench: Callable[..., Bench]) -> None:
        one = bench(min_size=1, max_size=5)
        opening, go = threading.Event(), threading.Event()

        def slowly() -> None:
            one.driver.before_open = lambda: None  # the first alone
            opening.set()
            assert go.wait(GUARD)

        one.driver.before_open = slowly
        result = one.start(one.pool.acquire)
        assert opening.wait(GUARD)
        one.keeper.tend()
        go.set()
        result()
        assert len(one.driver.opened) == 1

    def test_what_demand_does_not_call_for_is_closed_after_max_idle(self, bench: Callable[..., Bench]) -> None:
        one = bench(min_size=1, max_size=10, max_idle=100.0, ping_after=1_000.0)
        held = [one.pool.acquire() for _ in range(6)]
        for entry in held:
            one.pool.release(entry)
        one.keeper.tend()
        one.clock.advance(99.0)
        one.keeper.tend()
        assert one.pool.state().idle == 6
        one.clock.advance(2.0)
        one.keeper.tend()
        assert one.pool.state().idle == 1
        assert one.pool.figures.recycled == {"idle": 5}
        assert [step.after for step in one.keeper.steps] == [6, 1]
        assert "shrunk by 5" in one.keeper.steps[-1].why

    def test_what_demand_calls_for_is_kept(self, bench: Callable[..., Bench]) -> None:
        one = bench(min_size=1, max_size=20, max_idle=50.0, ping_after=1_000.0)
        for entry in [one.pool.acquire() for _ in range(10)]:
            one.pool.release(entry)
        # Two a second, each held for a second and a half: three in use, and twice the square root of that more.
        for _ in range(60):
            first, second = one.pool.acquire(), one.pool.acquire()
            one.keeper.tend()
            one.clock.advance(1.5)
            one.pool.release(first)
            one.pool.release(second)
        one.clock.advance(1.0)
        one.keeper.tend()
        assert 4 <= one.pool.state().open < 10

    def test_idle_ones_are_asked_in_the_background_so_that_no_request_has_to(self, bench: Callable[..., Bench]) -> None:
        one = bench(min_size=2, ping_after=30.0)
        one.keeper.tend()
        one.clock.advance(25.0)
        one.keeper.tend()
        assert one.driver.pings == 2
        one.clock.advance(25.0)
        one.pool.acquire()
        assert one.driver.pings == 2

    def test_dead_idle_ones_are_replaced(self, bench: Callable[..., Bench]) -> None:
        one = bench(min_size=2, ping_after=30.0)
        one.keeper.tend()
        for connection in one.driver.opened:
            connection.there = False
        one.clock.advance(25.0)
        one.keeper.tend()
        assert len(one.driver.open_now) == 2
        assert one.pool.figures.recycled == {"dead": 2}

    def test_a_server_that_is_away_is_not_stormed(self, bench: Callable[..., Bench]) -> None:
        one = bench(min_size=5)

        def refuse() -> None:
            raise ConnectionRefusedError

        one.driver.before_open = refuse
        for _ in range(10):
            one.keeper.tend()
        assert one.pool.figures.failures["ConnectionRefusedError"] <= 5


class Holder:
    """A thread that takes a connection, and gives it back when told to."""

    def __init__(self, one: Bench) -> None:
        self.entry: Any = None
        taken, self._go = threading.Event(), threading.Event()

        def hold() -> None:
            self.entry = one.pool.acquire()
            taken.set()
            assert self._go.wait(GUARD)
            one.pool.release(self.entry)

        self._done = one.start(hold)
        assert taken.wait(GUARD)

    def give_back(self) -> None:
        self._go.set()
        self._done()


class TestLeaks:
    def test_a_leak_is_told_once_with_the_line_that_took_it(
        self, bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "noa_perf.pool")
        one = bench(leak_threshold=30.0)
        holder = Holder(one)
        one.clock.advance(29.0)
        one.keeper.tend()
        assert caplog.records == []
        one.clock.advance(1.0)
        one.keeper.tend()
        one.keeper.tend()
        (record,) = caplog.records
        assert "30.0 s by thread Thread-" in record.getMessage()
        ((_, leak),) = one.keeper.leaks
        assert leak.line.endswith("in Holder.__init__.<locals>.hold")
        assert one.pool.figures.leaks == 1
        one.clock.advance(10.0)
        holder.give_back()
        assert "came back after 40.0 s" in caplog.records[-1].getMessage()

    def test_one_that_is_just_being_taken_is_none_though_it_idled_for_long(
        self, bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = bench(leak_threshold=30.0, ping_after=1_000.0)
        one.pool.release(one.pool.acquire())
        one.clock.advance(500.0)
        told: list[Any] = []

        def capture(above: int) -> Any:
            told.extend(one.pool.watch())  # as the housekeeper does, at any moment
            return ()

        monkeypatch.setattr(stacks, "capture", capture)
        one.start(one.pool.acquire)()
        assert told == []

    def test_one_that_is_taken_anew_can_leak_anew(self, bench: Callable[..., Bench]) -> None:
        one = bench(leak_threshold=30.0)
        for _ in range(2):
            holder = Holder(one)
            one.clock.advance(31.0)
            one.keeper.tend()
            holder.give_back()
        assert one.pool.figures.leaks == 2

    def test_a_command_may_hold_for_as_long_as_it_likes_and_a_request_may_not(
        self, bench: Callable[..., Bench]
    ) -> None:
        one = bench(leak_threshold=30.0)
        entry = one.pool.acquire()
        one.clock.advance(31.0)
        one.keeper.tend()
        assert one.pool.figures.leaks == 0
        entry.scope = object()
        one.keeper.tend()
        assert one.pool.figures.leaks == 1

    def test_a_threshold_of_nothing_reports_nothing(self, bench: Callable[..., Bench]) -> None:
        one = bench(leak_threshold=0)
        holder = Holder(one)
        one.clock.advance(10_000.0)
        one.keeper.tend()
        assert one.pool.figures.leaks == 0
        assert holder.entry.stack == ()
        holder.give_back()

    def test_one_whose_holder_nobody_knows_any_more_is_taken_back(self, bench: Callable[..., Bench]) -> None:
        import weakref

        class Wrapper:
            pass

        one = bench()
        wrapper = Wrapper()
        one.pool.acquire(weakref.ref(wrapper))
        one.clock.advance(1.0)
        one.pool.reap()
        assert one.pool.state().used == 1
        del wrapper
        one.clock.advance(1.0)
        one.pool.reap()
        assert one.pool.state().used == 0

    def test_one_that_another_thread_takes_meanwhile_is_not_taken_from_it(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=1)
        entry = one.pool.acquire()

        def gone_by_now() -> None:
            if entry.holder is gone_by_now:
                one.pool.release(entry)
                one.start(hold)
                assert held.wait(GUARD)

        def hold() -> None:
            one.pool.acquire(still_there)
            held.set()
            over.wait(GUARD)

        def still_there() -> object:
            return one

        held, over = threading.Event(), threading.Event()
        entry.holder = gone_by_now
        assert not leaks.gone(entry)
        assert entry.holder is still_there
        over.set()

    def test_what_a_thread_left_behind_is_taken_back_for_who_needs_it(self, bench: Callable[..., Bench]) -> None:
        one = bench(max_size=1)
        entry = one.start(one.pool.acquire)()
        one.clock.advance(1.0)
        assert one.pool.acquire() is entry
        assert one.pool.figures.orphans == 1

    def test_what_a_thread_left_behind_is_taken_back_in_the_background(self, bench: Callable[..., Bench]) -> None:
        one = bench()
        one.start(one.pool.acquire)()
        one.clock.advance(1.0)
        one.keeper.tend()
        assert one.pool.state().used == 0

    def test_so_is_that_of_one_which_python_did_not_start(self, bench: Callable[..., Bench]) -> None:
        import _thread

        one = bench()
        done = threading.Event()

        def work() -> None:
            one.pool.acquire()
            done.set()

        _thread.start_new_thread(work, ())
        assert done.wait(GUARD)

        def taken_back() -> bool:
            one.clock.advance(1.0)
            one.keeper.tend()
            return one.pool.state().used == 0

        one.until(taken_back)

    def test_no_frame_and_so_no_local_is_kept_alive(self, bench: Callable[..., Bench]) -> None:
        import weakref

        class Thing:
            pass

        one = bench()

        def take() -> tuple[Any, Any]:
            thing = Thing()
            return one.pool.acquire(), weakref.ref(thing)

        entry, reference = take()
        assert entry.stack
        assert reference() is None


def test_a_site_goes_on_where_no_housekeeper_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Housekeeper) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Housekeeper, "start", refuse)
    monkeypatch.setattr(registry, "_housekeeper", None)
    pool = registry.pool("lonely", lambda: Pool("lonely", FakeDriver(), PoolOptions()))
    try:
        pool.release(pool.acquire())
    finally:
        registry.close("lonely")
