"""A request's queries are its own, to its last chunk, sync and async."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, RequestFactory
from django.urls import path

from noa_perf.optimizer import capture
from noa_perf.optimizer.middleware import QueryMonitorMiddleware
from noa_perf.optimizer.scopes import Scope, current
from tests.library.models import Author, Tag

pytestmark = pytest.mark.django_db


@pytest.fixture
def closed():
    seen: list[Scope] = []
    with capture.listening(seen.append):
        yield seen


def get(view: Any, path: str = "/x/") -> Any:
    return QueryMonitorMiddleware(view)(RequestFactory().get(path))


def page(request):
    Author.objects.count()
    return HttpResponse("ok")


def test_counts_a_requests_queries(closed):
    response = get(page)

    assert response.content == b"ok"
    assert [(scope.kind, scope.name, scope.queries) for scope in closed] == [("request", "GET /x/", 1)]
    assert current.get() is None


def test_an_exception_goes_through_and_the_scope_ends(closed):
    def broken(request):
        Author.objects.count()
        raise ValueError("the site's own")

    with pytest.raises(ValueError, match="the site's own"):
        get(broken)

    assert [scope.queries for scope in closed] == [1]
    assert current.get() is None


def stream(request):
    def chunks():
        for _ in range(3):
            yield str(Author.objects.count())

    return StreamingHttpResponse(chunks())


def test_queries_of_a_stream_count(closed):
    response = get(stream)
    assert closed == []

    assert b"".join(response.streaming_content) == b"000"
    assert [scope.queries for scope in closed] == [3]


def test_between_chunks_the_scope_is_not_left_open(closed):
    chunks = iter(get(stream).streaming_content)
    next(chunks)

    Author.objects.count()

    assert current.get() is None
    list(chunks)
    assert [scope.queries for scope in closed] == [3]


@pytest.mark.parametrize("begun", [True, False])
def test_a_stream_that_is_given_up_ends_its_scope(closed, begun):
    response = get(stream)
    if begun:
        next(iter(response.streaming_content))

    response.close()

    assert [scope.queries for scope in closed] == [1 if begun else 0]


def test_two_streams_in_turn_keep_apart(closed):
    one, two = iter(get(stream, "/one/").streaming_content), iter(get(stream, "/two/").streaming_content)
    next(one), next(two), next(two)
    list(one), list(two)

    assert sorted((scope.name, scope.queries) for scope in closed) == [("GET /one/", 3), ("GET /two/", 3)]


def test_a_file_keeps_the_servers_fast_path(tmp_path, closed):
    (tmp_path / "x.txt").write_text("x")
    response = get(lambda request: FileResponse((tmp_path / "x.txt").open("rb")))

    assert response.file_to_stream is not None
    assert len(closed) == 1
    response.close()


async def apage(request):
    await Author.objects.acount()
    return HttpResponse("ok")


async def astream(request):
    async def chunks():
        for _ in range(2):
            yield str(await Author.objects.acount())

    return StreamingHttpResponse(chunks())


@pytest.mark.django_db(transaction=True)
async def test_counts_in_an_event_loop(closed):
    response = await get(apage)

    assert response.content == b"ok"
    assert [scope.queries for scope in closed] == [1]
    assert current.get() is None


@pytest.mark.django_db(transaction=True)
async def test_queries_of_an_async_stream_count(closed):
    response = await get(astream)

    assert [chunk async for chunk in response.streaming_content] == [b"0", b"0"]
    assert [scope.queries for scope in closed] == [2]


urlpatterns = [
    path("sync/<int:pk>/", lambda request, pk: page(request)),
    path("async/", apage),
    path("stream/", astream),
]


@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True)
async def test_sync_and_async_views_behind_asgi(closed):
    client = AsyncClient()
    assert (await client.get("/sync/7/")).status_code == 200
    assert (await client.get("/async/")).status_code == 200
    response: Any = await client.get("/stream/")
    assert b"".join([chunk async for chunk in response.streaming_content]) == b"00"

    assert [(scope.route, scope.queries) for scope in closed] == [
        ("/sync/<int:pk>/", 1),
        ("/async/", 1),
        ("/stream/", 2),
    ]


@pytest.mark.urls(__name__)
def test_the_route_is_the_pattern_not_the_path(client, closed):
    client.get("/sync/7/")
    client.get("/nowhere/")

    assert [scope.route for scope in closed] == ["/sync/<int:pk>/", "(no route)"]


def test_ignored_paths_are_not_watched(settings, closed):
    settings.NOA_PERF = {"OPTIMIZER": {"IGNORE_PATHS": ["/health"]}}

    get(page, "/healthz")
    get(page, "/other")

    assert [scope.name for scope in closed] == ["GET /other"]


def test_sampling_keeps_counts_and_times(settings, closed):
    settings.NOA_PERF = {"OPTIMIZER": {"SAMPLE_RATE": 0}}

    get(page)

    assert (closed[0].queries, closed[0].groups) == (1, {})
    assert closed[0].seconds > 0


@pytest.mark.parametrize(
    ("own", "environment"),
    [
        ({"ENABLED": False}, ""),
        ({"OPTIMIZER": {"ENABLED": False}}, ""),
        ({}, "all"),
        ({}, "cache, optimizer"),
    ],
)
def test_switched_off_it_is_not_on_the_path(settings, monkeypatch, own, environment):
    settings.NOA_PERF = own
    monkeypatch.setenv("NOA_PERF_DISABLE", environment)

    with pytest.raises(MiddlewareNotUsed):
        QueryMonitorMiddleware(page)


def test_another_app_switched_off_leaves_it_on(settings, monkeypatch):
    monkeypatch.setenv("NOA_PERF_DISABLE", "cache")

    assert get(page).status_code == 200


def test_an_n_plus_one_raises_where_the_settings_say_so(settings):
    from noa_perf.optimizer.exceptions import NPlusOneError

    settings.NOA_PERF = {"OPTIMIZER": {"ON_N_PLUS_ONE": "raise"}}
    Tag.objects.bulk_create([Tag(name=name) for name in "abcd"])

    def view(request):
        for name in "abcd":
            Tag.objects.get(name=name)

    with pytest.raises(NPlusOneError, match=r"Tag\.objects\.get"):
        get(view)


def test_an_n_plus_one_warns_where_the_settings_say_so(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"ON_N_PLUS_ONE": "warn"}}
    Tag.objects.bulk_create([Tag(name=name) for name in "abcd"])

    def view(request):
        for name in "abcd":
            Tag.objects.get(name=name)
        return HttpResponse()

    with pytest.warns(RuntimeWarning, match=r"Tag\.objects\.get"):
        get(view)
