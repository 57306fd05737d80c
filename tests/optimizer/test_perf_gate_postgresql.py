"""The gate on PostgreSQL: plans, scale and version are that server's own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import path

from noa_perf.optimizer.gate import compare
from tests.library.models import Tag

pytestmark = [pytest.mark.django_db, pytest.mark.server, pytest.mark.urls(__name__)]


def tag(request):
    return HttpResponse(str(list(Tag.objects.using("pg").filter(name="t7").values_list("pk", flat=True))))


urlpatterns = [path("tag/", tag)]


@pytest.fixture(autouse=True)
def _baseline(pg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pg("CREATE TABLE library_tag (id serial PRIMARY KEY, name varchar(50))")
    pg("INSERT INTO library_tag (name) SELECT 't' || n FROM generate_series(1, 5000) n")
    pg("CREATE INDEX tag_name ON library_tag (name)")
    call_command("perf_gate", url=["/tag/"], write=True, analyze=True, stdout=io.StringIO())


def verdict() -> Any:
    out = io.StringIO()
    call_command("perf_gate", format="json", fail_level="never", stdout=out)
    return json.loads(out.getvalue())


def test_the_ground_of_the_plans_is_stated():
    found = json.loads(Path("perf-baseline.json").read_text())

    (statement,) = found["endpoints"]["/tag/"]["statements"].values()
    database = found["databases"]["pg"]
    assert statement["reads"] == {"library_tag": "tag_name"}
    assert database["engine"] == "PostgreSQL"
    assert 2_500 <= database["rows"]["library_tag"] <= 10_000
    assert int(compare.release(database).partition(".")[0]) >= 10
    assert verdict()["findings"] == []


def test_an_index_that_is_lost(pg):
    pg("DROP INDEX tag_name")

    (found,) = verdict()["findings"]

    assert (found["kind"], found["subject"], found["alias"]) == ("lost_index", "Tag", "pg")
    assert found["summary"].startswith("library_tag was read by tag_name (which is gone), and now by scan")
