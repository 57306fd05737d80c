"""Broken settings of the metrics are check errors with a hint, each id with one meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.db import connections

from noa_perf.metrics import checks


def messages():
    return {message.id: message for message in run_checks()}


@pytest.mark.parametrize(
    ("broken", "identity", "message", "hint"),
    [
        ([], "noa_perf_metrics.E001", "not a dict", "METRICS"),
        ({"FLUSH": 3}, "noa_perf_metrics.E002", "'FLUSH'", "FLUSH_SECONDS"),
        ({"ROLLUP": "yes"}, "noa_perf_metrics.E003", "'yes' (str)", "True or False"),
        ({"FLUSH_SECONDS": 600}, "noa_perf_metrics.E004", "is 600", "between 0.1 and 60.0"),
        ({"DATABASE": "figures"}, "noa_perf_metrics.E005", "'figures', which is none", "'default'"),
        ({"READY_DATABASES": ["replica"]}, "noa_perf_metrics.E005", "'replica'", "'default'"),
        ({"RETENTION": 4_000}, "noa_perf_metrics.E007", "deletes after 4000 s", "at most RETENTION"),
    ],
)
def test_a_broken_setting(settings, broken, identity, message, hint):
    settings.NOA_PERF = {"METRICS": broken}

    found = messages()

    assert list(found) == [identity]
    assert message in found[identity].msg
    assert hint in found[identity].hint


def test_a_database_that_cannot_insert_or_update(monkeypatch):
    monkeypatch.setattr(type(connections["default"].features), "supports_update_conflicts", False)

    assert "'default' (sqlite) cannot insert or update" in messages()["noa_perf_metrics.E006"].msg


def test_what_is_switched_off_needs_no_database(settings):
    settings.NOA_PERF = {"METRICS": {"ROLLUP": False, "DATABASE": "figures"}}

    assert messages() == {}


def test_each_id_is_listed_once_and_no_other_is_used():
    used = set(re.findall(r"\{LABEL\}\.([EWI]\d{3})", Path(checks.__file__).read_text()))

    assert set(checks.CHECKS) - used == {"E001", "E002", "E003", "E004"}  # made by number in core
    assert used <= set(checks.CHECKS)
    assert len(set(checks.CHECKS.values())) == len(checks.CHECKS)
