"""What the commands print, and what they exit with."""

from __future__ import annotations

import io
import itertools
import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import RequestFactory, override_settings
from django.urls import resolve

from noa_perf.ratelimit import registry
from noa_perf.ratelimit.identity import identify
from tests.servers import get
from tests.servers.redis import Redis

_names = itertools.count()
POLICIES = {
    "search": {"limits": "60/m", "burst": 10, "by": "ip"},
    "login": {"limits": ["5/m", "20/h"], "by": ["ip", "endpoint"], "algorithm": "fixed_window"},
    "exact": {"limits": "10/s", "guarantee": "window"},
    "log": {"limits": "10/s", "algorithm": "sliding_log", "shadow": True, "on_failure": "closed"},
}


def run(*args, **options):
    out = io.StringIO()
    call_command(*args, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def here():
    with override_settings(NOA_PERF={"RATELIMIT": {"POLICIES": POLICIES}}):
        yield


@pytest.fixture
def there():
    own = {"POLICIES": POLICIES, "STORAGE": get(Redis).urls()["primary"], "KEY_PREFIX": f"c{next(_names)}"}
    with override_settings(NOA_PERF={"RATELIMIT": own}):
        yield registry.limiter()


def test_policies_prints_the_worst_case_of_each(here):
    said = run("ratelimit_policies", *POLICIES)
    assert "69 in any 1m (1.15×)" in said
    assert "10 in any 1m (2.00×)" in said
    assert "40 in any 1h (2.00×)" in said
    assert said.count("10 in any 1s (1.00×)") == 2
    assert "ip + endpoint" in said
    assert "shadow closed on failure" in said


def test_policies_as_json(here):
    told = json.loads(run("ratelimit_policies", "--format", "json"))
    names = [one["name"] for one in told["policies"]]
    assert names == sorted(names)
    assert set(POLICIES) <= set(names)
    login = next(one for one in told["policies"] if one["name"] == "login")
    assert login["limits"][1]["worst_case"] == 40
    assert login["limits"][1]["period_seconds"] == 3600


def test_an_unknown_policy_is_an_input_error(here):
    with pytest.raises(CommandError, match=r"'serch'.*search") as error:
        run("ratelimit_policies", "serch")
    assert error.value.returncode == 2


def test_who_a_client_can_choose_is_a_finding():
    policies = {"keys": {"limits": "5/s", "by": "api_key"}}
    with override_settings(NOA_PERF={"RATELIMIT": {"POLICIES": policies}}):
        assert "can change with each request" in run("ratelimit_policies", "keys")
        with pytest.raises(SystemExit) as error:
            run("ratelimit_policies", "keys", "--fail-level", "medium")
    assert error.value.code == 1


@pytest.mark.server
def test_status_and_reset(there, caplog):
    search = registry.policy("search")
    for _ in range(4):
        there.hit(search, "ip:203.0.113.7")
    said = run("ratelimit_status", "203.0.113.7", "--policy", "search")
    assert "6 of 10" in said
    told = json.loads(run("ratelimit_status", "ip:203.0.113.7", "--format", "json"))
    assert {one["policy"]: one["remaining"] for one in told["limits"]}["search"] == 6
    assert "Would reset search." in run("ratelimit_reset", "203.0.113.7", "--all", "--dry-run")
    with caplog.at_level("INFO", "noa_perf.audit"):
        assert "Reset search." in run("ratelimit_reset", "203.0.113.7", "--policy", "search")
    (line,) = [one for one in caplog.records if one.name == "noa_perf.audit"]
    assert (line.row, line.by) == ("search", "a command")
    assert "203.0.113" not in line.getMessage()
    assert "10 of 10" in run("ratelimit_status", "203.0.113.7", "--policy", "search")
    assert "Nothing was counted" in run("ratelimit_reset", "203.0.113.7", "--all")


@pytest.mark.server
def test_a_block_is_shown_and_taken_away(there):
    there.block(registry.policy("search"), "ip:2001:db8:1:2::/64", 600)
    assert "blocked" in run("ratelimit_status", "2001:db8:1:2:3::4", "--policy", "search")
    run("ratelimit_reset", "2001:db8:1:2:3::4", "--policy", "search")
    assert "blocked" not in run("ratelimit_status", "2001:db8:1:2:3::4", "--policy", "search")


@pytest.mark.server
def test_a_client_of_several_parts(there):
    policy, asked = registry.policy("login"), RequestFactory().get("/admin/login/", REMOTE_ADDR="203.0.113.7")
    asked.resolver_match = resolve("/admin/login/")
    there.hit(policy, identify(policy.by, asked))
    said = run("ratelimit_status", "203.0.113.7", "endpoint:admin:login", "--policy", "login")
    assert "4 of 5" in said


@pytest.mark.server
def test_bad_input_says_what_to_write(there):
    for args, words in (
        (("ratelimit_status", "nobody"), "user:17"),
        (("ratelimit_reset", "203.0.113.7"), "--policy NAME"),
        (("ratelimit_reset", "203.0.113.7", "--policy", "search", "--all"), "--policy NAME"),
    ):
        with pytest.raises(CommandError, match=words) as error:
            run(*args)
        assert error.value.returncode == 2


def test_what_memory_holds_is_another_process(here):
    for command in (("ratelimit_status", "203.0.113.7"), ("ratelimit_reset", "203.0.113.7", "--all")):
        with pytest.raises(CommandError, match="STORAGE"):
            run(*command)


def test_a_redis_that_is_away_is_told_of():
    own = {"POLICIES": POLICIES, "STORAGE": "redis://127.0.0.1:1/0"}
    with override_settings(NOA_PERF={"RATELIMIT": own}), pytest.raises(CommandError, match="does not answer") as error:
        run("ratelimit_status", "203.0.113.7")
    assert error.value.returncode == 2
