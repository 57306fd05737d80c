"""The gate on servers: plans, scale and version are each server's own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import path

from noa_perf.optimizer.gate import compare
from tests.library.models import Tag
from tests.optimizer.conftest import Run

pytestmark = [pytest.mark.django_db, pytest.mark.server, pytest.mark.urls(__name__)]


class Server(NamedTuple):
    alias: str
    engine: str
    fill: str
    drop: str
    run: Run


SERVERS = {
    "pg": ("PostgreSQL", "SELECT 't' || n FROM generate_series(1, 5000) n", "DROP INDEX tag_name"),
    "maria": ("MariaDB", "SELECT concat('t', seq) FROM seq_1_to_5000", "DROP INDEX tag_name ON library_tag"),
}


def tag(request, alias):
    return HttpResponse(str(list(Tag.objects.using(alias).filter(name="t7").values_list("pk", flat=True))))


urlpatterns = [path("tag/<str:alias>/", tag)]


@pytest.fixture(params=SERVERS)
def server(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Server(request.param, *SERVERS[request.param], request.getfixturevalue(request.param))
    made.run("CREATE TABLE library_tag (id serial PRIMARY KEY, name varchar(50))")
    made.run(f"INSERT INTO library_tag (name) {made.fill}")
    made.run("CREATE INDEX tag_name ON library_tag (name)")
    call_command("perf_gate", url=[f"/tag/{made.alias}/"], write=True, analyze=True, stdout=io.StringIO())
    return made


def verdict() -> Any:
    out = io.StringIO()
    call_command("perf_gate", format="json", fail_level="never", stdout=out)
    return json.loads(out.getvalue())


def test_the_ground_of_the_plans_is_stated(server):
    found = json.loads(Path("perf-baseline.json").read_text())

    (endpoint,) = found["endpoints"].values()
    (statement,) = endpoint["statements"].values()
    database = found["databases"][server.alias]
    assert statement["reads"] == {"library_tag": "tag_name"}
    assert database["engine"] == server.engine
    assert 2_500 <= database["rows"]["library_tag"] <= 10_000
    assert int(compare.release(database).partition(".")[0]) >= 10
    assert verdict()["findings"] == []


def test_an_index_that_is_lost(server):
    server.run(server.drop)

    (found,) = verdict()["findings"]

    assert (found["kind"], found["subject"], found["alias"]) == ("lost_index", "Tag", server.alias)
    assert found["summary"].startswith("library_tag was read by tag_name (which is gone), and now by scan")


def test_a_whole_index_that_is_read_is_no_lookup(server):
    server.run(server.drop)
    server.run("CREATE INDEX covering ON library_tag (id, name)")
    server.run("ANALYZE library_tag" if server.alias == "pg" else "ANALYZE TABLE library_tag")

    (found,) = verdict()["findings"]

    assert found["kind"] == "lost_index"
