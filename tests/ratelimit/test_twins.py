"""Each algorithm in Python and in Lua: the same actions on the same clock, and the same answers, step by step."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noa_perf.core.redis import Script
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.storages.base import Charge
from noa_perf.ratelimit.storages.memory import MemoryStorage
from noa_perf.ratelimit.storages.redis import RedisStorage, _asked
from tests.ratelimit.places import guard_of
from tests.servers import get
from tests.servers.redis import Redis

pytestmark = pytest.mark.server

CLOCK = "local time = redis.call('TIME')"
FAKE = "local fake = tonumber(redis.call('GET', 'clock'))\nlocal time = {math.floor(fake / 1000000), fake % 1000000}"
TTL = "math.floor(microseconds / 1000) + 1"
GRACE = 60_000
"""Milliseconds for which keys live on, so that none ends while the clock of the test stands still."""
_names = itertools.count()

SHAPES: list[dict[str, Any]] = [
    {"algorithm": "fixed_window"},
    {"algorithm": "sliding_log"},
    {"algorithm": "sliding_counter"},
    {"algorithm": "sliding_counter", "guarantee": "window"},
    {"algorithm": "token_bucket"},
    {"algorithm": "leaky_bucket", "burst": 3},
    {"algorithm": "gcra"},
    {"algorithm": "gcra", "guarantee": "window"},
]
RATES = ["1/s", "5/s", "7/3s", "100/m", "7777/30d", "3/ms"]


@pytest.fixture(scope="module")
def server():
    return get(Redis)


class Fake(RedisStorage):
    """Runs the scripts by a clock that a test sets: the line that asks for the time is another one."""

    def _call(self, call):
        return super()._call(call._replace(script=_faked(call.script.text)))


def _faked(text):
    assert text.count(CLOCK) == 1
    assert text.count(TTL) >= 1
    return Script(text.replace(CLOCK, FAKE).replace(TTL, f"{TTL} + {GRACE}"))


WAITS = [0, 0, 1, 999, 1_000, 33_333, 250_000, 999_999, 1_000_000, 3_000_000, 61_000_000, 10**12]
BACK = [-500_000, -7_200_000_000]
"""A clock that is set back."""
steps = st.lists(
    st.tuples(
        st.sampled_from(WAITS + BACK),
        st.sampled_from(["hit", "hit", "hit", "hit", "test", "take", "give"]),
        st.integers(0, 8),
    ),
    max_size=25,
)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_lua_and_python_agree_on_every_step(server, shape, rate, steps):
    policy = Policy.parse(f"twin{next(_names)}", {"limits": [rate], **shape})
    here, there = MemoryStorage(), Fake(guard_of(server), "twins")
    moment = 1_795_000_000_000_000
    redis = there.guard.clients.get()
    for wait, what, cost in steps:
        moment += wait
        here._nanoseconds = partial(int, moment * 1000)
        redis.set("clock", moment)
        began = milliseconds(redis)
        charges = [Charge(policy, "c", cost)]
        ours = [(one.allowed, *one.figures) for one in here.run(what, charges)]
        theirs = [(one.allowed, *one.figures) for one in there.run(what, charges)]
        assert ours == theirs
        if what == "hit" and cost and all(one[0] for one in ours):
            assert outlasts(redis, policy, began, ours[0][3])


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(WAITS),
            st.sampled_from(["hit", "hit", "hit", "hit", "test", "take", "give", "block"]),
            st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 4)), min_size=1, max_size=4),
        ),
        max_size=25,
    )
)
def test_they_agree_on_several_limits_and_clients_and_on_who_is_blocked(server, steps):
    shapes = [
        {"limits": [{"rate": "7/3s", **shape} for shape in SHAPES[:5]]},
        {"limits": ["5/s", "9/m"]},
        {"limits": ["2/s", {"rate": "3/m", "algorithm": "sliding_log"}], "shadow": True},
    ]
    policies = [Policy.parse(f"twin{next(_names)}", shape) for shape in shapes]
    here, there = MemoryStorage(), Fake(guard_of(server), "twins")
    moment = 1_795_000_000_000_000
    for wait, what, asked in steps:
        moment += wait
        here._nanoseconds = partial(int, moment * 1000)
        there.guard.clients.get().set("clock", moment)
        charges = {(number, client): Charge(policies[number], client, cost) for number, client, cost in asked}
        if what == "block":
            for policy, client, seconds in charges.values():
                for storage in (here, there):
                    storage.block(policy, client, seconds * 1_000_000)
        else:
            ours, theirs = (storage.run(what, [*charges.values()]) for storage in (here, there))
            assert [one.figures for one in ours] == [one.figures for one in theirs]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
@pytest.mark.parametrize("rate", ["7/3s", "3/ms", "7777/30d"])
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([*WAITS, *BACK]), st.sampled_from(["hit", "hit", "hit", "give"]), st.integers(0, 5)),
        max_size=25,
    )
)
def test_they_agree_on_what_is_given_back_of_an_earlier_moment(server, shape, rate, steps):
    policy = Policy.parse(f"twin{next(_names)}", {"limits": [rate], **shape})
    arithmetic, there = policy.limits[0].arithmetic, Fake(guard_of(server), "twins")
    charged: list[tuple[int, int]] = []
    state, moment = None, 1_795_000_000_000_000
    for wait, what, number in steps:
        moment += wait
        there.guard.clients.get().set("clock", moment)
        at, cost = 0, number
        if what == "give":
            if not charged:
                continue
            at, cost = charged.pop(number % len(charged))
            state = arithmetic.give(state, moment, cost, at)
        elif (new := arithmetic.admit(state, moment, cost)) is not None and cost:
            state = arithmetic.commit(new, moment, cost)
            charged.append((moment, cost))
        _, left, reset, _ = there._call(there._packed(what, _asked([Charge(policy, "c", cost)]), at))
        assert (left, reset) == arithmetic.figures(state, moment, cost, True)[1:3]


def milliseconds(redis):
    seconds, micros = redis.time()
    return seconds * 1000 + micros // 1000


def outlasts(redis, policy, began, reset):
    """Tell whether what was kept just now lasts until it no longer matters."""
    ends = redis.execute_command("PEXPIRETIME", f"twins:{{c}}:{policy.parts[0]}")
    assert ends > 0, "a key without an end, or none"
    return (ends - GRACE - began) * 1000 >= reset
