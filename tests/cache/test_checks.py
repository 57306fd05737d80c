"""Each id of ``noa_perf_cache`` is raised where it should be, with a cure, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from noa_perf.cache import checks
from noa_perf.cache.checks import CHECKS, MIDDLEWARE
from noa_perf.cache.registry import BACKEND
from noa_perf.core import redis

pytestmark = pytest.mark.django_db  # some of Django's own checks ask the database what it can do
URL = "redis://cache:6379/0"


def own() -> list[Any]:
    """Return what our checks say, of all that Django runs."""
    return [one for one in run_checks() if str(one.id).startswith("noa_perf_cache")]


@pytest.fixture
def found(settings):
    """Return what the checks say of settings, by id."""

    def found(options: Any = None, location: str = URL, **given: Any) -> dict[str, tuple[str, str]]:
        entry = {"BACKEND": BACKEND, "LOCATION": location, "OPTIONS": {} if options is None else options}
        settings.CACHES = {"default": {**entry, **given.pop("beside", {})}}
        for name, value in given.items():
            setattr(settings, name, value)
        told = [(str(one.id).rpartition(".")[2], one) for one in own()]
        assert len({name for name, _ in told}) == len(told)
        return {name: (one.msg, str(one.hint)) for name, one in told}

    return found


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "E001": ({"NOA_PERF": {"CACHE": []}}, "not a dict", "CACHE"),
    "E002": ({"options": {"memory": {"max_entires": 1}}}, "max_entires", "max_entries"),
    "E003": ({"options": {"sign": 1}}, "\"OPTIONS\"]['sign'] is 1 (int)", "True or False"),
    "E004": ({"options": {"memory": {"max_bytes": "lots"}}}, "'lots'", "64MiB"),
    "E006": ({"options": {"SERIALIZER": "shop.serializers.Nobody"}}, "shop.serializers.Nobody", "dumps"),
    "E007": ({"beside": {"REVERSE_KEY_FUNCTION": "shop.keys.nobody"}}, "REVERSE_KEY_FUNCTION", "KEY_FUNCTION"),
    "W001": ({"options": {"trust_pickles": True}}, "trust_pickles", "expired"),
    "W004": ({"location": "127.0.0.1:6379"}, "is no URL", "redis://127.0.0.1:6379/0"),
    "W005": ({"options": {"SOCKET_TIMEOUT": 5}}, "cut to 0.25 seconds", "budget"),
    "W002": ({"ASGI_APPLICATION": "shop.asgi.application"}, "ASGI", MIDDLEWARE),
    "W003": ({"options": {"PICKLE_VERSION": 4}}, "PICKLE_VERSION", "Remove it"),
}


@pytest.mark.parametrize("identity", CASES)
def test_each_is_raised_alone_with_its_cure(found, identity):
    given, message, hint = CASES[identity]
    told = found(given.get("options"), **{name: value for name, value in given.items() if name != "options"})
    assert list(told) == [identity]
    assert message in told[identity][0]
    assert hint in told[identity][1]


def test_redis_that_is_not_installed(found, monkeypatch):
    monkeypatch.setattr(redis, "ERRORS", ())
    assert "pip install noa-perf[redis]" in found()["E005"][1]
    assert found(location="") == {}


def test_what_is_well_is_not_told_of(found):
    assert found() == {}
    assert found(location="") == {}
    assert found({"memory": {"staleness": 0}, "codec": "json", "PASSWORD": "x"}) == {}
    assert found({"SERIALIZER": "tests.cache.sites.Shouting"}) == {}
    assert found(beside={"REVERSE_KEY_FUNCTION": "tests.cache.test_redis_api.forwards"}) == {}


def test_other_backends_are_not_looked_at(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"x": 1}}}
    settings.ASGI_APPLICATION = "shop.asgi.application"
    settings.DJANGO_REDIS_LOGGER = "x"
    assert own() == []


def test_the_middleware_is_asked_for_under_asgi_where_a_redis_is(found, settings):
    assert "W002" in found(ASGI_APPLICATION="shop.asgi.application")
    assert found(location="", ASGI_APPLICATION="shop.asgi.application") == {}
    settings.NOA_PERF = {"CACHE": {"ENABLED": False}}
    assert found(ASGI_APPLICATION="shop.asgi.application") == {}
    settings.NOA_PERF = {}
    settings.MIDDLEWARE = [MIDDLEWARE, *settings.MIDDLEWARE]
    assert found(ASGI_APPLICATION="shop.asgi.application") == {}


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://cache", "LOCATION"),
        ("redis://cache:port", "a port that is none"),
        ("redis+sentinel://cache:26379", "names no service"),
        ("redis+cluster://cache/3", "a Cluster has only one"),
    ],
)
def test_a_location_that_cannot_be_used(found, location, message):
    ((_, (told, hint)),) = found(location=location).items()
    assert message in told
    assert "CACHES['default']" in told
    assert hint


def test_serializers_that_do_not_fit(found):
    assert "has no dumps and loads" in found({"SERIALIZER": "collections.OrderedDict"})["E006"][0]
    assert "cannot be made (ImportError" in found({"SERIALIZER": "fractions.nobody"})["E006"][0]


def test_each_id_is_listed_once_and_no_other_is_used():
    used = set(re.findall(r"\{LABEL\}\.([EWI]\d{3})", Path(checks.__file__).read_text()))
    assert set(CHECKS) - used == {"E001", "E002", "E003", "E004"}  # made by number
    assert used <= set(CHECKS)
    assert set(CASES) | {"E005"} == set(CHECKS)
    assert len(set(CHECKS.values())) == len(CHECKS)
