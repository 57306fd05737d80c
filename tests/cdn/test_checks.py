"""System checks: what is wrong with assets' settings is told with its cure, without asking any edge."""

from __future__ import annotations

import pytest
from django.test import override_settings

from noa_perf.cdn import checks
from noa_perf.cdn.checks import MIDDLEWARE
from noa_perf.cdn.providers.dummy import Dummy

VARNISH = "noa_perf.cdn.providers.varnish.Varnish"


class Raises(Dummy):
    """Somebody's own provider, with a slip."""

    def problems(self):
        yield from (1 // each for each in (0,))


class RaisesAtOnce(Dummy):
    """Likewise."""

    def __init__(self, name, options):
        raise ZeroDivisionError


def told(check=checks.check_settings, **cdn):
    with override_settings(NOA_PERF={"CDN": cdn}):
        found = check()
    assert all(one.hint for one in found)
    return [(one.id.removeprefix("noa_perf_cdn."), f"{one.msg} {one.hint}") for one in found]


def test_sound_settings_are_told_nothing_of():
    assert told() == []
    good = {
        "edge": {"BACKEND": VARNISH, "URL": "https://a.example", "NODES": ["http://10.0.0.7:6081"], "TOKEN": "env:X"}
    }
    assert told(PROVIDERS=good, PURGE=["pages"]) == []


@pytest.mark.parametrize(
    ("cdn", "number", "words"),
    [
        ({"JAVASCRIPT": "uglify"}, "E003", "esbuild"),
        ({"BRAKE": 2}, "E004", "between 0 and 1"),
        ({"IMAGE_FORMATS": ["jpeg"]}, "E003", "a list of 'avif' and 'webp'"),
        ({"PRECOMPRESS": ["zstd"]}, "E003", "a list of 'br' and 'gzip'"),
        ({"BULD_DIR": ""}, "E002", "BUILD_DIR"),
        ({"PROVIDERS": {"e": VARNISH}}, "E005", "BACKEND"),
        ({"PROVIDERS": {"e": {"BACKEND": "no.such.Class"}}}, "E005", "cannot be imported"),
        ({"PROVIDERS": {"e": {"BACKEND": "noa_perf.cdn.store.Store"}}}, "E005", "no Provider"),
        ({"PROVIDERS": {"e": {"BACKEND": VARNISH, "URL": "http://a", "TOKEN": "env:X", "NODS": []}}}, "E005", "NODES"),
        ({"PROVIDERS": {"e": {"BACKEND": VARNISH, "URL": "a.example", "TOKEN": "env:X"}}}, "E005", "scheme"),
        ({"PROVIDERS": {"e": {"BACKEND": VARNISH, "URL": "http://a"}}}, "E005", "TOKEN"),
        ({"PROVIDERS": {"e": {"BACKEND": VARNISH, "URL": "http://[::1", "TOKEN": "env:X"}}}, "E005", "Invalid IPv6"),
        ({"PROVIDERS": {"e": {"BACKEND": VARNISH, "URL": "http://a:b", "TOKEN": "env:X"}}}, "E005", "Port"),
        ({"PROVIDERS": {"e": {"BACKEND": "tests.cdn.test_checks.Raises"}}}, "E005", "ZeroDivisionError"),
        ({"PROVIDERS": {"e": {"BACKEND": "tests.cdn.test_checks.RaisesAtOnce"}}}, "E005", "cannot be made"),
        ({"PROVIDERS": {"e": {"BACKEND": "noa_perf.cdn.providers.base.Provider"}}}, "E005", "no Provider"),
        ({"PURGE": ["Pages"]}, "E007", "Pages"),
    ],
)
def test_what_is_wrong_is_told_with_its_cure(cdn, number, words):
    ((found, text),) = told(**cdn)
    assert found == number
    assert words in text


@override_settings(MIDDLEWARE=[MIDDLEWARE])
@pytest.mark.parametrize(
    ("headers", "number", "words"),
    [
        ({"shop/": {}}, "E006", "'/shop/'"),
        ({"/": {"S_MAXAG": 1}}, "E006", "S_MAXAGE"),
        ({"/": 60}, "E006", "dict"),
        ({"/": {"TAGS": ["a b"]}}, "E007", "a b"),
    ],
)
def test_headers(headers, number, words):
    ((found, text),) = told(HEADERS=headers)
    assert found == number
    assert words in text


def test_where_the_middleware_stands():
    headers = {"/": {"S_MAXAGE": 1}}
    with override_settings(MIDDLEWARE=[]):
        assert [number for number, _ in told(HEADERS=headers)] == ["W002"]
    with override_settings(MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", MIDDLEWARE]):
        assert [number for number, _ in told(HEADERS=headers)] == ["W001"]
    with override_settings(MIDDLEWARE=["noa_perf.pool.middleware.PoolMiddleware", MIDDLEWARE]):
        assert told(HEADERS=headers) == []


def test_what_matters_where_a_site_is_served():
    plain = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    ours = {"staticfiles": {"BACKEND": "noa_perf.cdn.storage.ReleaseStaticFilesStorage"}}
    with override_settings(STORAGES=plain):
        assert [number for number, _ in told(checks.check_deployment)] == ["W003"]
    with override_settings(STORAGES=ours):
        assert told(checks.check_deployment) == []
        literal = {"e": {"BACKEND": VARNISH, "URL": "http://a", "TOKEN": "swordfish"}}
        ((number, text),) = told(checks.check_deployment, PROVIDERS=literal)
    assert number == "W004"
    assert "swordfish" not in text
