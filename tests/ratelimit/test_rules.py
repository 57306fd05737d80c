"""Abuse rules as people write them: what they match, how long they ban, and what is refused."""

from __future__ import annotations

import itertools

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.ratelimit.abuse import terms
from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.rates import UNITS
from noa_perf.ratelimit.rules import AbuseRule


def rule(**written: object) -> AbuseRule:
    return AbuseRule.parse("crawl", written)


def get(path: str = "/", method: str = "get"):
    return getattr(RequestFactory(), method)(path)


async def slow(request):
    return False


def matches(one: AbuseRule, request=None, status: int | None = None, route: str = "") -> bool:
    response = None if status is None else HttpResponse(status=status)
    return one.matches(request or get(), lambda: route, response)


def test_reads_what_people_write():
    one = rule(
        statuses=[404, 410], methods="get", maxretry=20, findtime="1m", bantime="2h", max_bantime="1d", memory="30d"
    )

    assert (one.findtime, one.bantime, one.max_bantime) == (UNITS["m"], 2 * UNITS["h"], UNITS["d"])
    assert one.methods == {"GET"}
    assert one.statuses == {404, 410}
    assert rule(login_failed=True).login_failed
    assert AbuseRule.parse("again", one) is one


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ([], "Write a dict"),
        ({}, "says nothing of what it is about"),
        ({"paths": ["/x"], "max_retry": 3}, "'max_retry' is none of its keys"),
        ({"paths": []}, '"paths"'),
        ({"paths": [1]}, '"paths"'),
        ({"statuses": ["404"]}, '"statuses"'),
        ({"paths": "/x", "kind": "ban"}, "\"kind\" is 'ban'"),
        ({"paths": "/x", "maxretry": 0}, '"maxretry" is 0'),
        ({"paths": "/x", "maxretry": True}, '"maxretry"'),
        ({"paths": "/x", "factor": 0.5}, '"factor" is 0.5'),
        ({"paths": "/x", "findtime": "never"}, '"findtime"'),
        ({"paths": "/x", "findtime": "400d"}, '"findtime"'),
        ({"paths": "/x", "bantime": "1d", "max_bantime": "1h"}, '"max_bantime"'),
        ({"paths": "/x", "by": "session"}, "\"by\" is 'session'"),
        ({"paths": "/x", "shadow": 1}, '"shadow"'),
        ({"predicate": "no.such.thing"}, '"predicate"'),
        ({"predicate": 3}, '"predicate"'),
        ({"predicate": f"{__name__}.slow"}, "plain function"),
        ({"paths": "/x", "memory": "4000d"}, '"memory"'),
        ({"login_failed": True, "paths": "/x"}, "Write two rules"),
        ({"login_failed": True, "kind": "fail2ban"}, "allow2ban"),
        ({"statuses": 404, "kind": "fail2ban"}, "allow2ban"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(written, named):
    with pytest.raises(BadPolicy, match="abuse rule 'crawl'") as caught:
        AbuseRule.parse("crawl", written)
    assert named in str(caught.value)


@pytest.mark.parametrize("name", ["not found", "früh", "", "4xx", "a" * 59])
def test_a_name_that_no_policy_can_have_is_refused(name):
    with pytest.raises(BadPolicy, match='"name"'):
        AbuseRule.parse(name, {"paths": "/x"})
    assert AbuseRule.parse("a" * 58, {"paths": "/x"}).policy


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/wp-admin/x.php", True), ("/shop/wp-admin", False), ("/a/b.php", True), ("/a/b.phpx", False), ("/.env", True)],
)
def test_paths_are_beginnings_or_patterns(path, expected):
    assert matches(rule(paths=["/wp-admin", "*.php", "/.env"]), get(path)) is expected


def test_a_dot_in_a_beginning_is_a_dot():
    assert not matches(rule(paths=["/.env"]), get("/xenv"))


def test_all_conditions_have_to_hold():
    one = rule(routes="shop:search", methods=["POST"], statuses=403)

    assert matches(one, get(method="post"), 403, "shop:search")
    assert not matches(one, get(), 403, "shop:search")
    assert not matches(one, get(method="post"), 200, "shop:search")
    assert not matches(one, get(method="post"), 403, "shop:home")
    assert not matches(one, get(method="post"), None, "shop:search")


def test_the_route_is_asked_for_only_where_it_matters():
    def never() -> str:
        raise AssertionError

    assert rule(paths="/x").matches(get("/x"), never)
    assert not rule(paths="/x", routes="home").matches(get("/y"), never)


def large(request):
    return len(request.path) > 10


def refused(request, response):
    return response.status_code == 403


def test_a_predicate_has_the_request_or_the_response_too():
    before, after = rule(predicate=f"{__name__}.large"), rule(predicate=refused)

    assert not before.needs_response
    assert after.needs_response
    assert matches(before, get("/123456789012"))
    assert not matches(before)
    assert matches(after, status=403)


def test_a_default_is_no_second_argument():
    assert not rule(predicate=lambda request, extra=None: True).needs_response


def test_bans_grow_up_to_the_longest():
    own = terms(rule(paths="/x", bantime="1h", factor=2, max_bantime="5h"))

    assert [own.seconds(number) / 3600 for number in (1, 2, 3, 4, 100_000)] == [1, 2, 4, 5, 5]


def test_a_first_ban_longer_than_the_longest_of_the_default_is_meant():
    assert terms(rule(paths="/x", bantime="30d")).seconds(2) == 30 * 86_400


@given(st.integers(1, 10**6), st.floats(1, 100), st.integers(1, 10**4))
def test_no_ban_is_shorter_than_the_one_before(seconds, factor, ceiling):
    own = terms(rule(paths="/x", bantime=seconds, factor=factor, max_bantime=seconds + ceiling))
    lengths = [own.seconds(number) for number in range(1, 50)]

    assert all(shorter <= longer for shorter, longer in itertools.pairwise(lengths))
    assert lengths[0] == seconds
    assert lengths[-1] <= seconds + ceiling


def test_the_match_that_bans_is_the_one_that_its_policy_denies():
    policy = rule(paths="/x", maxretry=5, findtime="10m").policy

    assert policy is not None
    assert (policy.limits[0].rate.limit, policy.limits[0].algorithm) == (4, "sliding_log")
    assert rule(paths="/x", maxretry=1).policy is None
