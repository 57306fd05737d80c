from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

import noa_perf.ratelimit
from noa_perf.ratelimit import denial
from noa_perf.ratelimit.algorithms.base import Figures
from noa_perf.ratelimit.decision import Decision, Reason, Verdict
from noa_perf.ratelimit.policy import Policy

SECOND = 1_000_000
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
REGISTRY = "https://iana.org/assignments/http-problem-types#"


@pytest.fixture(autouse=True)
def templates(tmp_path: Path) -> Iterator[Path]:
    """The app's own templates, and a folder for those of a test."""
    own = Path(noa_perf.ratelimit.__file__).parent / "templates"
    with override_settings(TEMPLATES=[{**django_settings.TEMPLATES[0], "DIRS": [tmp_path, own]}]):
        yield tmp_path


def asked(accept: str | None = None, method: str = "GET") -> HttpRequest:
    headers = {} if accept is None else {"Accept": accept}
    return RequestFactory().generic(method, "/secret-path", headers=headers, REMOTE_ADDR="203.0.113.7")


def over(retry: int = 30 * SECOND) -> Decision:
    policy = Policy.parse("api", ["10/s", "100/m"])
    shadow = Policy.parse("trial", "1/d", shadow=True)
    return Decision(
        False,
        [
            Verdict(policy, policy.limits[0], Figures(True, 9, SECOND, 0)),
            Verdict(policy, policy.limits[1], Figures(False, 0, 60 * SECOND, retry)),
            Verdict(shadow, shadow.limits[0], Figures(False, 0, SECOND, 86_400 * SECOND)),
        ],
    )


def body(response: HttpResponse) -> dict[str, Any]:
    assert response["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = json.loads(response.content)
    assert found["status"] == response.status_code
    return found


def test_an_api_client_gets_a_problem():
    response = denial.response(asked("application/json"), over())
    assert response.status_code == 429
    assert body(response) == {
        "type": f"{REGISTRY}quota-exceeded",
        "title": "Too many requests",
        "status": 429,
        "detail": "More requests came from you than are allowed in this time.",
        "violated-policies": ["api-100-m"],
        "retry-after": 30,
    }
    assert response["Retry-After"] == "30"
    assert response["RateLimit"] == '"api-10-s";r=9;t=1, "api-100-m";r=0;t=30'
    assert response["Cache-Control"] == "no-store"
    assert response["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("reason", "status", "type_"),
    [
        ("limit", 429, f"{REGISTRY}quota-exceeded"),
        ("unavailable", 503, f"{REGISTRY}temporary-reduced-capacity"),
        ("ban", 429, f"{REGISTRY}abnormal-usage-detected"),
        ("deny", 403, "about:blank"),
    ],
)
def test_each_reason_has_its_answer(reason: Reason, status, type_):
    response = denial.response(asked(), Decision(False, reason=reason))
    assert response.status_code == status
    assert body(response)["type"] == type_
    assert not {"violated-policies", "retry-after"} & set(body(response))
    assert "Retry-After" not in response
    page = denial.response(asked(BROWSER), Decision(False, reason=reason, retry=5_400 * SECOND))
    assert page.status_code == status
    assert page["Retry-After"] == "5400"
    assert "<strong>90 minutes</strong>" in page.content.decode()


@pytest.mark.parametrize(
    "accept", [BROWSER, "text/html", "text/*", "text/html, */*;q=0.1", "application/json;q=0.5, text/html"]
)
def test_a_browser_gets_a_page(accept):
    response = denial.response(asked(accept), over())
    assert response.status_code == 429
    assert response["Content-Type"].startswith("text/html")
    assert "<strong>30 seconds</strong>" in response.content.decode()
    assert response["Retry-After"] == "30"
    assert response["Cache-Control"] == "no-store"
    assert response["Vary"] == "Accept"


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/*",
        "image/png",
        "application/json, text/html;q=0.9",
        "text/html;q=0",
        "application/problem+json",
    ],
)
def test_everybody_else_gets_json(accept):
    body(denial.response(asked(accept), over()))


@given(st.text())
def test_no_accept_header_breaks_it(accept):
    assert denial.response(asked(accept), over()).status_code == 429


def test_a_page_names_no_time_where_nobody_knows_one():
    page = denial.response(asked(BROWSER), over(retry=-1)).content.decode()
    assert "try again" not in page


def test_nothing_tells_who_was_counted():
    for accept in (BROWSER, "*/*"):
        told = denial.response(asked(accept), over())
        assert "203.0.113.7" not in told.content.decode() + str(told.headers)
        assert "trial" not in told.content.decode() + str(told.headers)
        assert "secret-path" not in told.content.decode()


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
def test_head_has_the_headers_and_no_body(accept):
    whole, head = (denial.response(asked(accept, method), over()) for method in ("GET", "HEAD"))
    assert head.content == b""
    assert head["Content-Length"] == str(len(whole.content))
    assert head["Content-Type"] == whole["Content-Type"]


def test_a_site_has_a_page_of_its_own(templates):
    (templates / "slow_down.html").write_text("{{ status }} {{ seconds }} {{ request.path }}")
    with override_settings(NOA_PERF={"RATELIMIT": {"TEMPLATE": "slow_down.html"}}):
        assert denial.response(asked(BROWSER), over()).content == b"429 30 /secret-path"


@pytest.mark.parametrize(
    "written", [None, "{% nonsense %}", "{{ request.nothing.at|add:'x' }}{% include 'none.html' %}"]
)
def test_a_broken_page_is_logged_once_and_json_takes_its_place(templates, written, caplog):
    denial._broken.clear()
    if written is not None:
        (templates / "broken.html").write_text(written)
    with override_settings(NOA_PERF={"RATELIMIT": {"TEMPLATE": "broken.html"}}):
        for _ in range(2):
            body(denial.response(asked(BROWSER), over()))
    assert len([record for record in caplog.records if record.name == "noa_perf.ratelimit"]) == 1


def test_the_page_is_in_the_language_of_the_request():
    with translation.override("ar"):
        assert '<html lang="ar" dir="rtl">' in denial.response(asked(BROWSER), over()).content.decode()


def test_the_style_of_headers_is_that_of_the_settings():
    with override_settings(NOA_PERF={"RATELIMIT": {"HEADERS": "legacy"}}):
        response = denial.response(asked(), over())
    assert response["X-RateLimit-Remaining"] == "0"
    assert "RateLimit" not in response


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 second"),
        (99, "99 seconds"),
        (100, "2 minutes"),
        (3600, "60 minutes"),
        (5941, "2 hours"),
        (172_801, "3 days"),
    ],
)
def test_a_wait_is_told_in_words_and_never_too_short(seconds, words):
    assert denial.in_words(seconds) == words
