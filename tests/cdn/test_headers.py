"""Headers for edges: what may be kept for everybody, for how long, and by which tags."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import override_settings as overridden
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from noa_perf.cdn.decorators import edge_cached
from noa_perf.cdn.headers import ATTRIBUTE, PagePolicy, for_whitenoise
from noa_perf.cdn.middleware import EdgeHeadersMiddleware

DUMMY = {"edge": {"BACKEND": "noa_perf.cdn.providers.dummy.Dummy"}}
VARNISH = {"v": {"BACKEND": "noa_perf.cdn.providers.varnish.Varnish", "URL": "http://127.0.0.1:1", "TOKEN": "env:X"}}
PAGES = {
    "/": {"S_MAXAGE": 10},
    "/shop/": {"S_MAXAGE": 60, "STALE_WHILE_REVALIDATE": 30, "STALE_IF_ERROR": 600, "TAGS": ["shop", "pages"]},
    "/shop/now/": {"S_MAXAGE": 1},
}
KEPT = "public, max-age=0, s-maxage=60, stale-while-revalidate=30, stale-if-error=600"


def ask(view, path="/shop/a", method="get", cdn=None, **request):
    with overridden(NOA_PERF={"CDN": {"HEADERS": PAGES, "PROVIDERS": DUMMY | VARNISH, **(cdn or {})}}):
        return EdgeHeadersMiddleware(view)(getattr(RequestFactory(), method)(path, **request))


def page(**headers):
    return lambda request: HttpResponse("x", headers=headers)


def test_a_page_gets_the_policy_of_the_longest_prefix():
    assert ask(page())["Cache-Control"] == KEPT
    assert ask(page(), "/shop/now/x")["Cache-Control"] == "public, max-age=0, s-maxage=1"
    assert ask(page(), "/other")["Cache-Control"] == "public, max-age=0, s-maxage=10"
    assert "Cache-Control" not in ask(page(), cdn={"HEADERS": {"/elsewhere/": {}}})


def test_tags_are_written_for_each_provider_in_use():
    response = ask(page())
    assert response["Cache-Tag"] == "shop,pages"
    assert response["xkey"] == "shop pages"
    assert not ask(page(), "/other").has_header("xkey")


def cookie(request):
    response = HttpResponse("x")
    response.set_cookie("csrftoken", "1")
    return response


@pytest.mark.parametrize(
    "view",
    [
        cookie,
        page(Vary="Accept, Cookie"),
        page(Vary="*"),
        page(Vary="Accept, Authorization"),
        page(**{"Cache-Control": "private"}),
        page(**{"Cache-Control": "max-age=0, No-Store"}),
        lambda request: HttpResponse(status=404),
        lambda request: HttpResponse(status=302),
        lambda request: HttpResponse(status=500),
    ],
)
def test_what_is_for_one_visitor_alone_is_left_as_it_is(view):
    before = view(None)
    after = ask(view)
    assert after.get("Cache-Control") == before.get("Cache-Control")
    assert not after.has_header("xkey")


@pytest.mark.parametrize("method", ["post", "put", "delete", "options"])
def test_only_reading_is_kept(method):
    assert not ask(page(), method=method).has_header("Cache-Control")
    assert ask(page(), method="head").has_header("Cache-Control")


def test_what_a_view_says_itself_stays_and_its_tags_are_added():
    response = ask(page(**{"Cache-Control": "public, s-maxage=5"}))
    assert response["Cache-Control"] == "public, s-maxage=5"
    assert response["xkey"] == "shop pages"


def test_an_answer_to_somebody_who_is_authorized_is_made_public_only_if_that_is_meant():
    token = {"HTTP_AUTHORIZATION": "Token bob"}
    response = ask(page(), **token)
    assert not response.has_header("Cache-Control")
    assert not response.has_header("xkey")
    # What the view has made public itself can be purged.
    assert ask(page(**{"Cache-Control": "public, s-maxage=5"}), **token)["xkey"] == "shop pages"
    opted = {"HEADERS": {"/shop/": {"AUTHORIZED": True}}}
    assert ask(page(), cdn=opted, **token)["Cache-Control"] == "public, max-age=0, s-maxage=60"

    assert ask(edge_cached(60)(page()), cdn=opted, **token).get("Cache-Control") is None
    assert "s-maxage=7" in ask(edge_cached(7, authorized=True)(page()), **token)["Cache-Control"]


def test_a_stream_is_a_page_too():
    assert ask(lambda request: StreamingHttpResponse(["x"]))["Cache-Control"] == KEPT


def test_the_decorator_is_nearer_than_the_settings():
    @edge_cached(s_maxage=300, max_age=5, tags=["one"])
    def view(request):
        return HttpResponse("x")

    response = ask(view)
    assert response["Cache-Control"] == "public, max-age=5, s-maxage=300"
    assert response["xkey"] == "one"


def test_tags_may_come_from_the_arguments():
    @edge_cached(tags=lambda request, pk: [f"book-{pk}"])
    def view(request, pk):
        return HttpResponse("x")

    assert ask(lambda request: view(request, pk=7))["xkey"] == "book-7"


def test_async_views_and_chains():
    @edge_cached(s_maxage=300, tags=["one"])
    async def view(request):
        return HttpResponse("x")

    with override_settings(NOA_PERF={"CDN": {"PROVIDERS": VARNISH}}):
        middleware: Any = EdgeHeadersMiddleware(view)
        response = asyncio.run(middleware(RequestFactory().get("/")))
    assert response["xkey"] == "one"


def test_a_string_is_one_tag():
    assert ask(edge_cached(tags="news")(page()))["xkey"] == "news"
    assert ask(edge_cached(tags=lambda request: "news")(page()))["xkey"] == "news"
    numbers: Any = [7, "a"]
    assert ask(edge_cached(tags=lambda request: numbers)(page()))["xkey"] == "7 a"


@method_decorator(edge_cached(300, tags=["one"]), name="dispatch")
class Later(View):
    async def get(self, request):
        return HttpResponse("x")


def test_async_class_views():
    with override_settings(NOA_PERF={"CDN": {"PROVIDERS": VARNISH}}):
        middleware: Any = EdgeHeadersMiddleware(Later.as_view())
        response = asyncio.run(middleware(RequestFactory().get("/")))
    assert response["xkey"] == "one"
    assert "s-maxage=300" in response["Cache-Control"]


def broken(*arguments):
    raise ZeroDivisionError


@pytest.mark.parametrize("tags", [broken, lambda request: None, lambda: ["too few arguments"]])
def test_tags_that_cannot_be_told_cost_the_headers_and_no_page(caplog, tags):
    caplog.set_level(logging.WARNING, "noa_perf.cdn")
    view = edge_cached(tags=tags)(page())
    with overridden(NOA_PERF={"CDN": {"PROVIDERS": VARNISH, "HEADERS": PAGES}}):
        middleware = EdgeHeadersMiddleware(view)
        for _ in range(3):
            response: Any = middleware(RequestFactory().get("/shop/a"))
            assert response.content == b"x"
            assert not response.has_header("Cache-Control")
            assert not response.has_header("xkey")
    assert caplog.text.count("Logged once") == 1
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("off", ["setting", "variable"])
def test_switched_off_a_decorated_view_is_the_view_alone(monkeypatch, off):
    if off == "variable":
        monkeypatch.setenv("NOA_PERF_DISABLE", "cdn")
    view = edge_cached(tags=lambda request: pytest.fail("called"))(page())
    later = edge_cached(tags=lambda request: pytest.fail("called"))(Later.as_view())
    with overridden(NOA_PERF={"CDN": {"ENABLED": off == "variable"}}):
        assert ATTRIBUTE not in vars(view(RequestFactory().get("/")))
        assert getattr(asyncio.run(later(RequestFactory().get("/"))), ATTRIBUTE, None) is None


def test_a_view_that_answers_nothing_is_left_to_django():
    assert edge_cached()(lambda request: None)(RequestFactory().get("/")) is None


def test_an_answer_with_a_tag_that_nobody_takes_is_not_kept(caplog):
    caplog.set_level(logging.WARNING, "noa_perf.cdn")

    @edge_cached(tags=["no tag"])
    def view(request):
        return HttpResponse("x")

    with overridden(NOA_PERF={"CDN": {"PROVIDERS": VARNISH}}):
        middleware = EdgeHeadersMiddleware(view)
        for _ in range(3):
            assert not middleware(RequestFactory().get("/")).has_header("Cache-Control")
    assert caplog.text.count("Logged once") == 1


def test_a_provider_that_cannot_be_made_costs_its_tags_and_no_page(caplog):
    response = ask(page(), cdn={"PROVIDERS": {"x": {"BACKEND": "no.such.Thing"}}})
    assert response["Cache-Control"] == KEPT
    assert "pages get no tags" in caplog.text


def test_switched_off_it_is_on_no_path():
    with overridden(NOA_PERF={"CDN": {"ENABLED": False}}), pytest.raises(MiddlewareNotUsed):
        EdgeHeadersMiddleware(page())


def test_the_whole_chain_with_a_session(client, db):
    """The session's middleware sets its cookie after the view: whoever looks first sees it last."""
    with overridden(
        NOA_PERF={"CDN": {"HEADERS": {"/": {"S_MAXAGE": 60}}}},
        MIDDLEWARE=[
            "noa_perf.cdn.middleware.EdgeHeadersMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
        ],
        ROOT_URLCONF="tests.cdn.test_headers",
    ):
        assert "s-maxage" in client.get("/plain/")["Cache-Control"]
        assert not client.get("/session/").has_header("Cache-Control")


def test_defaults_keep_nothing_in_browsers():
    assert PagePolicy().cache_control() == "public, max-age=0, s-maxage=60"


def test_an_svg_opened_by_itself_may_do_nothing():
    headers: dict[str, str] = {}
    for_whitenoise(headers, "img/a.SVG", "/static/img/a.svg")
    assert "sandbox" in headers["Content-Security-Policy"]
    headers.clear()
    for_whitenoise(headers, "img/a.png", "/static/img/a.png")
    assert headers == {}


def plain(request):
    return HttpResponse("x")


def session(request):
    request.session["a"] = 1
    return HttpResponse("x")


urlpatterns = [path("plain/", plain), path("session/", session)]
