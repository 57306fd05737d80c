from __future__ import annotations

import re
from typing import Any

import pytest
from django.http import HttpResponse
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.ratelimit import headers
from noa_perf.ratelimit.algorithms.base import Figures
from noa_perf.ratelimit.decision import ALLOWED, Decision, Verdict
from noa_perf.ratelimit.headers import apply, fields
from noa_perf.ratelimit.policy import Policy

SECOND = 1_000_000


def verdict(policy: Policy, at: int = 0, *, left: int = 50, reset: int = 30 * SECOND, retry: int = 0) -> Verdict:
    return Verdict(policy, policy.limits[at], Figures(not retry, left, reset, retry))


def decided(*verdicts: Verdict, **more: Any) -> Decision:
    return Decision(all(one.allowed or one.policy.shadow for one in verdicts), verdicts, **more)


def policy(limits: Any = "100/m", name: str = "default", **more: Any) -> Policy:
    return Policy.parse(name, limits, **more)


def told(*decisions: Decision, style: headers.Style = "draft11", status: int = 200) -> dict[str, str]:
    response = HttpResponse(status=status)
    del response["Content-Type"]
    for decision in decisions:
        apply(response, decision, style)
    return dict(response.items())


def test_draft_11_has_an_item_for_each_limit():
    assert fields([decided(verdict(policy()))], "draft11") == {
        "RateLimit-Policy": '"default";q=100;w=60',
        "RateLimit": '"default";r=50;t=30',
    }
    several = policy(["10/s", "100/m"], name="api")
    assert fields([decided(verdict(several, 0, left=9, reset=1), verdict(several, 1))], "draft11") == {
        "RateLimit-Policy": '"api-10-s";q=10;w=1, "api-100-m";q=100;w=60',
        "RateLimit": '"api-10-s";r=9;t=1, "api-100-m";r=50;t=30',
    }


def test_limits_of_one_rate_have_names_of_their_own():
    alike = policy([{"rate": "9/s"}, {"rate": "9/s", "algorithm": "sliding_log"}, "100/m"])
    assert len({alike.label(limit) for limit in alike.limits}) == 3
    assert fields([decided(verdict(alike, 0), verdict(alike, 1))], "draft11")["RateLimit"].count(";r=") == 2


def test_what_has_one_value_tells_of_the_tightest():
    several = policy(["10/s", "100/m"])
    decision = decided(verdict(several, 0, left=7), verdict(several, 1, left=3))
    assert fields([decision], "draft6") == {
        "RateLimit-Limit": "100",
        "RateLimit-Remaining": "3",
        "RateLimit-Reset": "30",
        "RateLimit-Policy": "10;w=1, 100;w=60",
    }
    assert fields([decision], "legacy") == {
        "X-RateLimit-Limit": "100",
        "X-RateLimit-Remaining": "3",
        "X-RateLimit-Reset": "30",
    }


def test_nothing_is_told_of_shadows_nor_where_nobody_was_asked():
    shadow = policy(shadow=True, name="trial")
    assert fields([decided(verdict(shadow, left=0, retry=SECOND))], "draft11") == {}
    assert fields([decided(verdict(shadow), verdict(policy()))], "draft11")["RateLimit"] == '"default";r=50;t=30'
    assert fields([ALLOWED, Decision(True, degraded="down")], "legacy") == {}
    assert fields([], "draft11") == {}


def test_seconds_are_rounded_up():
    found = fields([decided(verdict(policy("5/1500ms"), left=5, reset=1))], "draft11")
    assert found == {"RateLimit-Policy": '"default";q=5;w=2', "RateLimit": '"default";r=5;t=1'}


def test_a_denial_says_when_to_come_back():
    denied = decided(verdict(policy(), left=0, reset=60 * SECOND, retry=2_000_001))
    assert fields([denied], "draft11") == {
        "RateLimit-Policy": '"default";q=100;w=60',
        "RateLimit": '"default";r=0;t=3',
        "Retry-After": "3",
    }
    assert fields([denied], "off") == {"Retry-After": "3"}
    assert fields([decided(verdict(policy(), retry=1))], "off") == {"Retry-After": "1"}


def test_a_denial_without_an_end_names_none():
    too_much = decided(verdict(policy(), retry=-1))
    assert "Retry-After" not in fields([too_much], "draft11")
    assert fields([too_much], "draft11")["RateLimit"] == '"default";r=50;t=30'
    assert fields([Decision(False, reason="deny")], "draft11") == {}
    assert fields([Decision(False, reason="ban", retry=90 * SECOND)], "draft11") == {"Retry-After": "90"}
    assert fields([Decision(False, reason="unavailable", retry=0)], "draft11") == {"Retry-After": "1"}


def test_a_burst_beyond_the_limit_is_not_promised():
    burst = decided(verdict(policy("100/m", burst=200), left=150, reset=120 * SECOND))
    assert fields([burst], "draft11") == {
        "RateLimit-Policy": '"default";q=100;w=60',
        "RateLimit": '"default";r=100;t=120',
    }


def test_a_bucket_that_keeps_every_window_tells_what_comes_back():
    kept = policy("100/m", guarantee="window")
    assert fields([decided(verdict(kept, left=50))], "draft11")["RateLimit-Policy"] == '"default";q=51;w=60'


MICROSECONDS = st.integers(0, 10**12)


@given(st.lists(st.tuples(st.integers(-5, 10**6), MICROSECONDS, st.integers(-1, 10**12)), min_size=1, max_size=4))
def test_nobody_is_told_less_time_or_more_quota_than_there_is(limits):
    verdicts = [
        verdict(policy(name=f"p{n}"), left=left, reset=reset, retry=retry)
        for n, (left, reset, retry) in enumerate(limits)
    ]
    found = fields([decided(*verdicts)], "draft11")
    items = re.findall(r'"p\d+";r=(\d+);t=(\d+)', found["RateLimit"])
    for one, (left, seconds) in zip(verdicts, items, strict=True):
        assert 0 <= int(left) <= max(0, one.remaining)
        due = one.reset_after if one.allowed or one.retry_after is None else one.retry_after
        assert int(seconds) >= due
        if not one.allowed and "Retry-After" in found:
            assert int(found["Retry-After"]) >= max(1, int(seconds))
    never = any(one.retry_after is None for one in verdicts)
    assert ("Retry-After" in found) == (not never and any(not one.allowed for one in verdicts))


def test_a_second_limiter_adds_its_items_and_repeats_none():
    inner, outer = decided(verdict(policy(name="inner"))), decided(verdict(policy(name="outer"), left=1))
    assert told(inner, outer, inner) == {
        "RateLimit-Policy": '"inner";q=100;w=60, "outer";q=100;w=60',
        "RateLimit": '"inner";r=50;t=30, "outer";r=1;t=30',
    }


@pytest.mark.parametrize("style", ["draft6", "legacy"])
def test_of_two_limiters_the_tighter_is_told(style):
    tight, loose = decided(verdict(policy("10/s"), left=1)), decided(verdict(policy("100/m"), left=50))
    prefix = "" if style == "draft6" else "X-"
    for found in (told(tight, loose, style=style), told(loose, tight, style=style)):
        assert (found[f"{prefix}RateLimit-Limit"], found[f"{prefix}RateLimit-Remaining"]) == ("10", "1")
    assert told(loose, tight, loose, style="draft6")["RateLimit-Policy"] == "100;w=60, 10;w=1"


def test_retry_after_is_never_made_earlier():
    soon, late = (decided(verdict(policy(), left=0, retry=n * SECOND)) for n in (2, 9))
    assert told(soon, late, status=429)["Retry-After"] == told(late, soon, status=429)["Retry-After"] == "9"


def test_retry_after_stands_on_errors_alone_and_leaves_a_date_as_it_is():
    denied = decided(verdict(policy(), left=0, retry=SECOND))
    assert "Retry-After" not in told(denied)
    response = HttpResponse(status=503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    apply(response, denied, "off")
    assert response["Retry-After"].startswith("Wed")


def test_what_a_view_said_itself_is_kept():
    response = HttpResponse(headers={"RateLimit": '"a,b;\\"c";r=1', "X-RateLimit-Remaining": "many"})
    apply(response, decided(verdict(policy())), "draft11")
    apply(response, decided(verdict(policy())), "legacy")
    assert response["RateLimit"] == '"a,b;\\"c";r=1, "default";r=50;t=30'
    assert response["X-RateLimit-Remaining"] == "50"


@given(st.text())
def test_a_string_is_one_of_structured_fields(text):
    written = headers._string(text)
    assert re.fullmatch(r'"(?:[ !#-\[\]-~]|\\["\\])*"', written)
