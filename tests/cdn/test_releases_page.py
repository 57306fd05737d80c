"""The page of releases in the admin, and the assets on the dashboard."""

from __future__ import annotations

import io
import logging
import threading

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import call_command

from noa_perf.cdn import panels, patience, service
from noa_perf.core.panels import State, Table, Window
from tests.cdn.site import site, write

PAGE = "/admin/noa_perf_cdn/release/"
pytestmark = pytest.mark.django_db


def deploy():
    call_command("cdn_deploy", stdout=io.StringIO())
    return service.releases().pointer().live


@pytest.fixture
def releases(tmp_path):
    # The admin's own files are in no release of these tests.
    storage = {
        "BACKEND": "noa_perf.cdn.storage.ReleaseStaticFilesStorage",
        "OPTIONS": {"refresh": 0, "manifest_strict": False},
    }
    with site(tmp_path, {"a.txt": "one", "b.txt": "b"}, storage=storage):
        one = deploy()
        write(tmp_path / "assets", {"a.txt": "two"})
        yield one, deploy()


def user(*permissions):
    made = User.objects.create_user("grace", is_staff=True)
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return made


def test_who_may_only_see_sees_and_goes_back_to_nothing(client, releases):
    one, two = releases
    client.force_login(user("view_release"))
    text = client.get(PAGE).content.decode()
    assert one in text
    assert two in text
    assert "Make live" not in text
    assert client.post(PAGE, {"release": one, "confirmed": "1"}).status_code == 403
    assert service.releases().pointer().live == two


def test_nobody_else_sees_it(client, releases):
    client.force_login(user())
    assert client.get(PAGE).status_code == 403
    client.logout()
    assert client.get(PAGE).status_code == 302


def test_going_back_is_asked_about_then_done_and_written_down(client, releases, caplog):
    one, two = releases
    caplog.set_level(logging.INFO, "noa_perf.audit")
    who = user("roll_back_release")
    client.force_login(who)
    text = client.post(PAGE, {"release": one}).content.decode()
    assert "1 file is another one" in text
    assert "Yes, make it live" in text
    assert service.releases().pointer().live == two
    text = client.post(PAGE, {"release": one, "confirmed": "1"}, follow=True).content.decode()
    assert f"Release {one} is live." in text
    assert service.releases().pointer().live == one
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user_id, entry.change_message) == (one, who.pk, f"live in place of {two}")
    assert f"release {one} is live in place of {two}, by user {who.pk}" in caplog.text


def test_get_changes_nothing(client, releases):
    one, two = releases
    client.force_login(user("roll_back_release"))
    client.get(PAGE, {"release": one, "confirmed": "1"})
    assert service.releases().pointer().live == two


def test_without_its_token_a_form_is_refused(releases):
    from django.test import Client

    one, two = releases
    client = Client(enforce_csrf_checks=True)
    client.force_login(user("roll_back_release"))
    assert client.post(PAGE, {"release": one, "confirmed": "1"}).status_code == 403
    assert service.releases().pointer().live == two


@pytest.mark.parametrize("release", ["0123456789abcdef", "../../x", "<script>"])
def test_a_release_that_is_not_there_is_said_to_be_none(client, releases, release):
    client.force_login(user("roll_back_release"))
    assert "no such release" in client.post(PAGE, {"release": release}).content.decode()
    text = client.post(PAGE, {"release": release, "confirmed": "1"}, follow=True).content.decode()
    assert "errornote" in text or "messagelist" in text
    assert "<script>" not in text.replace("<script src", "")


def test_a_place_that_cannot_be_read_is_told(client, releases, settings, tmp_path):
    client.force_login(user("view_release"))
    (tmp_path / "static" / ".releases" / "live.json").write_text("{")
    assert "no pointer" in client.get(PAGE).content.decode()
    assert panels.verdicts(Window(0, 1))[0].state is State.UNKNOWN
    assert "cannot be read" in panels.blocks(Window(0, 1))[0].body


def test_a_place_that_hangs_holds_no_page(client, releases, monkeypatch):
    client.force_login(user("roll_back_release"))
    monkeypatch.setattr(patience.within, "__defaults__", (0.05,))
    go = threading.Event()
    monkeypatch.setattr(service, "listed", lambda: go.wait(60))
    try:
        assert "did not answer within" in client.get(PAGE).content.decode()
        (block,) = panels.blocks(Window(0, 1))
        assert "did not answer within" in block.body
        assert panels.verdicts(Window(0, 1))[0].state is State.GOOD  # the process knows what is live
    finally:
        go.set()


def test_another_storage_is_told(client, releases, settings):
    settings.STORAGES = {
        **settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }  # fmt: skip
    client.force_login(user("view_release"))
    assert "holds no releases" in client.get(PAGE).content.decode()


def test_before_anything_was_published(client, tmp_path):
    storage = {"BACKEND": "noa_perf.cdn.storage.ReleaseStaticFilesStorage", "OPTIONS": {"manifest_strict": False}}
    with site(tmp_path, {}, storage=storage):
        client.force_login(user("view_release"))
        assert "manage.py cdn_deploy" in client.get(PAGE).content.decode()
        (verdict,) = panels.verdicts(Window(0, 1))
        assert (verdict.state, verdict.cure) == (State.UNKNOWN, "manage.py cdn_deploy")
        assert "Nothing is published" in panels.blocks(Window(0, 1))[0].body


def test_the_dashboard_shows_what_is_live(client, releases, admin_user):
    one, two = releases
    (verdict,) = panels.verdicts(Window(0, 1))
    assert (verdict.state, two in verdict.text) == (State.GOOD, True)
    tables = {block.title: block for block in panels.blocks(Window(0, 1)) if isinstance(block, Table)}
    assert [row.cells[0] for row in tables["Releases"].rows] == [two, one]
    assert [row.cells[0] for row in tables["By type"].rows] == ["text/plain"]
    client.force_login(admin_user)
    text = client.get("/admin/noa_perf/dashboard/assets/").content.decode()
    assert two in text
