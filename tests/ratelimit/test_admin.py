"""Lists and bans in the admin: permissions, masks, forms with cures, bans and releases with their audit."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from noa_perf.ratelimit import abuse, registry
from noa_perf.ratelimit.models import Ban, ListEntry
from tests.ratelimit.houses import request

pytestmark = pytest.mark.django_db

LISTS = "/admin/noa_perf_ratelimit/listentry/"
BANS = "/admin/noa_perf_ratelimit/ban/"


@pytest.fixture(autouse=True)
def fresh(monkeypatch, settings):
    settings.NOA_PERF = {"RATELIMIT": {}}
    monkeypatch.setattr(abuse, "_current", None)
    monkeypatch.setattr(registry, "_limiters", {})
    yield
    monkeypatch.setattr(abuse, "_current", None)


def staff(*permissions):
    user = User.objects.create_user("-".join(permissions) or "none", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def boss():
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def banned(client="ip:203.0.113.7", hours=1, **more):
    return Ban.objects.create(client=client, until=timezone.now() + dt.timedelta(hours=hours), **more)


def entry(value="203.0.113.0/24", **more):
    return ListEntry.objects.create(**{"list": "deny", "kind": "network", "value": value, "reason": "spam", **more})


# Lists


def add(client, **fields):
    return client.post(f"{LISTS}add/", {"list": "deny", "kind": "network", "reason": "spam", **fields})


def errors(response):
    assert response.status_code == 200
    return str(response.context["adminform"].form.errors)


def test_an_entry_is_kept_in_its_one_form_with_who_made_it(boss, caplog):
    with caplog.at_level("INFO", "noa_perf.audit"):
        assert add(boss, value="2001:DB8:0::/48").status_code == 302

    row = ListEntry.objects.get()
    assert (row.value, row.created_by.username) == ("2001:db8::/48", "boss")
    assert f"added list entry {row.pk}, by user" in caplog.text
    assert "2001" not in caplog.text
    assert "already exists" in errors(add(boss, value="2001:db8::/48"))


@pytest.mark.parametrize(
    ("fields", "cure"),
    [
        ({"value": "203.0.113.7/24"}, "203.0.113.0/24"),
        ({"value": "host.example"}, "Write"),
        ({"value": "a b", "kind": "user"}, "without blanks"),
        ({"value": "10.0.0.0/8", "reason": ""}, "required"),
        ({"value": ""}, "required"),
        ({"value": "127.0.0.0/8"}, "Your own address"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_cure(boss, fields, cure):
    assert cure in errors(add(boss, **fields))
    assert not ListEntry.objects.exists()


def test_ones_own_address_may_be_let_in(boss):
    assert add(boss, value="127.0.0.1", list="allow").status_code == 302


def test_an_entry_is_changed_and_deleted_with_a_note(boss, caplog):
    row = entry()
    fields = {"list": "allow", "kind": "network", "value": "203.0.113.0/24", "reason": "no spam"}
    with caplog.at_level("INFO", "noa_perf.audit"):
        assert boss.post(f"{LISTS}{row.pk}/change/", fields).status_code == 302
        assert ListEntry.objects.get().list == "allow"
        boss.post(f"{LISTS}{row.pk}/delete/", {"post": "yes"})
        other = entry()
        boss.post(LISTS, {"action": "delete_selected", "_selected_action": [other.pk], "post": "yes"})
    assert [record.getMessage().split()[1] for record in caplog.records] == ["changed", "removed", "removed"]
    assert not ListEntry.objects.exists()


def test_who_may_only_look_sees_no_whole_address():
    row = entry("203.0.113.77/32")
    viewer = staff("view_listentry")
    for page in (LISTS, f"{LISTS}{row.pk}/change/"):
        text = viewer.get(page).content.decode()
        assert "203.0.113.…" in text
        assert "203.0.113.77" not in text
    assert viewer.get(LISTS, {"q": "203.0.113.77"}).context["cl"].result_count == 0
    assert viewer.get(LISTS, {"value__startswith": "203"}).status_code == 400
    assert add(viewer, value="10.0.0.0/8").status_code == 403
    assert "203.0.113.77/32" in staff("view_listentry", "change_listentry").get(LISTS).content.decode()


def test_who_may_add_and_not_change_can_add():
    client = staff("add_listentry", "view_listentry")
    assert add(client, value="10.0.0.0/8").status_code == 302
    assert add(staff("add_listentry"), value="10.1.0.0/16").status_code == 302


@pytest.mark.parametrize("term", ["203.0.113.77", "203.0.113", "spam"])
def test_finds_the_networks_around_an_address(boss, term):
    entry("203.0.113.0/24")
    entry("198.51.100.0/24", reason="other")
    found = boss.get(LISTS, {"q": term}).context["cl"].result_list
    assert [row.value for row in found] == ["203.0.113.0/24"]


# Bans


def test_adding_a_ban_bans(boss, caplog):
    with caplog.at_level("INFO", "noa_perf.audit"):
        answer = boss.post(f"{BANS}add/", {"client": "203.0.113.7", "span": "2h", "reason": "scraper"})

    assert answer.status_code == 302
    row = Ban.objects.get()
    assert (row.client, row.rule, row.created_by.username) == ("ip:203.0.113.7", "manual", "boss")
    assert row.until - row.begun == dt.timedelta(hours=2)
    assert abuse.current().screen(request("203.0.113.7")).reason == "ban"
    assert LogEntry.objects.get().object_id == str(row.pk)
    assert "203.0.113" not in caplog.text + LogEntry.objects.get().object_repr


@pytest.mark.parametrize(
    ("fields", "cure"),
    [
        ({"client": "203.0.113.7/24"}, "203.0.113.0/24"),
        ({"span": "ever"}, "length of time"),
        ({"span": "99999d"}, "deny list"),
        ({"reason": ""}, "required"),
        ({"client": "127.0.0.1"}, "Your own address"),
    ],
)
def test_a_ban_that_cannot_be_meant_is_refused(boss, fields, cure):
    answer = boss.post(f"{BANS}add/", {"client": "203.0.113.7", "span": "1h", "reason": "x", **fields})
    assert cure in errors(answer)
    assert not Ban.objects.exists()


def test_a_release_is_confirmed_first_and_noted(boss, caplog):
    boss.post(f"{BANS}add/", {"client": "203.0.113.7", "span": "2h", "reason": "scraper"})
    row, over = Ban.objects.get(), banned("ip:203.0.113.9", hours=-1)
    chosen = {"action": "release", "_selected_action": [row.pk, over.pk]}

    asked = boss.post(BANS, chosen)
    assert asked.status_code == 200
    assert "ip:203.0.113.7" in asked.content.decode()
    assert "ip:203.0.113.9" not in asked.content.decode()
    assert Ban.objects.active().exists()

    with caplog.at_level("INFO", "noa_perf.audit"):
        answer = boss.post(BANS, {**chosen, "confirmed": "1"}, follow=True)
    assert "1 ban has ended." in answer.content.decode()
    row.refresh_from_db()
    assert (row.is_active, row.released_by.username) == (False, "boss")
    assert abuse.current().screen(request("203.0.113.7")) is None
    assert LogEntry.objects.filter(action_flag=2).count() == 1
    assert f"released ban {row.pk}" in caplog.text
    assert "None of these is in force" in boss.post(BANS, chosen, follow=True).content.decode()


def test_rows_are_read_only(boss):
    row = banned(reason="scraper")
    page = boss.get(f"{BANS}{row.pk}/change/").content.decode()
    assert "ip:203.0.113.7" in page
    assert 'name="_save"' not in page
    assert boss.post(f"{BANS}{row.pk}/change/", {"client": "x"}).status_code == 403
    assert boss.post(f"{BANS}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert boss.get(f"{BANS}add/").content.decode().count('name="span"') == 1


def test_who_may_only_look_at_bans_sees_no_whole_address_and_releases_nobody():
    row = banned("ip:203.0.113.77")
    viewer = staff("view_ban")
    for page in (BANS, f"{BANS}{row.pk}/change/"):
        text = viewer.get(page).content.decode()
        assert "ip:203.0.113.…" in text
        assert "203.0.113.77" not in text
    viewer.post(BANS, {"action": "release", "_selected_action": [row.pk], "confirmed": "1"})
    assert Ban.objects.active().exists()
    assert viewer.get(BANS, {"q": "203.0.113.77"}).context["cl"].result_count == 0
    assert viewer.get(f"{BANS}add/").status_code == 403
    assert viewer.get(BANS, {"client": "ip:203.0.113.77"}).status_code == 400


def test_filters_by_state_and_finds_around_an_address(boss):
    banned("ip:203.0.113.0/24")
    banned("user:17", hours=-1)
    banned("user:18", released=timezone.now())

    def found(**query):
        return [row.client for row in boss.get(BANS, query).context["cl"].result_list]

    assert found(state="active") == ["ip:203.0.113.0/24"]
    assert found(state="over") == ["user:17"]
    assert found(state="released") == ["user:18"]
    assert found(q="203.0.113.200") == ["ip:203.0.113.0/24"]
    assert len(found()) == len(found(state="no such")) == 3


def test_with_redis_away_nothing_is_changed_and_that_is_said(boss, settings):
    settings.NOA_PERF = {"RATELIMIT": {"STORAGE": "redis://127.0.0.1:1"}}
    row = banned()

    answer = boss.post(f"{BANS}add/", {"client": "203.0.113.8", "span": "1h", "reason": "x"}, follow=True)
    assert "so nothing was changed" in answer.content.decode()
    answer = boss.post(BANS, {"action": "release", "_selected_action": [row.pk], "confirmed": "1"}, follow=True)
    assert "so nothing was changed" in answer.content.decode()
    assert Ban.objects.active().get() == row
    assert not LogEntry.objects.exists()


# Resetting one client

RESET = f"{BANS}reset/"


@pytest.fixture
def limited(settings):
    settings.NOA_PERF = {
        "RATELIMIT": {"POLICIES": {"login": ["5/d", "20/w"], "pair": {"limits": "3/d", "by": ["ip", "user"]}}}
    }
    own = registry.policy("login")
    for _ in range(5):
        registry.limiter().hit(own, "ip:203.0.113.7")
    return own


def test_who_may_change_bans_sees_what_is_left_and_resets_it(boss, limited):
    assert RESET in boss.get(BANS).content.decode()
    assert boss.get(RESET).status_code == 200
    shown = boss.post(RESET, {"policy": "login", "client": "203.0.113.7"}).content.decode()
    assert "0 / 5" in shown
    assert "15 / 20" in shown
    assert not registry.limiter().hit(limited, "ip:203.0.113.7")
    answer = boss.post(RESET, {"policy": "login", "client": "203.0.113.7", "confirmed": "1"})
    assert answer.status_code == 302
    assert registry.limiter().status(limited, "ip:203.0.113.7").remaining == 5
    assert "reset" in LogEntry.objects.get().change_message
    assert "203.0.113.7" not in str(LogEntry.objects.values())


def test_looking_resets_nothing_and_a_query_string_neither(boss, limited):
    boss.get(f"{RESET}?policy=login&client=203.0.113.7&confirmed=1")
    boss.post(RESET, {"policy": "login", "client": "203.0.113.7"})
    assert registry.limiter().status(limited, "ip:203.0.113.7").remaining == 0


def test_who_may_only_look_at_bans_resets_nothing(limited):
    client = staff("view_ban")
    assert RESET not in client.get(BANS).content.decode()
    assert client.post(RESET, {"policy": "login", "client": "203.0.113.7", "confirmed": "1"}).status_code == 403
    assert registry.limiter().status(limited, "ip:203.0.113.7").remaining == 0


def test_a_client_that_means_nobody_is_told_how_to_write_it(boss, limited):
    shown = boss.post(RESET, {"policy": "login", "client": "nobody"}).content.decode()
    assert "user:17" in shown


def test_a_client_of_two_parts(boss, limited):
    shown = boss.post(RESET, {"policy": "pair", "client": "203.0.113.7 user:17"}).content.decode()
    assert "3 / 3" in shown
