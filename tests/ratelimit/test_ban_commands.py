"""``ratelimit_ban``, ``ratelimit_unban``, ``ratelimit_erase``: rows, Redis, audit, exit codes."""

from __future__ import annotations

import datetime as dt
import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from noa_perf.core.redis import clients, parse
from noa_perf.ratelimit import abuse, registry
from noa_perf.ratelimit.bans import Terms
from noa_perf.ratelimit.conf import settings as own
from noa_perf.ratelimit.models import Ban, ListEntry
from noa_perf.ratelimit.naming import client_of
from tests.ratelimit.houses import request
from tests.servers import get
from tests.servers.redis import Redis

pytestmark = pytest.mark.django_db

POT = {"pot": {"paths": ["/wp-admin"], "maxretry": 3}}
POLICIES = {"all": {"limits": "5/h", "by": "ip"}, "each": {"limits": "5/h", "by": ["ip", "endpoint"]}}


@pytest.fixture(autouse=True, params=["memory", pytest.param("redis", marks=pytest.mark.server)])
def site(request, settings, monkeypatch):
    """Settings with Redis and without; each call is as another process's."""
    monkeypatch.setattr(abuse, "_current", None)
    monkeypatch.setattr(registry, "_limiters", {})
    url = get(Redis).urls()["primary"] if request.param == "redis" else ""
    if url:
        clients(parse(url)).get().flushall()
    settings.NOA_PERF = {"RATELIMIT": {"STORAGE": url, "ABUSE": POT, "POLICIES": POLICIES, "TIMEOUT": 1.0}}
    yield
    monkeypatch.setattr(abuse, "_current", None)


def run(command, *arguments):
    out = io.StringIO()
    call_command(f"ratelimit_{command}", *arguments, stdout=out)
    return out.getvalue()


def refused(command, *arguments):
    with pytest.raises(CommandError) as caught:
        run(command, *arguments)
    assert caught.value.returncode == 2
    return str(caught.value)


def seen(address="203.0.113.7"):
    """Return what another process says, once it has looked."""
    other = abuse._made(own())
    other.housekeeper.tick()
    decision = other.screen(request(address))
    return decision if decision is None else decision.reason


def test_bans_for_some_time_with_a_reason(caplog):
    with caplog.at_level("INFO", "noa_perf.audit"):
        printed = run("ban", "203.0.113.7", "user:17", "--for", "90m", "--reason", "scraper")

    assert printed == "ip:203.0.113.7 banned for 90m.\nuser:17 banned for 90m.\n"
    row = Ban.objects.get(client="ip:203.0.113.7")
    assert (row.rule, row.reason, row.is_active, row.until - row.begun) == (
        "manual", "scraper", True, dt.timedelta(minutes=90)
    )  # fmt: skip
    assert seen() == "ban"
    assert seen("203.0.113.8") is None
    assert len(caplog.records) == 2
    assert "203.0.113" not in caplog.text


def test_a_second_ban_replaces_the_first():
    run("ban", "203.0.113.7", "--for", "10d", "--reason", "a")
    run("ban", "203.0.113.7", "--for", "1m", "--reason", "b")
    assert Ban.objects.active().get().reason == "b"
    assert Ban.objects.count() == 2


def test_releases_and_forgives():
    run("ban", "203.0.113.7", "--reason", "a")
    assert run("unban", "203.0.113.7") == "ip:203.0.113.7 released.\n"
    assert run("unban", "203.0.113.7") == "ip:203.0.113.7 is not banned.\n"
    assert seen() is None
    assert Ban.objects.get().released is not None


def test_says_that_a_network_around_is_still_banned():
    run("ban", "203.0.113.0/24", "2001:db8::/32", "--reason", "a")
    out = io.StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("ratelimit_unban", "203.0.113.7", stdout=out)
    assert caught.value.code == 1
    assert "ip:203.0.113.7 is still refused: ip:203.0.113.0/24 is banned." in out.getvalue()
    assert run("unban", "198.51.100.1", "user:17").count("is not banned") == 2


def test_a_release_empties_what_rules_have_counted():
    site = abuse.current()
    for _ in range(2):
        site.screen(request(path="/wp-admin"))
    run("unban", "203.0.113.7")
    for _ in range(2):
        assert site.screen(request(path="/wp-admin")) is None


def test_bad_input_is_refused_and_bans_nobody():
    assert "Write" in refused("ban", "203.0.113.8", "203.0.113.7/24", "--reason", "a")
    assert "length of time" in refused("ban", "203.0.113.7", "--for", "ever", "--reason", "a")
    assert "200 at most" in refused("ban", "203.0.113.7", "--reason", "a" * 201)
    assert "deny list" in refused("ban", "203.0.113.7", "--for", "9000d", "--reason", "a")
    assert "Write" in refused("unban", "nobody")
    assert "is no day" in refused("erase", "--before", "yesterday")
    assert not Ban.objects.exists()


def test_a_dry_run_changes_nothing():
    assert "would be banned" in run("ban", "203.0.113.7", "--reason", "a", "--dry-run")
    assert not Ban.objects.exists()
    run("ban", "203.0.113.7", "--reason", "a")
    assert "would be released" in run("unban", "203.0.113.7", "--dry-run")
    for whose in (["--ip", "203.0.113.7"], ["--all"], ["--before", "2100-01-01"]):
        assert run("erase", *whose, "--dry-run").startswith(f"{0 if '--before' in whose else 1} bans, 0 list")
    assert seen() == "ban"


def test_erases_all_that_is_kept_of_one():
    run("ban", "203.0.113.7", "203.0.113.8", "--reason", "a")
    abuse.current().bans.ban("ip:203.0.113.7", Terms("pot", 60.0))
    for value in ("203.0.113.7/32", "203.0.113.8/32"):
        ListEntry.objects.create(list="allow", kind="network", value=value, reason="x")
    policy, (rule,) = registry.policy("all"), abuse.current().rules
    assert rule.policy is not None
    for one in [*[policy] * 5, rule.policy]:
        registry.limiter().hit(one, "ip:203.0.113.7")

    planned = json.loads(run("erase", "--ip", "203.0.113.7", "--format", "json", "--dry-run"))
    report = json.loads(run("erase", "--ip", "203.0.113.7", "--format", "json"))

    assert report["erased"] == planned["erased"] == {"bans": 1, "entries": 1, "counters": 2}
    assert registry.limiter().hit(policy, "ip:203.0.113.7")
    assert Ban.objects.get().client == "ip:203.0.113.8"
    assert ListEntry.objects.get().value == "203.0.113.8/32"
    abuse.current().housekeeper.tick()
    assert Ban.objects.get().client == "ip:203.0.113.8"


def test_erases_what_is_counted_of_one_together_with_something():
    policy = registry.policy("each")
    his, theirs = (client_of([address, "endpoint:cart"]) for address in ("203.0.113.7", "203.0.113.8"))
    for client in (his, theirs):
        registry.limiter().hit(policy, client)
    assert run("erase", "--ip", "203.0.113.7", "--dry-run").endswith("and 1 counts would be deleted.\n")
    assert run("erase", "--ip", "203.0.113.7").endswith("and 1 counts deleted.\n")
    assert [registry.limiter().status(policy, one).remaining for one in (his, theirs)] == [5, 4]


@pytest.mark.parametrize("site", [pytest.param("redis", marks=pytest.mark.server)], indirect=True)
@pytest.mark.parametrize("whose", [["--ip", "203.0.113.7"], ["--all"]])
@pytest.mark.parametrize("is_over", [True, False])
def test_nothing_in_redis_names_whom_was_erased(site, whose, is_over):
    own = abuse.current()
    for _ in range(3):
        own.screen(request("203.0.113.7", path="/wp-admin"))
    if is_over:
        parts = [f"noa_perf:rl:{{bans}}:{name}" for name in ("now", "ends", "log")]
        assert clients(parse(own.settings.storage)).get().delete(*parts) == 3
        own.bans.local.drop(["ip:203.0.113.7"])
    run("erase", *whose)
    redis = clients(parse(own.settings.storage)).get()
    read = {b"hash": redis.hgetall, b"zset": lambda key: redis.zrange(key, 0, -1), b"string": redis.get}
    assert "203.0.113.7" not in str([(key, read[redis.type(key)](key)) for key in redis.keys("*")])


def test_erases_an_address_with_the_network_that_it_counts_as():
    policy = registry.policy("all")
    registry.limiter().hit(policy, "ip:2001:db8::/64")
    run("ban", "2001:db8::/64", "2001:db8::1", "2001:db8::2", "--reason", "a")
    assert run("erase", "--ip", "2001:db8::1") == "2 bans, 0 list entries and 1 counts deleted.\n"
    assert Ban.objects.get().client == "ip:2001:db8::2"


def test_erases_users_and_keys():
    run("ban", "user:17", "key:ab", "--reason", "a")
    assert run("erase", "--user", "17").startswith("1 bans")
    assert run("erase", "--key", "ab").startswith("1 bans")


def test_erases_what_is_old():
    now = timezone.now()
    for days in (10, 40):
        Ban.objects.create(client="user:1", begun=now - dt.timedelta(days=90), until=now - dt.timedelta(days=days))
    day = (now - dt.timedelta(days=20)).date().isoformat()
    assert run("erase", "--before", day).startswith("1 bans")
    assert Ban.objects.count() == 1


def test_erases_everything():
    run("ban", "203.0.113.7", "--reason", "a")
    run("lists", "--add", "10.0.0.0/8", "--list", "allow")
    assert run("erase", "--all") == "1 bans, 1 list entries and 0 counts deleted.\n"
    assert not Ban.objects.exists()
    assert seen() is None


class TestRedisAway:
    @pytest.fixture(autouse=True)
    def away(self, site, settings):
        settings.NOA_PERF = {"RATELIMIT": {"STORAGE": "redis://127.0.0.1:1"}}

    @pytest.mark.parametrize(
        "command",
        [
            ["ban", "203.0.113.7", "--reason", "a"],
            ["unban", "203.0.113.7"],
            ["erase", "--ip", "203.0.113.7"],
            ["erase", "--all"],
        ],
    )
    def test_says_so_and_changes_nothing(self, command):
        Ban.objects.create(client="ip:203.0.113.7", until=timezone.now() + dt.timedelta(hours=1))
        assert "so nothing was changed" in refused(*command)
        assert Ban.objects.active().count() == 1
