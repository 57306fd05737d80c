"""The shop's own limits: sound settings, each policy on the requests that it is for, and rules that ban."""

from __future__ import annotations

import itertools
from uuid import UUID

import pytest
from django.test import Client
from django.urls import reverse

from noa_perf.ratelimit import abuse, checks, registry
from noa_perf.ratelimit.storages.memory import MemoryStorage
from testproject import settings as shop

pytestmark = pytest.mark.django_db

SEARCH, LOGIN = "/search/?q=oak", "/admin/login/"
API = "/api/products/"
_names = itertools.count()


@pytest.fixture(autouse=True)
def limits(settings, monkeypatch):
    """The shop's settings, with counts of their own, at one moment: nothing comes back while a test asks."""
    own = shop.NOA_PERF["RATELIMIT"]
    settings.MIDDLEWARE = shop.MIDDLEWARE
    settings.NOA_PERF = {"RATELIMIT": {**own, "ENABLED": True, "KEY_PREFIX": f"shop{next(_names)}"}}
    monkeypatch.setattr(abuse, "_current", None)
    storage = registry.limiter().storage
    assert isinstance(storage, MemoryStorage)
    monkeypatch.setattr(storage, "_nanoseconds", lambda: 10**18)
    yield own
    monkeypatch.setattr(abuse, "_current", None)


def ask(path, address="198.51.100.7", method="get", **more):
    return getattr(Client(), method)(path, headers={"X-Forwarded-For": address, **more})


def told(response):
    return {item.partition(";")[0].strip('" ') for item in response.headers.get("RateLimit-Policy", "").split(",")}


def test_nothing_is_wrong_with_them(settings, limits):
    assert [*checks.check_settings(), *checks.check_routes()] == []
    settings.NOA_PERF = {"RATELIMIT": {**limits, "STORAGE": "redis://127.0.0.1:6379/0"}}
    assert checks.check_deployment() == []


def test_each_holds_for_what_it_is_for():
    cart = reverse("shop:cart", args=[UUID(int=1)])
    for response, policies in (
        (ask("/"), {""}),
        (ask(SEARCH), {"search"}),
        (ask(LOGIN), {""}),
        (ask(LOGIN, method="post"), {"login-10-m", "login-50-h"}),
        (ask(API), {"api", "api-address"}),
        (ask(cart, method="post"), {"api", "api-address", "checkout"}),
    ):
        assert told(response) == policies


def test_who_guesses_passwords_is_stopped_and_nobody_else():
    tries = [ask(LOGIN, method="post").status_code for _ in range(11)]
    assert tries == [200] * 10 + [429]
    assert ask(LOGIN).status_code == ask(LOGIN, "198.51.100.8", "post").status_code == 200


def test_who_searches_like_a_machine_is_stopped_and_nobody_else():
    assert [ask(SEARCH).status_code for _ in range(11)] == [200] * 10 + [429]
    assert ask(SEARCH, "198.51.100.8").status_code == ask("/").status_code == 200


def test_the_api_counts_by_key_and_the_address_bounds_who_changes_keys():
    left = [ask(API, authorization=f"Bearer {key}").headers["RateLimit"] for key in ("one", "one", "two")]
    assert [text.partition(";t=")[0] for text in left] == ['"api";r=599', '"api";r=598', '"api";r=599']
    assert [text.partition('"api-address";')[2].partition(";")[0] for text in left] == ["r=1199", "r=1198", "r=1197"]


def test_who_goes_on_although_told_to_wait_or_looks_for_holes_is_banned():
    assert ask("/.env", "198.51.100.9").status_code == 429
    assert ask("/", "198.51.100.9").status_code == 429
    told_to_wait = [ask(SEARCH) for _ in range(10 + 200)][10:]
    assert {one.json()["title"] for one in told_to_wait} == {"Too many requests"}
    assert ask(SEARCH).json()["title"] == "Blocked for a while"
    assert ask("/").status_code == 429
    assert ask("/", "198.51.100.8").status_code == 200
