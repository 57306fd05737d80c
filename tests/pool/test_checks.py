"""System checks: what is wrong with a pool's settings is told with its cure, without asking any server."""

from __future__ import annotations

import pytest
from django.test import override_settings

from noa_perf.pool import checks, databases

ENGINE = "noa_perf.pool.backends.postgresql"


def told(engine=ENGINE, pool=None, options=None, **more):
    own = {"ENGINE": engine, "NAME": "shop", "OPTIONS": {"noa_pool": pool, **(options or {})}, **more}
    found = checks.of_database("shop", own)
    assert all(one.hint for one in found)
    return [(one.id.removeprefix("noa_perf_pool."), f"{one.msg} {one.hint}") for one in found]


@pytest.mark.parametrize("pool", [None, True, False, {}, {"max_size": 20}])
def test_sound_settings_are_told_nothing_of(pool):
    assert told(pool=pool) == []


@pytest.mark.parametrize(
    ("own", "number", "words"),
    [
        ({"pool": {"max_sise": 3}}, "E005", "max_size"),
        ({"pool": {"max_size": 0}}, "E005", "at least 1"),
        ({"pool": {"min_size": 20}}, "E005", "min_size 20 above max_size 10"),
        ({"pool": 7}, "E005", "noa_pool"),
        ({"options": {"pool": True}}, "E006", 'Remove "pool"'),
        ({"CONN_MAX_AGE": 60}, "W001", "max_lifetime"),
        ({"CONN_MAX_AGE": None}, "W001", "max_lifetime"),
        ({"pool": {"pgbouncer": True}}, "W002", "DISABLE_SERVER_SIDE_CURSORS"),
        ({"pool": {"pgbouncer": True}, "engine": "noa_perf.pool.backends.mysql"}, "W004", "PostgreSQL"),
    ],
)
def test_what_is_wrong_is_told_with_its_cure(own, number, words):
    ((found, text),) = told(**own)
    assert found == number
    assert words in text


@pytest.mark.parametrize(
    "own",
    [
        {"options": {"prepare_threshold": 5}},
        {"options": {"assume_role": "app"}},
        {"options": {"options": "-c statement_timeout=1s"}},
        {"TIME_ZONE": "Asia/Tokyo"},
    ],
)
def test_what_breaks_behind_pgbouncer(own):
    ((found, _),) = told(pool={"pgbouncer": True}, DISABLE_SERVER_SIDE_CURSORS=True, **own)
    assert found == "W003"
    assert told(**own) == []


def test_the_section_is_checked():
    with override_settings(NOA_PERF={"POOL": {"ENABLE": False}}):
        assert [one.id for one in checks.check_settings()] == ["noa_perf_pool.E002"]


def test_other_engines_are_left_alone():
    assert list(databases.pooled()) == []
    assert databases.aliases() == []
    assert checks.check_settings() == []
