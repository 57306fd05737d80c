"""Middleware and decorator, sync and async: who is charged, when, and what comes back."""

from __future__ import annotations

import io
import itertools
from typing import Any, cast

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.http import FileResponse, HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View

from noa_perf.ratelimit import registry
from noa_perf.ratelimit.decorators import ratelimit
from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.middleware import RateLimitMiddleware
from noa_perf.ratelimit.storages.memory import MemoryStorage

MIDDLEWARE = [
    "noa_perf.ratelimit.middleware.RateLimitMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
_names = itertools.count()
calls: list[str] = []


def view(request, **kwargs):
    calls.append(request.path)
    return HttpResponse("seen")


async def aview(request, **kwargs):
    calls.append(request.path)
    return HttpResponse("seen")


@ratelimit("2/d", name="decorated")
def decorated(request):
    return HttpResponse("seen")


@ratelimit("2/d", name="adecorated")
async def adecorated(request):
    return HttpResponse("seen")


@ratelimit("1/d", name="marked", on_denial="mark")
def marked(request):
    return HttpResponse("yes" if request.rate_limit else "no", status=200)


@ratelimit("1/d", name="marked-posts", by="user", methods=["POST"], on_denial="mark")
def marked_posts(request):
    return HttpResponse("yes" if request.rate_limit else "no")


def asks(request):
    return HttpResponse("yes" if request.rate_limit else "no")


@method_decorator(ratelimit("2/d", name="klass"), name="dispatch")
class Klass(View):
    def get(self, request):
        return HttpResponse("seen")


@method_decorator(ratelimit("2/d", name="aklass"), name="dispatch")
class AsyncKlass(View):
    async def get(self, request):
        return HttpResponse("seen")


@method_decorator(ratelimit("2/d", name="amethod"), name="get")
class AsyncMethod(View):
    async def get(self, request):
        return HttpResponse("seen")


inner: Any = (
    [path("a/", view, name="a"), path("b/", aview, name="b"), path("deep/", include([path("c/", view)]))],
    "inner",
)

urlpatterns = [
    path("view/", view, name="view"),
    path("aview/", aview, name="aview"),
    path("item/<int:pk>/", view, name="item"),
    path("other/", view, name="other"),
    path("api/", include(([path("list/", view, name="list")], "api"))),
    path("decorated/", decorated),
    path("adecorated/", adecorated),
    path("marked/", marked),
    path("marked-posts/", marked_posts),
    path("asks/", asks),
    path("klass/", Klass.as_view()),
    path("aklass/", AsyncKlass.as_view()),
    path("amethod/", AsyncMethod.as_view()),
    path("shared/", ratelimit("3/d", name="shared")(include(inner, namespace="shared"))),
]


class AsyncFacade:
    """The asynchronous client, called from sync code."""

    def __init__(self):
        self._client = AsyncClient()

    def __getattr__(self, name):
        from asgiref.sync import async_to_sync

        return async_to_sync(getattr(self._client, name))

    def force_login(self, user):
        self._client.force_login(user)


@pytest.fixture(params=["sync", "async"])
def client(request):
    return Client() if request.param == "sync" else AsyncFacade()


@pytest.fixture(autouse=True)
def fresh():
    calls.clear()
    cast("MemoryStorage", registry.limiter().storage).clear()


def site(policies=None, **own):
    return override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=MIDDLEWARE,
        NOA_PERF={"RATELIMIT": {"POLICIES": policies or {}, "KEY_PREFIX": f"e{next(_names)}", **own}},
    )


def statuses(client, *paths, **more):
    return [client.get(one, **more).status_code for one in paths]


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["view", "aview"])
def test_the_middleware_holds_a_policy_and_tells_of_it(client, where, caplog):
    with site({"all": "2/m"}):
        first, _, third = (client.get(f"/{where}/") for _ in range(3))
    assert not [one for one in caplog.records if one.name == "django.request"]
    assert first.headers["RateLimit-Policy"] == '"all";q=2;w=60'
    assert first.headers["RateLimit"].startswith('"all";r=1;t=')
    assert third.status_code == 429
    assert third.headers["Content-Type"] == "application/problem+json"
    assert third.json()["violated-policies"] == ["all"]
    assert 1 <= int(third.headers["Retry-After"]) <= 60
    assert len(calls) == 2


@pytest.mark.django_db
def test_a_browser_gets_a_page(client):
    with site({"all": "1/m"}):
        client.get("/view/")
        refused = client.get("/view/", headers={"accept": "text/html,*/*;q=0.8"})
    assert refused.status_code == 429
    assert refused.headers["Content-Type"].startswith("text/html")


@pytest.mark.django_db
def test_a_method_of_an_extension_has_its_policy():
    with site({"dav": {"limits": "1/d", "methods": ["PROPFIND"]}}):
        found = [Client().generic(method, "/view/").status_code for method in ("propfind", "GET", "MADE", "PROPFIND")]
    assert found == [200, 200, 200, 429]


@pytest.mark.django_db
def test_policies_by_route_namespace_view_and_method(client):
    policies = {
        "route": {"limits": "1/d", "routes": ["item"]},
        "space": {"limits": "1/d", "namespaces": ["api"]},
        "other": {"limits": "1/d", "views": [f"{__name__}.aview"]},
        "post": {"limits": "1/d", "methods": ["post"]},
    }
    with site(policies):
        assert statuses(client, "/item/1/", "/item/2/", "/other/", "/other/") == [200, 429, 200, 200]
        assert statuses(client, "/api/list/", "/api/list/", "/aview/", "/aview/") == [200, 429, 200, 429]
        assert [client.post("/view/").status_code for _ in range(2)] == [200, 429]
        assert client.get("/view/").status_code == 200


@pytest.mark.django_db
def test_head_is_no_way_around_get(client):
    with site({"get": {"limits": "1/d", "methods": ["GET"]}}):
        assert client.get("/view/").status_code == 200
        refused = client.head("/view/")
        assert refused.status_code == 429
        assert refused.content == b""


@pytest.mark.django_db
def test_paths_that_lead_nowhere_are_charged_too(client):
    with site({"all": {"limits": "3/d"}, "route": {"limits": "1/d", "routes": ["view"]}}):
        assert statuses(client, "/x/", "/y/", "/z/", "/x/", "/view/") == [404, 404, 404, 429, 429]


served: list[io.BytesIO] = []


def serves(get_response):
    """A middleware that answers itself, as those do that serve files."""

    def middleware(request):
        served.append(io.BytesIO(b"file"))
        return FileResponse(served[-1])

    return middleware


@pytest.mark.django_db
def test_what_a_refusal_takes_the_place_of_is_closed(client):
    served.clear()
    with site({"all": "1/d"}), override_settings(MIDDLEWARE=[MIDDLEWARE[0], f"{__name__}.serves"]):
        for status in (200, 429):
            response = client.get("/file/")
            assert response.status_code == status
            response.close()
    assert [file.closed for file in served] == [True, True]


@pytest.mark.django_db
def test_a_trick_with_the_path_opens_no_new_bucket(client):
    with site({"each": {"limits": "1/d", "by": ["ip", "endpoint"]}}):
        assert statuses(client, "/item/1/", "/item/2/", "/item/1/?x=1", "/item/01/") == [200, 429, 429, 429]
        assert statuses(client, "/other/") == [200]


@pytest.mark.django_db
def test_users_are_told_apart_wherever_the_middleware_stands(client):
    with site({"users": {"limits": "1/d", "by": "user_or_ip"}}):
        assert statuses(client, "/view/", "/view/") == [200, 429]
        client.force_login(User.objects.create(username="anna"))
        assert statuses(client, "/view/", "/view/") == [200, 429]
        client.force_login(User.objects.create(username="berta"))
        assert statuses(client, "/view/") == [200]


@pytest.mark.django_db
def test_groups_have_limits_of_their_own(client):
    policies = {
        "basic": {"limits": "1/d", "except_groups": ["gold"], "by": "user_or_ip"},
        "gold": {"limits": "3/d", "groups": ["gold"], "by": "user"},
    }
    with site(policies):
        user = User.objects.create(username="anna")
        user.groups.add(Group.objects.create(name="gold"))
        assert statuses(client, "/view/", "/view/") == [200, 429]
        client.force_login(user)
        assert statuses(client, *["/view/"] * 4) == [200, 200, 200, 429]


@pytest.mark.django_db
def test_one_policy_that_refuses_charges_none(client):
    with site({"wide": "5/d", "post": {"limits": "1/d", "methods": ["POST"]}}):
        assert [client.post("/view/").status_code for _ in range(4)] == [200, 429, 429, 429]
        told = client.get("/view/")
    assert '"wide";r=3;' in told.headers["RateLimit"]


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["decorated", "adecorated", "klass", "aklass", "amethod"])
@pytest.mark.parametrize("beside", [{}, {"all": "100/d"}])
def test_the_decorator_on_functions_and_classes(client, where, beside):
    with site(beside):
        assert statuses(client, *[f"/{where}/"] * 3) == [200, 200, 429]
        told = client.get(f"/{where}/").headers
    assert f'"{where}";q=2;w=86400' in told["RateLimit-Policy"]
    assert told["RateLimit"].count(f'"{where}"') == 1
    assert ('"all"' in told["RateLimit"]) == bool(beside)


def test_the_decorator_needs_no_middleware(client):
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        assert statuses(client, *["/decorated/"] * 3) == [200, 200, 429]


@pytest.mark.django_db
def test_a_whole_urlconf_shares_one_quota(client):
    with site():
        assert statuses(client, "/shared/a/", "/shared/b/", "/shared/deep/c/", "/shared/a/") == [200, 200, 200, 429]


@pytest.mark.django_db
def test_a_view_may_decide_for_itself(client):
    with site():
        assert [client.get("/marked/").content for _ in range(2)] == [b"yes", b"no"]


@pytest.mark.django_db
@pytest.mark.parametrize("own", [{"ALLOW": ["127.0.0.0/8"]}, {"ENABLED": False}])
def test_a_view_may_decide_for_whom_no_limit_holds(client, own):
    with site(**own):
        assert [client.get("/marked/").content for _ in range(2)] == [b"yes"] * 2


@pytest.mark.django_db
def test_a_view_may_decide_where_its_own_limit_does_not_hold(client):
    with site():
        asked = [client.get("/marked-posts/"), client.post("/marked-posts/")]  # another method; a guest, not a user
    assert [one.content for one in asked] == [b"yes"] * 2


@pytest.mark.django_db
def test_a_view_may_decide_where_no_policy_holds(client):
    with site({"posts": {"limits": "1/d", "methods": ["POST"], "on_denial": "mark"}}):
        assert client.get("/asks/").content == b"yes"
        assert [client.post("/asks/").content for _ in range(2)] == [b"yes", b"no"]


@pytest.mark.django_db
def test_shadow_mode_denies_nothing_and_tells_nobody(client):
    before = registry.tallies().of("shadow").shadowed
    with site({"shadow": {"limits": "1/d", "shadow": True}}):
        responses = [client.get("/view/") for _ in range(3)]
    assert {one.status_code for one in responses} == {200}
    assert not any("RateLimit" in one.headers for one in responses)
    assert registry.tallies().of("shadow").shadowed == before + 2


@pytest.mark.django_db
def test_a_cost_may_be_the_requests_own(client):
    def cost(request):
        return float(request.GET["cost"])

    with site({"all": {"limits": "10/d", "cost": cost}}):
        assert statuses(client, "/view/?cost=8.2", "/view/?cost=2", "/view/?cost=1") == [200, 429, 200]
        assert statuses(client, "/view/?cost=-5", "/view/", "/view/?cost=nan") == [200, 429, 429]


@pytest.mark.django_db
def test_a_cost_may_be_awaited(client):
    async def cost(request):
        return int(request.GET["cost"])

    with site({"all": {"limits": "10/d", "cost": cost}}):
        assert statuses(client, "/view/?cost=8", "/view/?cost=3", "/view/?cost=2") == [200, 429, 200]


@pytest.mark.django_db
@pytest.mark.parametrize("style", ["draft6", "legacy", "off"])
def test_the_headers_have_a_style(client, style):
    with site({"all": "2/m"}, HEADERS=style):
        headers = client.get("/view/").headers
    names = {name for name in headers if "ratelimit" in name.lower()}
    assert (
        names
        == {
            "draft6": {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy"},
            "legacy": {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
            "off": set(),
        }[style]
    )


@pytest.mark.django_db
def test_an_allowed_network_is_limited_by_nothing(client):
    with site({"all": "1/d"}, ALLOW=["127.0.0.0/8"]):
        assert statuses(client, *["/view/", "/decorated/"] * 3) == [200] * 6


@pytest.mark.django_db
def test_a_denied_network_reaches_nothing(client):
    with site(DENY=["127.0.0.1"]):
        refused = client.get("/view/")
    assert refused.status_code == 403
    assert not calls
    assert registry.tallies().blocked["deny"] >= 1


@pytest.mark.django_db
@override_settings(
    ROOT_URLCONF=__name__,
    MIDDLEWARE=MIDDLEWARE,
    NOA_PERF={"RATELIMIT": {"ENABLED": False, "POLICIES": {"all": "1/d"}, "DENY": ["127.0.0.1"]}},
)
def test_switched_off_means_off(client):
    assert statuses(client, "/view/", "/view/", *["/decorated/"] * 3) == [200] * 5


@pytest.mark.django_db
def test_a_bad_policy_costs_that_policy_alone(client, caplog):
    with site({"bad": "1/fortnight", "nobody": {"limits": "1/d", "by": "uesr"}, "good": "1/d"}):
        assert statuses(client, "/view/", "/view/") == [200, 429]


def test_a_slip_in_a_decorator_is_told_when_it_is_written():
    with pytest.raises(BadPolicy, match="fortnight"):
        ratelimit("1/fortnight")
    with pytest.raises(BadPolicy, match="by is 'uesr'"):
        ratelimit("1/d", by="uesr")
    with pytest.raises(BadPolicy, match="method_decorator"):
        ratelimit("1/d")(Klass)
    with pytest.raises(BadPolicy, match="name"):
        ratelimit("1/d")([path("a/", view)])


def test_a_method_without_method_decorator_is_told_how():
    class Wrong:
        @ratelimit("1/d", name="wrong")
        def get(self, request):
            return HttpResponse()

    with pytest.raises(BadPolicy, match="method_decorator"):
        Wrong().get(RequestFactory().get("/"))


def test_views_without_a_name_count_by_their_path_and_are_listed():
    @ratelimit("5/d")
    def one(request):
        return HttpResponse()

    wrapped = ratelimit("5/d")(view)
    request: Any = RequestFactory().get("/")
    request.user = AnonymousUser()
    wrapped(request)
    assert request.rate_limit.verdicts[0].policy.name == "tests.ratelimit.test_edges.view"
    assert "tests.ratelimit.test_edges.view" in registry.known()


def named(request):
    return HttpResponse(request.rate_limit.verdicts[0].policy.name)


@method_decorator(ratelimit("2/d"), name="dispatch")
class NamelessOne(View):
    def get(self, request):
        return named(request)


class NamelessChild(NamelessOne):
    pass


class NamelessPost(View):
    @method_decorator(ratelimit("2/d"))
    def post(self, request):
        return named(request)


@pytest.mark.parametrize(
    ("view", "method", "name"),
    [
        (NamelessOne, "get", "NamelessOne"),
        (NamelessChild, "get", "NamelessChild"),
        (NamelessPost, "post", "NamelessPost.post"),
    ],
)
def test_classes_without_a_name_have_a_quota_each(view, method, name):
    def ask():
        request: Any = getattr(RequestFactory(), method)("/")
        request.user = AnonymousUser()
        return view.as_view()(request)

    first, *more = [ask() for _ in range(3)]
    assert first.content.decode() == f"tests.ratelimit.test_edges.{name}"
    assert [one.status_code for one in more] == [200, 429]


def test_a_decorator_leaves_other_methods_alone():
    wrapped = ratelimit("1/d", name="posts", methods=["POST"])(view)

    def ask(method):
        request: Any = getattr(RequestFactory(), method)("/")
        request.user = AnonymousUser()
        return wrapped(request).status_code

    assert [ask(method) for method in ("get", "get", "post", "get", "post")] == [200, 200, 200, 200, 429]


@pytest.mark.parametrize("key", ["routes", "namespaces", "views", "groups", "except_groups"])
def test_a_decorator_does_not_ask_which_view_is_meant(key):
    more: dict[str, Any] = {key: ["x"]}
    with pytest.raises(BadPolicy, match="POLICIES"):
        ratelimit("1/d", **more)


def test_the_middleware_is_known_for_what_it_is():
    assert RateLimitMiddleware.sync_capable
    assert RateLimitMiddleware.async_capable


@pytest.mark.django_db
def test_a_user_on_a_list_is_known_wherever_the_middleware_stands(client):
    anna, berta = User.objects.create(username="anna"), User.objects.create(username="berta")
    with site({"all": "1/d"}, ALLOW=[f"user:{anna.pk}"], DENY=[f"user:{berta.pk}"]):
        assert statuses(client, "/view/", "/view/") == [200, 429]
        client.force_login(anna)
        assert statuses(client, "/view/", "/view/", "/nowhere/") == [200, 200, 404]
        client.force_login(berta)
        assert statuses(client, "/view/", "/nowhere/") == [403, 403]
