"""``ratelimit_lists``: a file as a whole or not at all, each bad line named; and what else can be done."""

from __future__ import annotations

import datetime as dt
import io
import json
import sys

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections
from django.utils import timezone

from noa_perf.ratelimit import list_files
from noa_perf.ratelimit.clients import Client
from noa_perf.ratelimit.models import ListEntry

pytestmark = pytest.mark.django_db


def run(*arguments: str, **options: object) -> str:
    out = io.StringIO()
    call_command("ratelimit_lists", *arguments, stdout=out, **options)
    return out.getvalue()


def refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    assert caught.value.returncode == 2
    return str(caught.value)


def entries() -> set[tuple[str, str, str]]:
    return set(ListEntry.objects.values_list("list", "kind", "value"))


@pytest.fixture
def file(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "bad.txt"
        path.write_text(text)
        return str(path)

    return write


def test_takes_over_a_file(file):
    source = file("# bad hosts\n\n203.0.113.0/24  # a note\n2001:DB8::/32\n198.51.100.1\n198.51.100.1/32\nuser:17\n")

    printed = run("--import", source, "--list", "deny")

    assert printed == "deny list: 4 added, 0 removed; 4 on it.\n"
    assert entries() == {
        ("deny", "network", "203.0.113.0/24"), ("deny", "network", "2001:db8::/32"),
        ("deny", "network", "198.51.100.1/32"), ("deny", "user", "17"),
    }  # fmt: skip
    assert ListEntry.objects.filter(reason="imported from bad.txt").count() == 4


def test_what_is_there_stays_and_replace_removes_the_rest(file):
    run("--add", "10.0.0.0/8", "203.0.113.0/24", "--list", "deny", "--reason", "long ago")
    run("--add", "10.0.0.0/8", "--list", "allow")

    assert "1 added, 0 removed; 3 on it" in run("--import", file("203.0.113.0/24\n192.0.2.0/24\n"), "--list", "deny")
    printed = run("--import", file("203.0.113.0/24\n"), "--list", "deny", "--replace")

    assert "0 added, 2 removed; 1 on it" in printed
    assert entries() == {("deny", "network", "203.0.113.0/24"), ("allow", "network", "10.0.0.0/8")}
    assert ListEntry.objects.get(list="deny").reason == "long ago"


def test_what_has_expired_is_taken_over_anew(file):
    run("--add", "10.0.0.0/8", "--list", "deny")
    ListEntry.objects.update(expires=timezone.now() - dt.timedelta(hours=1))
    source = file("10.0.0.0/8\n")

    assert "1 would be added" in run("--import", source, "--list", "deny", "--dry-run")
    assert "1 added, 0 removed; 1 on it" in run("--import", source, "--list", "deny")
    assert ListEntry.objects.in_force().get().value == "10.0.0.0/8"


def test_what_does_not_fit_a_row_is_refused_before_anything_is_done(file):
    for arguments in (["--add", "10.0.0.0/8"], ["--import", file("10.0.0.0/8\n")]):
        assert "200 at most" in refused(*arguments, "--list", "deny", "--reason", "a" * 201)
    assert "ten years" in refused("--add", "10.0.0.0/8", "--list", "deny", "--for", "99999999999d")
    assert not entries()
    assert run("--limit", "-1").startswith("allow list: 0")


def test_a_bad_line_is_named_and_nothing_is_imported(file):
    run("--add", "10.0.0.0/8", "--list", "deny")
    source = file("192.0.2.0/24\n# fine\n203.0.113.7/24\nhost.example\n198.51.100.0/24\n")

    said = refused("--import", source, "--list", "deny", "--replace")

    assert said.startswith(f"{source} has 2 lines that cannot be used, so nothing was imported:\n  line 3: ")
    assert "203.0.113.0/24" in said
    assert "\n  line 4: 'host.example'" in said
    assert entries() == {("deny", "network", "10.0.0.0/8")}


def test_of_many_bad_lines_twenty_are_named(file):
    said = refused("--import", file("x\n" * 1_000), "--list", "deny")
    assert said.count("line ") == 20
    assert said.endswith("and 980 more")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    assert "No such file" in refused("--import", str(tmp_path / "none"), "--list", "deny")
    (tmp_path / "latin").write_bytes(b"# caf\xe9\n")
    assert "UTF-8" in refused("--import", str(tmp_path / "latin"), "--list", "deny")


def test_reads_what_is_piped(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("203.0.113.0/24\n"))
    run("--import", "-", "--list", "allow")
    assert entries() == {("allow", "network", "203.0.113.0/24")}


@pytest.mark.parametrize(
    "what", [["--import", "x"], ["--export", "x"], ["--add", "10.0.0.1"], ["--remove", "10.0.0.1"]]
)
def test_says_that_it_needs_to_know_which_list(what):
    assert "--list allow or --list deny" in refused(*what)


def test_a_dry_run_changes_nothing(file):
    run("--add", "10.0.0.0/8", "--list", "deny")
    before = entries()

    assert "1 would be added, 1 would be removed" in run(
        "--import", file("192.0.2.0/24"), "--list", "deny", "--replace", "--dry-run"
    )
    assert "1 would be added" in run("--add", "192.0.2.0/24", "10.0.0.0/8", "--list", "deny", "--dry-run")
    assert "1 would be removed" in run("--remove", "10.0.0.0/8", "--list", "deny", "--dry-run")
    assert entries() == before


def test_adds_and_removes(caplog):
    with caplog.at_level("INFO", "noa_perf.audit"):
        run("--add", "203.0.113.7", "user:17", "--list", "deny", "--for", "30d", "--reason", "spam")
        assert "2 removed; 0 on it" in run("--remove", "203.0.113.7", "user:17", "--list", "deny")
    assert len(caplog.records) == 4
    assert "203.0.113" not in caplog.text
    assert not entries()


def test_adding_again_gives_new_time_and_reason():
    run("--add", "203.0.113.7", "--list", "deny", "--for", "1h")
    assert ListEntry.objects.get().expires is not None
    assert "0 added; 1 on it" in run("--add", "203.0.113.7", "--list", "deny", "--reason", "for good")
    assert (ListEntry.objects.get().expires, ListEntry.objects.get().reason) == (None, "for good")


def test_bad_input_adds_nothing():
    assert "Write" in refused("--add", "10.0.0.1", "10.0.0.1/8", "--list", "deny")
    assert "length of time" in refused("--add", "10.0.0.1", "--list", "deny", "--for", "ever")
    assert not entries()


def test_what_is_exported_can_be_imported(tmp_path):
    run("--add", "203.0.113.7", "2001:db8::/32", "user:17", "key:ab", "--list", "deny")
    before = entries()
    target = tmp_path / "list.txt"

    run("--export", str(target), "--list", "deny")
    assert (
        run("--export", "-", "--list", "deny") == target.read_text() == "key:ab\n2001:db8::/32\n203.0.113.7\nuser:17\n"
    )
    ListEntry.objects.all().delete()
    run("--import", str(target), "--list", "deny")
    assert entries() == before
    assert "cannot be written" in refused("--export", str(tmp_path / "no" / "where"), "--list", "deny")


def test_shows_the_lists():
    run("--add", "203.0.113.7", "203.0.113.8", "--list", "deny", "--reason", "spam")
    run("--add", "10.0.0.0/8", "--list", "allow")

    shown = run("--limit", "2")
    assert shown.startswith("allow list: 1\ndeny list: 2\n")
    assert "203.0.113.7/32" in shown
    assert "and 1 more" in shown
    report = json.loads(run("--format", "json", "--list", "deny", "--limit", "0"))
    assert (report["counts"], len(report["entries"])) == ({"deny": 2}, 2)


class Router:
    """Writes to one database, reads from another, which stands for a replica that lags."""

    def db_for_write(self, model, **hints):
        return "written"

    def db_for_read(self, model, **hints):
        return "default"


@pytest.fixture
def written(settings, tmp_path, django_db_blocker):
    """A database of its own for the lists, that refuses one entry."""
    connections.settings["written"] = {**connections["default"].settings_dict, "NAME": str(tmp_path / "written")}
    connection = connections["written"]
    with django_db_blocker.unblock():
        with connection.schema_editor() as editor:
            for model in (get_user_model(), ListEntry):
                editor.create_model(model)
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TRIGGER refuse BEFORE INSERT ON {ListEntry._meta.db_table} WHEN NEW.value = '10.0.0.9/32' "
                "BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
        settings.DATABASE_ROUTERS = [Router()]
        yield ListEntry.objects.using("written")
        connection.close()
    del connections["written"]
    del connections.settings["written"]


def test_what_fails_in_the_midst_leaves_the_list_as_it_was_wherever_it_lies(written):
    def take(*values, replace=False):
        clients = [Client.parse(value) for value in values]
        return list_files.take_over(clients, "deny", "x", replace=replace, dry=False)

    assert take("10.0.0.1", "10.0.0.2").added == 2
    with pytest.raises(DatabaseError, match="full"):
        take("10.0.0.3", "10.0.0.9", replace=True)
    assert set(written.values_list("value", flat=True)) == {"10.0.0.1/32", "10.0.0.2/32"}
    assert take("10.0.0.2", "10.0.0.3", replace=True) == (2, 1, 1, 1)
    assert set(written.values_list("value", flat=True)) == {"10.0.0.2/32", "10.0.0.3/32"}


@pytest.mark.slow
def test_a_hundred_thousand_lines(file):
    source = file("".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(100_000)))
    assert "100,000 added" in run("--import", source, "--list", "deny")
    assert "0 added, 0 removed; 100,000 on it" in run("--import", source, "--list", "deny", "--replace")
    assert "0 added, 99,999 removed; 1 on it" in run("--import", file("10.0.0.0"), "--list", "deny", "--replace")
