"""Broken settings are check errors with a hint, each id with one meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.checks import run_checks

import noa_perf
from noa_perf.optimizer import checks
from noa_perf.optimizer.conf import settings as section
from noa_perf.optimizer.detectors.allow import malformed

# Django 6.1 asks the database whether it takes a JSONField, unless a test before has.
pytestmark = pytest.mark.django_db


def messages():
    return {message.id: message for message in run_checks()}


def test_the_shops_settings_are_fine():
    assert messages() == {}


@pytest.mark.parametrize(
    ("broken", "identity", "message", "hint"),
    [
        ("nonsense", "noa_perf.E001", "not a dict", "NOA_PERF ="),
        ({"OPTIMISER": {}}, "noa_perf.E002", "'OPTIMISER'", "Remove it"),
        ({"ENABLED": "yes"}, "noa_perf.E003", "'yes' (str)", "True or False"),
        ({"OPTIMIZER": []}, "noa_perf_optimizer.E001", "not a dict", "OPTIMIZER"),
        ({"OPTIMIZER": {"SLOW_QUERY": 3}}, "noa_perf_optimizer.E002", "'SLOW_QUERY'", "SLOW_QUERY_MS"),
        ({"OPTIMIZER": {"SLOW_QUERY_MS": "3"}}, "noa_perf_optimizer.E003", "'3' (str)", "a number"),
        ({"OPTIMIZER": {"SLOW_QUERY_MS": True}}, "noa_perf_optimizer.E003", "True (bool)", "a number"),
        ({"OPTIMIZER": {"N_PLUS_ONE_THRESHOLD": 1}}, "noa_perf_optimizer.E004", "is 1", "at least 2"),
        ({"OPTIMIZER": {"SAMPLE_RATE": 2}}, "noa_perf_optimizer.E004", "is 2", "between 0.0 and 1.0"),
        ({"OPTIMIZER": {"SLOW_QUERY_MS_BY_ALIAS": {"a": -1}}}, "noa_perf_optimizer.E004", "-1", "at least"),
        (
            {"OPTIMIZER": {"SLOW_QUERY_MS_BY_ALIAS": {"a": "b"}}},
            "noa_perf_optimizer.E003",
            "'b'",
            "a dict of str to",
        ),
        ({"OPTIMIZER": {"ON_N_PLUS_ONE": "shout"}}, "noa_perf_optimizer.E003", "'shout'", "'collect'"),
        (
            {"OPTIMIZER": {"ALLOW": "Book.author"}},
            "noa_perf_optimizer.E003",
            "'Book.author'",
            "a list of str",
        ),
        (
            {"OPTIMIZER": {"ALLOW": ["Book author"]}},
            "noa_perf_optimizer.E005",
            "'Book author'",
            "Model.field",
        ),
    ],
)
def test_a_broken_setting(settings, broken, identity, message, hint):
    settings.NOA_PERF = broken

    found = messages()

    assert list(found) == [identity]
    assert message in found[identity].msg
    assert hint in found[identity].hint


def test_a_broken_setting_keeps_its_default_and_the_others_count(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"SLOW_QUERY_MS": "3", "N_PLUS_ONE_THRESHOLD": 5}}

    assert (section().slow_query_ms, section().n_plus_one_threshold) == (100.0, 5)


def test_sections_of_apps_that_are_not_installed_are_left_alone(settings):
    settings.NOA_PERF = {"DASHBOARD": {"anything": 1}}

    assert messages() == {}


def test_a_missing_middleware_is_a_warning(settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "noa_perf" not in name]

    assert list(messages()) == ["noa_perf_optimizer.W001"]
    assert checks.MIDDLEWARE in messages()["noa_perf_optimizer.W001"].hint


def test_each_id_is_listed_once_and_no_other_is_used():
    source = Path(noa_perf.__file__).parent
    used = set()
    for file in (source / "optimizer").rglob("*.py"):
        used |= set(re.findall(r"\{LABEL\}\.([EWI]\d{3})", file.read_text()))

    assert used <= set(checks.CHECKS)
    assert set(checks.CHECKS) - used == {"E001", "E002", "E003", "E004"}  # made by number in core
    assert len(set(checks.CHECKS.values())) == len(checks.CHECKS)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ("Book.author", False),
        ("Author.objects.get()", False),
        ("path:shop/*.py", False),
        ("fingerprint:1a2b", False),
        ("file:x", True),
        ("path:", True),
        ("Book", True),
        ("", True),
    ],
)
def test_forms_of_an_allowance(entry, wrong):
    assert malformed(entry) is wrong
