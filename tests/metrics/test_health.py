"""Liveness, readiness, and the same in a terminal."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client

from noa_perf.core import health
from noa_perf.core.health import Health
from noa_perf.metrics import health as own
from noa_perf.metrics import service
from noa_perf.metrics.models import Figure
from noa_perf.metrics.rollup import diagnose
from noa_perf.optimizer import capture, metering

pytestmark = pytest.mark.usefixtures("urls", "site_checks")


@pytest.fixture
def urls(settings):
    settings.ROOT_URLCONF = "noa_perf.metrics.urls"


@pytest.fixture
def site_checks(monkeypatch):
    """Keep what a test registers, and what the process's own writer went through, to the test."""
    monkeypatch.setattr(health, "_checks", dict(health._checks))
    monkeypatch.setattr(service.current().writer, "problem", None)


def ready(query=""):
    response = Client().get(f"/ready{query}")
    return response.status_code, response.json()


def failing(deep):
    return Health(ok=False, message="It is down.", cure="Start it.")


def by_name(body):
    return {one["name"]: one for one in body["checks"]}


def test_liveness_asks_nobody(monkeypatch):
    health.register("shop.search", failing, vital=True)
    response = Client().get("/live")  # and no database: the test has none

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert "max-age=0" in response["Cache-Control"]


@pytest.mark.django_db
def test_ready_when_all_is_well():
    status, body = ready()

    assert (status, body["status"]) == (200, "ok")
    assert set(by_name(body)) == {
        "databases",
        "metrics.prometheus",
        "metrics.rollup",
        "optimizer.capture",
        "cache.redis",
        "ratelimit.storage",
        "pool",
    }
    assert all(one["ok"] and one["message"] and not one["cure"] for one in body["checks"])


@pytest.mark.django_db
def test_a_vital_check_that_fails_takes_the_process_out_of_service():
    health.register("shop.search", failing, vital=True)
    status, body = ready()

    assert (status, body["status"]) == (503, "failing")
    assert by_name(body)["shop.search"] == {
        "name": "shop.search",
        "vital": True,
        "ok": False,
        "message": "It is down.",
        "cure": "Start it.",
    }


@pytest.mark.django_db
def test_any_other_only_degrades_it_unless_the_probe_is_strict():
    health.register("shop.search", failing)

    assert [(status, body["status"]) for status, body in (ready(), ready("?strict=1"))] == [
        (200, "degraded"),
        (503, "failing"),
    ]


@pytest.mark.django_db
def test_a_check_that_raises_has_failed_and_shows_its_type_alone():
    def raising(deep):
        raise RuntimeError("postgres://user:secret@host")

    health.register("shop.search", raising, vital=True)
    response = Client().get("/ready")

    assert response.status_code == 503
    assert b"RuntimeError" in response.content
    assert b"secret" not in response.content


def test_ready_answers_while_no_database_does(monkeypatch, settings):
    """Without ``django_db`` each use of a database raises, as one that is away does."""
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    status, body = ready()

    assert status == 503
    assert not by_name(body)["databases"]["ok"]
    assert "'default' does not answer" in by_name(body)["databases"]["message"]
    assert not by_name(body)["metrics.rollup"]["ok"]


def test_no_database_is_vital_where_none_is_named(settings):
    settings.NOA_PERF = {"METRICS": {"READY_DATABASES": []}}
    status, body = ready()

    assert (status, body["status"]) == (200, "degraded")


def test_the_rollup_names_the_missing_migration(empty_database, settings):
    settings.NOA_PERF = {"METRICS": {"DATABASE": empty_database}}

    for deep in (False, True):
        found = own.rollup(deep)
        assert not found.ok
        assert found.cure == "Run manage.py migrate noa_perf_metrics --database=apart."


def test_a_deep_check_of_the_rollup_leaves_no_row(sqlite_database, settings):
    settings.NOA_PERF = {"METRICS": {"DATABASE": sqlite_database}}

    assert own.rollup(True).ok
    assert Figure.objects.using(sqlite_database).count() == 0


def test_the_rollup_tells_what_its_writer_went_through(sqlite_database, settings, monkeypatch):
    settings.NOA_PERF = {"METRICS": {"DATABASE": sqlite_database}}
    writer = service.current().writer
    problem = diagnose(RuntimeError(), sqlite_database)
    monkeypatch.setattr(writer, "problem", problem)

    assert own.rollup(False).message == problem.message


@pytest.mark.parametrize("key", ["ROLLUP", "ENABLED"])
def test_a_rollup_that_is_switched_off_is_well(settings, key):
    settings.NOA_PERF = {"METRICS": {key: False}}

    assert own.rollup(True).ok


def test_an_export_that_failed_is_named(monkeypatch):
    monkeypatch.setitem(service.current().faults, "prometheus", 2)

    assert "failed 2 times" in own.exporting(False).message
    assert "PROMETHEUS_MULTIPROC_DIR" in own.exporting(False).cure


@pytest.mark.django_db
def test_capture_that_was_taken_off_is_named():
    connection.ensure_connection()
    connection.execute_wrappers.remove(capture.watch)
    try:
        found = metering.capturing(False)
    finally:
        connection.execute_wrappers.insert(0, capture.watch)

    assert not found.ok
    assert "'default' are not watched" in found.message


def doctor(**options):
    out = io.StringIO()
    code: object = 0
    try:
        call_command("noa_perf_doctor", stdout=out, no_color=True, **options)
    except SystemExit as end:
        code = end.code
    return code, out.getvalue()


@pytest.mark.django_db
def test_the_doctor_finds_nothing_to_mend():
    code, text = doctor()

    assert code == 0
    assert "ok    metrics.rollup: The rollup on database 'default' takes figures." in text
    assert text.endswith("Nothing to mend.\n")


@pytest.mark.django_db
def test_the_doctor_names_each_fault_with_its_cure(settings):
    health.register("shop.search", failing, vital=True)
    settings.NOA_PERF = {"METRICS": {"FLUSH_SECOND": 3}}
    code, text = doctor()

    assert code == 1
    assert "FAIL  shop.search: It is down." in text
    assert "1. [high] shop.search" in text
    assert "cure: Start it." in text
    assert "2. [high] noa_perf_metrics.E002" in text
    assert "cure: Did you mean 'FLUSH_SECONDS'?" in text


@pytest.mark.django_db
def test_the_doctor_in_json():
    health.register("shop.search", failing)
    code, text = doctor(format="json")
    report = json.loads(text)

    assert code == 1
    assert [finding["severity"] for finding in report["findings"]] == ["medium"]
    assert {one["name"] for one in report["checks"]} > {"databases", "shop.search"}


@pytest.mark.django_db
def test_the_doctor_ends_well_below_the_level_asked_for():
    health.register("shop.search", failing)

    assert doctor(fail_level="high")[0] == 0
    assert doctor(fail_level="never")[0] == 0
