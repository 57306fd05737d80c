"""System checks: what is wrong with the settings is told by name, with a cure, before anybody is limited wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from django.test import override_settings

from noa_perf.ratelimit import checks as own
from noa_perf.ratelimit import registry
from noa_perf.ratelimit.checks import MIDDLEWARE
from noa_perf.ratelimit.decorators import ratelimit


def told(deploy=False, **section):
    more = section.pop("more", {"MIDDLEWARE": [MIDDLEWARE]})
    with override_settings(NOA_PERF={"RATELIMIT": section}, **more):
        found = [*own.check_settings(), *own.check_routes(), *(own.check_deployment() if deploy else [])]
    assert all(one.hint for one in found)
    return [(one.id.removeprefix("noa_perf_ratelimit."), f"{one.msg} {one.hint}") for one in found]


def ids(*args, **section):
    return [number for number, _ in told(*args, **section)]


def test_sound_settings_are_told_nothing_of():
    assert told(POLICIES={"all": "100/m", "cart": {"limits": ["5/s", "20/m"], "routes": ["shop:cart"]}}) == []
    assert told() == []


@pytest.mark.parametrize(
    ("section", "number", "words"),
    [
        ({"POLICY": {}}, "E002", "POLICIES"),
        ({"TIMEOUT": "1s"}, "E003", "TIMEOUT"),
        ({"IPV6_PREFIX": 200}, "E004", "IPV6_PREFIX"),
        ({"POLICIES": {"a": "100 a minute"}}, "E005", "100/m"),
        ({"POLICIES": {"a": "100 a minute"}}, "E005", "policy 'a'"),
        ({"POLICIES": {"a": {"limits": "1/s", "algoritm": "gcra"}}}, "E005", "algorithm"),
        ({"POLICIES": {"a": {"limits": "1/s", "algorithm": "fixed_window", "burst": 3}}}, "E005", "burst"),
        ({"POLICIES": {"a b": "1/s"}}, "E005", "a b"),
        ({"POLICIES": {"a": {"limits": "1/s", "by": "address"}}}, "E005", "address"),
        ({"POLICIES": {"a": {"limits": "1/s", "by": "tenant"}}}, "E010", "TENANT"),
        ({"POLICIES": {"a": {"limits": "1/s", "by": ["ip", "tenant"]}}, "TENANT": "no.where"}, "E010", "'no.where'"),
        ({"STORAGE": "redis://127.0.0.1:port/0"}, "E006", "STORAGE"),
        ({"TRUSTED_PROXIES": ["10.0.0.1/8"]}, "E008", "10.0.0.0/8"),
        ({"DENY": ["somebody"]}, "E009", "somebody"),
        ({"ABUSE": {"a": {"statuses": [404], "maxretry": 0}}}, "E011", "maxretry"),
        ({"CLIENT_IP_HEADER": "HTTP_X_FORWARDED_FOR"}, "E012", '"X-Forwarded-For"'),
        ({"CLIENT_IP_HEADER": "X_Real_IP"}, "E012", '"X-Real-Ip"'),
        ({"API_KEY_HEADER": "X-Key:"}, "E012", "API_KEY_HEADER"),
    ],
)
def test_each_slip_is_an_error_that_names_the_cure(section, number, words):
    (found,) = told(**section)
    assert found[0] == number
    assert words in found[1]


def test_policies_without_the_middleware_limit_nobody():
    for section in ({"POLICIES": {"a": "1/s"}}, {"DENY": ["192.0.2.1"]}, {"ABUSE": {"a": {"statuses": [404]}}}):
        assert ids(**section, more={"MIDDLEWARE": []}) == ["W001"]


def test_names_that_lead_nowhere():
    policy = {"limits": "1/s", "routes": ["shop:serch"], "namespaces": ["sop"], "views": ["shop.views.Nothing"]}
    found = told(POLICIES={"a": policy})
    assert [number for number, _ in found] == ["W006"] * 3
    assert any("'shop:serch'" in text for _, text in found)
    there = {"limits": "1/s", "routes": ["admin:index"], "namespaces": ["shop"]}
    assert ids(POLICIES={"a": there | {"views": ["testproject.shop.as_is.api.CartView"]}}) == []


def test_methods_that_there_are_not():
    assert ids(POLICIES={"a": {"limits": "1/s", "methods": ["psot", "GET"]}}) == ["W007"]
    assert "'POST, PUT'" in told(POLICIES={"a": {"limits": "1/s", "methods": "POST, PUT"}})[0][1]


def test_for_deployment_who_chooses_an_identity_and_who_is_one_with_all():
    redis = {"STORAGE": "redis://127.0.0.1:6379/0"}
    key = {"limits": "1/s", "by": "api_key"}
    assert ids(True, POLICIES={"a": key}, **redis) == ["W002"]
    assert ids(True, POLICIES={"a": key, "b": "10/s"}, **redis) == []
    assert (
        ids(
            True,
            POLICIES={"a": {**key, "routes": ["shop:cart"]}, "b": {"limits": "1/s", "routes": ["shop:cart"]}},
            **redis,
        )
        == []
    )
    for lulls in ({"limits": "1/s", "by": "user"}, {"limits": "1/s", "shadow": True}):
        assert ids(True, POLICIES={"a": key, "b": lulls}, **redis) == ["W002"]
    assert ids(True, POLICIES={"a": key, "b": {"limits": "1/s", "by": "endpoint"}}, **redis) == []
    assert ids(True, POLICIES={"a": "1/s"}) == ["W003"]
    for everybody in ("0.0.0.0/0", " 128.0.0.0/1", "::/0", "::ffff:0:0/96"):
        assert ids(True, POLICIES={"a": "1/s"}, TRUSTED_PROXIES=[everybody, "unix"], **redis) == ["W005"]
    proxied = {"MIDDLEWARE": [MIDDLEWARE], "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}
    assert ids(True, POLICIES={"a": "1/s"}, more=proxied, **redis) == ["W004"]
    assert ids(True, POLICIES={"a": "1/s"}, TRUSTED_PROXIES=["10.0.0.0/8"], more=proxied, **redis) == []


def test_for_deployment_decorators_and_rules_need_a_redis_and_lists_an_address(monkeypatch):
    monkeypatch.setattr(registry, "_declared", {})
    proxied = {"MIDDLEWARE": [MIDDLEWARE], "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}
    assert ids(True, more=proxied) == []
    assert ids(True, more=proxied, DENY=["192.0.2.1"]) == ["W004"]
    assert ids(True, more=proxied, ABUSE={"a": {"statuses": [404]}}) == ["W003", "W004"]
    ratelimit("5/m", name="alone")
    assert ids(True, more=proxied) == ["W003", "W004"]


def test_the_checks_are_registered():
    registered: Any = checks.registry.registry.get_checks(include_deployment_checks=True)
    assert {own.check_settings, own.check_routes, own.check_deployment} <= set(registered)
    plain: Any = checks.registry.registry.get_checks()
    assert own.check_deployment not in plain
