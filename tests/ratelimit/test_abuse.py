"""What is said before and after a view: allow, deny, ban, then rules; exact, and never in a view's way."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path

from noa_perf.core.clock import ManualClock
from noa_perf.ratelimit import abuse as module
from noa_perf.ratelimit import signals
from noa_perf.ratelimit.bans import Terms
from noa_perf.ratelimit.keys import hashed
from noa_perf.ratelimit.lists import Lists
from tests.ratelimit.houses import ADA, BOB, abuse, request, visit

HONEYPOT = {"pot": {"paths": ["/wp-admin", "*.php"], "maxretry": 1, "bantime": "1h"}}
CRAWL = {"crawl": {"statuses": [404], "maxretry": 3, "findtime": "1m", "bantime": "10m"}}
HOUR = 3_600


@pytest.fixture
def clock():
    return ManualClock()


def test_says_nothing_where_there_is_nothing_to_say(clock):
    own = abuse(clock)
    assert own.is_idle
    assert visit(own) is None


def test_allow_comes_before_deny_before_ban_before_rules(clock):
    own = abuse(clock, abuse=HONEYPOT, allow=("203.0.113.7",), deny=("203.0.113.0/24",))
    own.bans.ban("ip:203.0.113.7", Terms("x", HOUR))
    own.bans.ban("ip:198.51.100.1", Terms("x", HOUR))

    assert visit(own, path="/wp-admin").allowed
    assert visit(own, BOB, "/wp-admin").reason == "deny"
    assert visit(own, "198.51.100.1", "/wp-admin").reason == "ban"
    assert visit(own, "198.51.100.2", "/wp-admin").reason == "ban"
    assert visit(own, "198.51.100.3") is None
    assert len(own.bans.unwritten) == 3


def test_a_honeypot_bans_at_once_and_until_its_time_is_over(clock):
    own = abuse(clock, abuse=HONEYPOT)

    decision = visit(own, path="/old/index.php")
    assert (decision.allowed, decision.reason, decision.retry_after) == (False, "ban", HOUR)
    clock.advance(HOUR - 1)
    assert visit(own).retry_after == 1
    assert visit(own, BOB) is None
    clock.advance(1)
    assert visit(own) is None


def test_who_comes_again_is_banned_for_longer(clock):
    own = abuse(clock, abuse=HONEYPOT)
    for hours in (1, 2, 4):
        assert visit(own, path="/wp-admin").retry_after == hours * HOUR
        clock.advance(hours * HOUR)


def test_a_burst_of_what_is_not_there_bans(clock):
    own = abuse(clock, abuse=CRAWL)

    assert [visit(own, status=404), visit(own, status=404), visit(own), visit(own, status=404)] == [None] * 4
    assert visit(own).reason == "ban"
    assert own.tallies["crawl"].banned == 1
    assert own.tallies["crawl"].matched == 3


def test_what_lies_too_far_apart_is_no_burst(clock):
    own = abuse(clock, abuse=CRAWL)
    for _ in range(10):
        assert visit(own, status=404) is None
        clock.advance(31)


def test_after_a_ban_counting_begins_anew(clock):
    own = abuse(clock, abuse={"crawl": {**CRAWL["crawl"], "findtime": "1h"}})
    for _ in range(3):
        visit(own, status=404)
    clock.advance(600)
    assert [visit(own, status=404) for _ in range(3)] == [None] * 3
    assert visit(own).reason == "ban"


def test_fail2ban_refuses_from_the_first_time_on(clock):
    own = abuse(clock, abuse={"sql": {"kind": "fail2ban", "predicate": f"{__name__}.injects", "maxretry": 3}})

    decisions = [visit(own, path="/?q=union") for _ in range(3)]
    assert [decision.reason for decision in decisions] == ["deny", "deny", "ban"]
    assert visit(own, BOB) is None


def injects(request):
    return "union" in request.META["QUERY_STRING"]


def test_a_rule_in_shadow_mode_bans_and_refuses_nobody(clock):
    own = abuse(
        clock,
        abuse={
            "pot": {**HONEYPOT["pot"], "shadow": True},
            "sql": {"kind": "fail2ban", "paths": "/", "shadow": True, "maxretry": 2},
        },
    )
    assert [visit(own, path="/wp-admin") for _ in range(3)] == [None] * 3
    assert own.tallies["pot"].shadowed == 3
    assert own.tallies["sql"].shadowed == 1


def test_what_was_refused_by_a_ban_or_let_in_by_a_list_counts_for_no_rule(clock):
    own = abuse(clock, abuse=CRAWL, allow=(BOB,))
    own.bans.ban("ip:203.0.113.7", Terms("x", HOUR))
    for address in (ADA, BOB):
        asked = request(address)
        own.screen(asked)
        own.after(asked, HttpResponse(status=404))
        own.login_failed(asked)
    assert own.tallies["crawl"].matched == 0


def test_users_and_keys_are_looked_for_only_where_one_is_listed(clock):
    class Touchy:
        @property
        def is_authenticated(self):
            raise AssertionError

    own = abuse(clock, deny=("198.51.100.0/24",))
    asked = request()
    asked.user = Touchy()
    assert own.screen(asked) is None


def test_users_and_keys_are_listed_and_banned(clock):
    own = abuse(clock, deny=("user:17", f"key:{hashed('secret')}"), abuse={"pot": {**HONEYPOT["pot"], "by": "user"}})

    def of_user(number, path="/"):
        asked = request(path=path)
        asked.user = SimpleNamespace(pk=number, is_authenticated=True)
        return own.screen(asked)

    assert of_user(17).reason == "deny"
    assert of_user(18) is None
    assert visit(own, headers={"Authorization": "Bearer secret"}).reason == "deny"
    assert visit(own, headers={"Authorization": "Bearer other"}) is None
    assert of_user(18, "/wp-admin").reason == "ban"
    assert of_user(18).reason == "ban"
    assert of_user(19) is None
    assert visit(own, path="/wp-admin") is None


class TestUsersWhoAreKnownLater:
    """As where the middleware stands above the one that knows the user."""

    @staticmethod
    def both(own, number):
        asked = request()
        first = own.screen(asked)
        asked.user = SimpleNamespace(pk=number, is_authenticated=True)
        return first, own.screen_user(asked)

    def test_lists_and_bans_of_users_hold_then(self, clock):
        own = abuse(clock, deny=("user:17",), allow=("user:18",))
        own.bans.ban("user:19", Terms("x", HOUR))
        for number, allowed in ((17, False), (18, True), (19, False)):
            first, then = self.both(own, number)
            assert first is None
            assert then.allowed is allowed
        assert self.both(own, 20) == (None, None)

    def test_who_is_let_in_from_anywhere_is_so_from_a_network_that_is_refused(self, clock):
        own = abuse(clock, deny=("203.0.113.0/24",), allow=("user:17",))
        assert self.both(own, 17)[1].allowed
        assert self.both(own, 18)[1].reason == "deny"

    def test_nobody_waits_for_that_where_no_user_is_let_in(self, clock):
        own = abuse(clock, deny=("203.0.113.0/24", "user:17"))
        first, then = self.both(own, 18)
        assert (first.reason, then) == ("deny", None)

    async def test_on_an_event_loop_too(self, clock):
        own = abuse(clock, deny=("user:17",))
        asked = request()
        assert await own.ascreen(asked) is None
        asked.user = SimpleNamespace(pk=17, is_authenticated=True)
        asked.auser = None
        assert (await own.ascreen_user(asked)).reason == "deny"


def test_who_cannot_be_told_is_not_banned(clock):
    own = abuse(clock, abuse=HONEYPOT)
    assert visit(own, address="", path="/wp-admin") is None
    assert len(own.bans.local) == 0


def test_an_ipv6_client_is_its_network(clock):
    own = abuse(clock, abuse=HONEYPOT, deny=("2001:db8:9::5",))
    assert visit(own, "2001:db8::1", "/wp-admin").reason == "ban"
    assert visit(own, "2001:db8::2").reason == "ban"
    assert visit(own, "2001:db8:0:1::2") is None
    assert visit(own, "2001:db8:9::5").reason == "deny"
    assert visit(own, "2001:db8:9::6") is None


def test_a_network_is_banned_as_a_whole_where_the_settings_say_so(clock):
    own = abuse(clock, abuse=HONEYPOT, escalate_after=3)
    for number in (1, 2, 3):
        assert visit(own, "203.0.113.99") is None
        visit(own, f"203.0.113.{number}", "/wp-admin")
    assert visit(own, "203.0.113.99").reason == "ban"


def test_routes_are_known_before_the_view(clock, settings):
    settings.ROOT_URLCONF = "testproject.urls"
    own = abuse(clock, abuse={"pot": {"routes": ["admin:login"], "maxretry": 1}})
    assert visit(own, path="/admin/login/").reason == "ban"
    assert visit(own, BOB, path="/nowhere/at/all/") is None


def trap(request):
    return HttpResponse()


urlpatterns = i18n_patterns(path("trap/", trap, name="trap"))


def test_a_route_is_one_in_every_language(clock, settings):
    settings.ROOT_URLCONF, settings.LANGUAGES = __name__, [("en", "English"), ("de", "Deutsch")]
    own = abuse(clock, abuse={"pot": {"routes": ["trap"], "maxretry": 1}})
    assert visit(own, path="/trap/") is None
    assert visit(own, ADA, "/en/trap/").reason == "ban"
    assert visit(own, BOB, "/de/trap/").reason == "ban"


def test_a_predicate_that_fails_matches_nothing_and_is_told_of_once(clock, caplog):
    own = abuse(clock, abuse={"bad": {"predicate": lambda request: 1 / 0, "maxretry": 1}})
    with caplog.at_level(logging.ERROR):
        assert [visit(own), visit(own)] == [None, None]
    assert own.faults == {"bad": 2}
    assert len(caplog.records) == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_rule_that_cannot_be_used_is_left_out(clock, caplog):
    own = abuse(clock, abuse={"bad": {"pathes": ["/x"]}, **HONEYPOT})
    assert [rule.name for rule in own.rules] == ["pot"]
    assert "'pathes'" in caplog.text
    assert module.problems(own.settings) == [str(caplog.records[0].args[0])]


async def test_does_the_same_on_an_event_loop(clock):
    own = abuse(clock, abuse={**HONEYPOT, **CRAWL})
    asked = request(path="/wp-admin")
    assert (await own.ascreen(asked)).reason == "ban"
    assert (await own.ascreen(request())).reason == "ban"
    for _ in range(3):
        asked = request(BOB)
        assert await own.ascreen(asked) is None
        await own.aafter(asked, HttpResponse(status=404))
    assert (await own.ascreen(request(BOB))).reason == "ban"


def is_somebodys(request, response=None):
    return User.objects.filter(username=request.headers["X-Name"]).exists()


def was_somebodys(request, response):
    return is_somebodys(request)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("predicate", [is_somebodys, was_somebodys])
def test_on_an_event_loop_a_predicate_may_ask_the_database(clock, predicate):
    own = abuse(clock, abuse={"named": {"predicate": predicate, "maxretry": 1}})
    User.objects.create(username="anna")

    async def visits(address, name):
        asked = request(address, headers={"X-Name": name})
        await own.ascreen(asked)
        await own.aafter(asked, HttpResponse())

    asyncio.run(visits(ADA, "anna"))
    asyncio.run(visits(BOB, "berta"))
    assert [ban.client for ban in own.bans.local.bans()] == [f"ip:{ADA}"]
    assert own.faults == {}


async def test_on_an_event_loop_a_predicate_that_fails_matches_nothing(clock):
    own = abuse(clock, abuse={"bad": {"predicate": lambda request: 1 / 0, "maxretry": 1}})
    assert await own.ascreen(request()) is None
    assert own.faults == {"bad": 1}


def test_the_change_of_a_list_holds_from_the_next_request_on(clock):
    own = abuse(clock)
    own.lists = Lists([("deny", "network", "203.0.113.0/24")])
    assert visit(own).reason == "deny"


@pytest.mark.parametrize("maxretry", [1, 5])
def test_under_load_the_match_that_bans_is_the_one_that_was_named(clock, maxretry):
    own = abuse(clock, abuse={"crawl": {"statuses": 404, "maxretry": maxretry}})

    def follow(number):
        own.after(request(), HttpResponse(status=404))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(follow, range(maxretry - 1)))
        assert len(own.bans.local) == 0
        list(pool.map(follow, range(1)))
    assert len(own.bans.local) == 1


# Logins


@pytest.fixture
def site(settings, monkeypatch):
    monkeypatch.setattr(module, "_current", None)
    settings.NOA_PERF = {"RATELIMIT": {"ABUSE": {"login": {"login_failed": True, "maxretry": 3}}}}
    module.install()
    yield module.current
    monkeypatch.setattr(module, "_current", None)


@pytest.mark.django_db
def test_logins_that_fail_ban(site):
    User.objects.create_user("ada", password="right")
    asked = request()
    for _ in range(2):
        authenticate(asked, username="ada", password="wrong")
    assert authenticate(asked, username="ada", password="right") is not None
    assert site().screen(request()) is None
    authenticate(asked, username="ada", password="wrong")
    assert site().screen(request()).reason == "ban"
    authenticate(None, username="ada", password="wrong")
    assert site().tallies["login"].matched == 3


@pytest.mark.django_db(transaction=True)
def test_logins_that_fail_on_an_event_loop_ban(site):
    async def attempts():
        for _ in range(3):
            await aauthenticate(request(), username="ada", password="wrong")

    asyncio.run(attempts())
    assert site().screen(request()).reason == "ban"


def test_switched_off_no_login_counts(site, settings):
    settings.NOA_PERF = {"RATELIMIT": {**settings.NOA_PERF["RATELIMIT"], "ENABLED": False}}
    module.on_login_failed(None, request=request())
    assert site().tallies["login"].matched == 0


def test_the_settings_make_one_and_a_change_another(site, settings):
    first = site()
    assert site() is first
    settings.NOA_PERF = {"RATELIMIT": {"DENY": ("203.0.113.0/24",)}}
    assert site() is not first
    assert site().screen(request()).reason == "deny"


def test_threads_that_come_first_at_once_have_one(site, monkeypatch):
    made, real, together = [], module._made, threading.Barrier(8)

    def slow(own):
        made.append(real(own))
        time.sleep(0.05)  # time for the others to come
        return made[-1]

    def first(_):
        together.wait()
        return site()

    monkeypatch.setattr(module, "_made", slow)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(first, range(8)))
    assert found == set(made)
    assert len(made) == 1


def test_a_signal_tells_of_a_ban(clock):
    heard = []

    def note(sender, ban, **named):
        heard.append((ban.client, ban.rule, ban.tier))

    signals.banned.connect(note)
    try:
        visit(abuse(clock, abuse=HONEYPOT), path="/wp-admin")
    finally:
        signals.banned.disconnect(note)
    assert heard == [("ip:203.0.113.7", "pot", 1)]
