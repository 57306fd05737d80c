"""Rates and policies as people write them, and what they are told where that means nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.identity import compiled
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.rates import MAX_PERIOD, SECOND, UNITS, Rate, duration, span


@pytest.mark.parametrize(
    ("written", "limit", "seconds"),
    [
        ("100/m", 100, 60),
        (" 100 / Minute ", 100, 60),
        ("5/15m", 5, 900),
        ("10 per second", 10, 1),
        ("3 per 2 days", 3, 172_800),
        ("1_000_000/d", 1_000_000, 86_400),
        ("1/w", 1, 604_800),
        ("7/500ms", 7, 0.5),
        ((100, 60), 100, 60),
        ([5, 0.25], 5, 0.25),
        ((5, "1h"), 5, 3_600),
    ],
)
def test_ways_to_write_a_rate(written, limit, seconds):
    assert Rate.parse(written) == Rate(limit, round(seconds * SECOND))


@pytest.mark.parametrize(
    "written",
    ["", "100", "100/", "/m", "100/fortnight", "-1/s", "1.5/s", "0/s", "_/s", "1/0s", "1/400d", (1, 0), (1, -5),
     (10**12 + 1, 60), (True, 60), (1, float("nan")), (1, float("inf")), None, 5, "100/m extra", (1,), ("1", 60)],
)  # fmt: skip
def test_what_is_no_rate_is_told_how_to_write_one(written):
    with pytest.raises(BadPolicy):
        Rate.parse(written)


@given(st.integers(1, 10**6), st.integers(1_000, MAX_PERIOD))
def test_what_a_rate_prints_is_read_back(limit, period):
    period = period // 1_000 * 1_000
    assert Rate.parse(str(Rate(limit, period))) == Rate(limit, period)


@pytest.mark.parametrize("unit", UNITS)
def test_spans_are_read_back(unit):
    for many in (1, 7, 90):
        assert duration(span(many * UNITS[unit])) == many * UNITS[unit]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"limits": "1/s", "limit": "2/s"}, "'limit' is none of its keys"),
        ({}, "no limit"),
        ([], "no limit"),
        (["1/s", "1/s"], "twice"),
        ({"limits": "1/s", "on_failure": "shut"}, '"open" or "closed"'),
        ({"limits": "1/s", "on_denial": "raise"}, '"reject" or "mark"'),
        ({"limits": "1/s", "cost": -1}, "cost"),
        ({"limits": "1/s", "cost": "2"}, "cost"),
        ({"limits": "1/s", "shadow": "yes"}, "True or False"),
        ({"limits": "1/s", "methods": 5}, "list of names"),
        ({"limits": "1/s", "algorithm": "gcar"}, "gcra"),
        ({"limits": "1/s", "guarantee": "always"}, '"window"'),
        ({"limits": "1/s", "burst": 0}, "at least 1"),
        ({"limits": "1/s", "burst": True}, "at least 1"),
        ({"limits": "1/s", "burst": 10**19}, "at most"),
        ({"limits": "10000000000000000000/s"}, "larger units"),
        ({"limits": "1/s", "burst": 3, "algorithm": "sliding_log"}, "no burst"),
        ({"limits": "5/s", "burst": 6, "guarantee": "window"}, "smaller"),
        ({"limits": "5/s", "algorithm": "fixed_window", "guarantee": "window"}, "border"),
        ({"limits": {"rate": "5/s", "brust": 3}}, "brust"),
        ({"limits": {"burst": 3}}, "rate"),
    ],
)
def test_a_policy_that_cannot_be_meant_names_itself_and_the_cure(written, words):
    with pytest.raises(BadPolicy) as error:
        Policy.parse("search", written)
    assert "'search'" in str(error.value)
    assert words in str(error.value)


def test_lists_within_lists_are_read_once():
    policy = Policy.parse("a", {"limits": "1/s", "by": ["ip", ["user", "method"]]})
    assert policy.by == ("ip", ("user", "method"))
    assert compiled(policy.by) is compiled(policy.by)


@pytest.mark.parametrize("name", ["", "1a", "a b", "a:b", "a}", "ä", "x" * 65])
def test_a_name_has_to_fit_into_keys_and_headers(name):
    with pytest.raises(BadPolicy, match="name"):
        Policy.parse(name, "1/s")


def test_keys_of_limits_hold_for_all_and_each_may_have_its_own():
    policy = Policy.parse("a", {"limits": ["10/s", {"rate": "50/m", "algorithm": "sliding_log"}], "algorithm": "gcra"})
    assert [limit.algorithm for limit in policy.limits] == ["gcra", "sliding_log"]
    assert tuple(map(policy.label, policy.limits)) == ("a-10-s", "a-50-m")
