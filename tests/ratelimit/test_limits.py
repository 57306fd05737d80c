"""What a limit says of its worst case: no adversary gets more, and one gets just as much."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noa_perf.ratelimit.algorithms.base import EXACT
from noa_perf.ratelimit.limits import Limit
from noa_perf.ratelimit.rates import MAX_UNITS

ALGORITHMS = ["fixed_window", "sliding_log", "sliding_counter", "token_bucket", "leaky_bucket", "gcra"]
PERIOD = 1_000_000
WAITS = st.sampled_from([0, 1, 999, 50_000, 99_999, 500_000, 999_999])
SHAPES: list[dict[str, Any]] = [
    *({"algorithm": name} for name in ALGORITHMS),
    *({"algorithm": name, "guarantee": "window"} for name in ALGORITHMS[1:]),
    *({"algorithm": name, "burst": 3} for name in ALGORITHMS[3:]),
    *({"algorithm": name, "burst": 3, "guarantee": "window"} for name in ALGORITHMS[3:]),
    {"algorithm": "gcra", "burst": 25},
]


class Client:
    """Somebody who asks one limit, and remembers when he was admitted."""

    def __init__(self, limit):
        self.arithmetic = limit.arithmetic
        self.state = None
        self.admitted: list[int] = []

    def ask(self, now, cost=1):
        new = self.arithmetic.admit(self.state, now, cost)
        if new is None:
            return False
        self.state = self.arithmetic.commit(new, now, cost)
        self.admitted += [now] * cost
        return True

    def most(self, period=PERIOD):
        """The most units in any window, open at its end."""
        found = first = 0
        for last, moment in enumerate(self.admitted):
            while self.admitted[first] <= moment - period:
                first += 1
            found = max(found, last - first + 1)
        return found


def greedy(limit, begin):
    """Take all there is at one moment, then whatever comes, as early as it comes."""
    client, now = Client(limit), begin
    while now < begin + 3 * PERIOD:
        while client.ask(now):
            pass
        figures = client.arithmetic.figures(client.state, now, 1, False)
        now += max(1, figures.retry)
    return client.most()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
def test_an_adversary_gets_the_worst_case_and_no_more(shape):
    limit = Limit.parse("10/s", **shape)
    border = 10**15 // PERIOD * PERIOD
    begins = [border, border - 1, border - 2, border - PERIOD // 10, border - PERIOD // 2]
    assert max(greedy(limit, begin) for begin in begins) == limit.worst_case


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    start=st.integers(10**14, 10**15),
    steps=st.lists(st.tuples(WAITS, st.integers(1, 4)), max_size=60),
)
def test_nobody_ever_gets_more_than_the_worst_case(shape, start, steps):
    limit = Limit.parse("10/s", **shape)
    client, now = Client(limit), start
    for wait, cost in steps:
        now += wait
        client.ask(now, cost)
    assert client.most() <= limit.worst_case


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
@settings(max_examples=40)
@given(
    start=st.integers(10**14, 10**15),
    steps=st.lists(st.tuples(st.integers(0, 400_000), st.integers(1, 4)), min_size=1, max_size=40),
    wanted=st.integers(1, 3),
)
def test_who_waits_as_long_as_told_is_let_in_and_not_a_microsecond_earlier(shape, start, steps, wanted):
    limit = Limit.parse("10/s", **shape)
    client, now = Client(limit), start
    for wait, cost in steps:
        now += wait
        client.ask(now, cost)
    if limit.arithmetic.admit(client.state, now, wanted) is None:
        retry = client.arithmetic.figures(client.state, now, wanted, False).retry
        if wanted > limit.size:
            assert retry == -1
            return
        assert retry > 0
        assert limit.arithmetic.admit(client.state, now + retry - 1, wanted) is None
        assert limit.arithmetic.admit(client.state, now + retry, wanted) is not None


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
@given(start=st.integers(10**14, 10**15), asked=st.integers(1, 30), more=st.integers(0, 3_000_000))
def test_after_the_reset_all_is_there_again(shape, start, asked, more):
    limit = Limit.parse("10/s", **shape)
    client = Client(limit)
    for _ in range(asked):
        client.ask(start)
    reset = client.arithmetic.figures(client.state, start, 0, True).reset
    assert client.arithmetic.figures(client.state, start + reset + more, 0, True).remaining == limit.size


def test_shapes_have_the_bursts_that_the_reference_states():
    assert Limit.parse("10/s").size == 10
    assert Limit.parse("10/s", algorithm="leaky_bucket").size == 1
    assert Limit.parse("10/s", guarantee="window").size == 5
    assert Limit.parse("1/s", guarantee="window").worst_case == 1
    assert Limit.parse("10/s", burst=3).size == 3


@given(limit=st.integers(1, MAX_UNITS), period=st.sampled_from([1, 60, 3_600, 86_400, 30 * 86_400, 366 * 86_400]))
def test_numbers_that_lua_counts_stay_exact(limit, period):
    for shape in SHAPES[:11]:
        one = Limit.parse((limit, period), **shape)
        assert all(0 <= number <= EXACT for number in one.arithmetic.arguments)
        assert one.arithmetic.admit(None, 1_795_000_000_000_000, min(limit, one.size)) is not None


@pytest.mark.parametrize("shape", SHAPES[:6], ids=lambda shape: "-".join(map(str, shape.values())))
def test_a_clock_that_is_set_back_stops_nobody_for_long(shape):
    limit = Limit.parse("10/s", **shape)
    client = Client(limit)
    for _ in range(20):
        client.ask(10**15)
    back = 10**15 - 3_600 * 1_000_000
    assert client.ask(back + 2 * PERIOD + 1) or client.ask(back + 4 * PERIOD)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
@settings(max_examples=150)
@given(
    start=st.integers(10**15, 10**15 + PERIOD),
    before=st.lists(st.tuples(WAITS, st.integers(1, 9)), max_size=6),
    cost=st.integers(1, 9),
    between=st.lists(st.tuples(st.sampled_from([0, 1, 50_000, 999_999, 3 * PERIOD]), st.integers(1, 9)), max_size=6),
    after=st.sampled_from([0, 1, 50_000, PERIOD, 2 * PERIOD]),
)
def test_what_is_given_back_leaves_nobody_more_than_if_it_had_never_been_charged(
    shape, start, before, cost, between, after
):
    limit = Limit.parse({"rate": "10/s", **shape})
    own, other, now = Client(limit), Client(limit), start
    for wait, units in before:
        now += wait
        assert own.ask(now, units) == other.ask(now, units)
    if not own.ask(at := now, cost):
        return
    for wait, units in between:
        now += wait
        if own.ask(now, units):
            assert other.ask(now, units)
    own.state = limit.arithmetic.give(own.state, now, cost, at)
    for moment in (now, now + after):
        left = [limit.arithmetic.figures(one.state, moment, 0, True).remaining for one in (own, other)]
        assert left[0] <= left[1]
        assert moment > at or left[0] == left[1]
