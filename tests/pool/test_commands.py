"""pool_status and pool_check, on real servers and on what is made up."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections

from noa_perf.pool import inspection, registry, servers
from noa_perf.pool.servers import Server, above_read_only
from tests.pool.watched import flush, watching

ALIAS = "shop"


@contextmanager
def served(engine, **more):
    """Let Django's own connections have the database of an engine, as the alias ``shop``."""
    connections.settings[ALIAS] = {**connections["default"].settings_dict, **engine.settings, **more}
    try:
        yield
    finally:
        wrapper: Any = connections[ALIAS]
        wrapper.close()
        wrapper.close_pool()
        del connections[ALIAS]
        del connections.settings[ALIAS]


def run(name, *arguments):
    out, code = io.StringIO(), 0
    try:
        call_command(name, *arguments, "--format=json", stdout=out)
    except SystemExit as error:
        code = int(error.code or 0)
    return json.loads(out.getvalue()), code


def shown(name, *arguments):
    out = io.StringIO()
    call_command(name, *arguments, "--fail-level=never", stdout=out)
    return out.getvalue()


@pytest.fixture
def watched(db):
    with watching() as both:
        yield both


def test_status_tells_of_all_processes(watched):
    tally, make = watched
    one = make("web")
    one.pool.release(one.pool.acquire())
    flush(tally)

    report, code = run("pool_status", "--fail-level=low")

    (pool,) = report["pools"]
    assert code == 0
    assert (pool["pool"], pool["uses"], pool["idle"]) == ("web", 1, 1)
    assert "web" in shown("pool_status")


def test_status_fails_on_leaks_and_timeouts(watched):
    tally, make = watched
    one = make("web")
    one.take()
    one.clock.advance(9)
    one.keeper.tend()
    flush(tally)

    report, code = run("pool_status", "--fail-level=medium")

    assert code == 1
    assert [finding["kind"] for finding in report["findings"]] == ["pool_leak"]
    assert "watched.py" in report["leaks"][0]["line"]
    assert "leak: web" in shown("pool_status")
    assert run("pool_status", "--fail-level=high")[1] == 0
    tally.add("pool", ("web",), 1, timeouts=1)
    flush(tally)
    assert run("pool_status", "--fail-level=high")[1] == 1


def test_status_says_where_nothing_is_known(db):
    assert "No process has told" in shown("pool_status")


def test_check_says_where_there_is_no_pool(db):
    assert "No database has a pool" in shown("pool_check")


@pytest.mark.server
def test_status_asks_the_server_for_its_own_count(db, engine):
    one = engine(max_size=3)
    with served(one):
        report, code = run("pool_status")
        (told,) = report["databases"]
        assert code == 0
        assert told["options"]["max_size"] == 3
        assert "password" not in told["options"]
        assert 1 <= told["server"]["own"] <= told["server"]["connections"] <= told["server"]["most"]
        assert ALIAS in shown("pool_status")


@pytest.mark.server
def test_check_asks_no_server_unless_it_is_a_deployment(db, engine):
    with served(engine(timeout=0.2), HOST="127.0.0.1", PORT="1"):
        report, code = run("pool_check")
        assert (report["findings"], code) == ([], 0)
        report, code = run("pool_check", "--deploy")
        assert [finding["kind"] for finding in report["findings"]] == ["pool_unreachable"]
        assert code == 1


@pytest.mark.server
def test_a_sound_site_passes(db, engine):
    with served(engine(max_size=2)):
        report, code = run("pool_check", "--deploy", "--processes=2")
        assert (report["findings"], code) == ([], 0)
        assert "Nothing to mend" in shown("pool_check", "--deploy")


@pytest.mark.server
def test_more_processes_than_the_server_takes(db, engine):
    with served(engine(max_size=100)):
        report, code = run("pool_check", "--deploy", "--processes=100")
        (finding,) = report["findings"]
        assert (finding["kind"], finding["severity"], code) == ("pool_crowd", "high", 1)
        assert "10" in finding["summary"]


@pytest.mark.server
def test_a_server_that_ends_idle_sessions_before_they_are_asked_after(db, engine):
    one = engine(max_size=2, ping_after=30.0)
    ending = {
        "postgresql": {"options": "-c idle_session_timeout=20000"},
        "mysql": {"init_command": "SET SESSION wait_timeout = 20"},
    }
    with served(one, OPTIONS={**one.settings["OPTIONS"], **ending[one.vendor]}):
        report, _ = run("pool_check", "--deploy", "--processes=1")
        assert [finding["kind"] for finding in report["findings"]] == ["pool_idle_timeout"]


@pytest.mark.server
def test_sessions_of_a_server_are_each_their_own(db, engine):
    one = engine(max_size=2)
    if one.vendor == "postgresql":
        with served(one):
            assert not servers.shares_sessions(ALIAS)


def test_sessions_behind_a_pooler_are_not(monkeypatch):
    class Session:
        def copy(self, alias):
            return self

        def close(self):
            pass

    monkeypatch.setattr(servers, "connections", {ALIAS: Session()})
    monkeypatch.setattr(servers, "_pid", lambda session: 42)
    assert servers.shares_sessions(ALIAS)


@pytest.mark.parametrize(
    ("grants", "rights"),
    [
        (["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"], ("ALL PRIVILEGES",)),
        (["GRANT SELECT, SUPER, PROCESS ON *.* TO `site`@`%`"], ("SUPER",)),
        (["GRANT READ ONLY ADMIN ON *.* TO `site`@`%`"], ("READ ONLY ADMIN",)),
        (["GRANT READ_ONLY ADMIN ON *.* TO `site`@`%`"], ("READ ONLY ADMIN",)),
        (["GRANT USAGE ON *.* TO `site`@`%`", "GRANT ALL PRIVILEGES ON `shop`.* TO `site`@`%`"], ()),
    ],
)
def test_rights_that_read_only_does_not_bind(grants, rights):
    assert above_read_only(grants) == rights


def server(**own):
    facts = {"vendor": "mysql", "connections": 30, "own": 10, "most": 100, "reserved": 0, "idle_timeout": 28_800.0}
    return Server(**{**facts, **own})


@pytest.mark.parametrize(("processes", "found"), [(8, 0), (9, 1)])
def test_two_pools_of_one_server_share_its_room(monkeypatch, processes, found):
    where = {
        "ENGINE": "noa_perf.pool.backends.mysql",
        "HOST": "db",
        "PORT": "",
        "OPTIONS": {"noa_pool": {"max_size": 5}},
    }
    monkeypatch.setitem(connections.settings, "one", where)
    monkeypatch.setitem(connections.settings, "two", where)
    told = list(inspection.crowds({"one": server(), "two": server()}, processes))
    assert len(told) == found
    if told:
        assert told[0].subject == "one, two"
        assert "Lower max_size to 8" in told[0].cure


def test_a_user_with_too_many_rights_is_told(monkeypatch):
    where = {"ENGINE": "noa_perf.pool.backends.mysql", "HOST": "db", "PORT": "", "OPTIONS": {}}
    monkeypatch.setitem(connections.settings, "one", where)
    monkeypatch.setattr(servers, "ask", lambda alias: server(above_read_only=("SUPER",)))
    (told,) = inspection.of_servers(1)
    assert told.kind == "pool_rights"


def test_a_server_that_does_not_answer_does_not_tell_its_address(monkeypatch):
    where = {"ENGINE": "noa_perf.pool.backends.mysql", "HOST": "db", "PORT": "", "OPTIONS": {}}
    monkeypatch.setitem(connections.settings, "one", where)

    def away(alias):
        raise DatabaseError("no route to db as user secret")

    monkeypatch.setattr(servers, "ask", away)
    (told,) = inspection.of_servers(1)
    assert "secret" not in str(told)


def test_nothing_is_left_behind():
    assert all(keeper.pool.name != ALIAS for keeper in registry.keepers())
