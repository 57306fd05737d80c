from __future__ import annotations

import re
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model, login
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import ResolverMatch
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.ratelimit import identity, keys
from noa_perf.ratelimit.conf import settings
from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.identity import aidentify, chosen_by_client, client_address, client_ip, identify, problems
from noa_perf.ratelimit.naming import client_of

FACTORY = RequestFactory()
PEER = "203.0.113.7"
PROXY = "10.0.0.1"
HERE = f"ip:{PEER}"
SPOOFED = {
    "X-Forwarded-For": "6.6.6.6",
    "Forwarded": "for=6.6.6.6",
    "X-Real-IP": "6.6.6.6",
    "CF-Connecting-IP": "6.6.6.6",
}


def ratelimit(**section: Any) -> override_settings:
    return override_settings(NOA_PERF={"RATELIMIT": section})


def asked(peer: str = PEER, path: str = "/", method: str = "GET", **headers: str) -> HttpRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return FACTORY.generic(method, path, headers=named, REMOTE_ADDR=peer)


def with_user(user: Any, **more: Any) -> HttpRequest:
    request = asked(**more)
    request.user = user
    return request


class Someone:
    is_authenticated = True

    def __init__(self, pk: Any) -> None:
        self.pk = pk


@pytest.mark.parametrize("header", SPOOFED)
@pytest.mark.parametrize("proxies", [[], ["10.0.0.0/8"]])
def test_a_header_from_an_untrusted_peer_never_changes_the_identity(header, proxies):
    with ratelimit(TRUSTED_PROXIES=proxies, CLIENT_IP_HEADER=header):
        for value in (SPOOFED[header], f"{SPOOFED[header]}, {SPOOFED[header]}", "garbage", "", "1" * 9000, "\ud800"):
            request = asked()
            request.META["HTTP_" + header.upper().replace("-", "_")] = value
            assert client_ip(request) == PEER
            assert identify("ip", request) == HERE


@pytest.mark.parametrize("header", SPOOFED)
def test_one_header_counts_from_a_trusted_peer_and_no_other(header):
    with ratelimit(TRUSTED_PROXIES=["10.0.0.0/8"], CLIENT_IP_HEADER=header):
        assert client_ip(asked(PROXY, **{header: SPOOFED[header]})) == "6.6.6.6"
        others = {name: value for name, value in SPOOFED.items() if name != header}
        assert client_ip(asked(PROXY, **others)) == PROXY
        assert client_ip(asked(PROXY, **{header: "garbage"})) == PROXY


def test_two_addresses_of_one_64_are_one_client_and_a_mapped_one_is_ipv4():
    assert client_ip(asked("2001:db8:1:2::5")) == client_ip(asked("2001:db8:1:2:9::")) == "2001:db8:1:2::/64"
    assert client_ip(asked("::ffff:1.2.3.4")) == client_ip(asked("1.2.3.4")) == "1.2.3.4"
    assert str(client_address(asked("2001:db8:1:2::5"))) == "2001:db8:1:2::5"
    with ratelimit(IPV4_PREFIX=24, IPV6_PREFIX=48):
        assert client_ip(asked("1.2.3.4")) == "1.2.3.0/24"
        assert client_ip(asked("2001:db8:1:2::5")) == "2001:db8:1::/48"


def test_a_unix_socket_has_one_client_unless_it_is_trusted():
    for peer in ("", "unix:"):
        assert client_ip(asked(peer, X_Forwarded_For="6.6.6.6")) == "unknown"
        assert client_address(asked(peer)) is None
        with ratelimit(TRUSTED_PROXIES=["10.0.0.0/8"]):
            assert client_ip(asked(peer, X_Forwarded_For="6.6.6.6")) == "unknown"
        with ratelimit(TRUSTED_PROXIES=["unix", "10.0.0.0/8"]):
            assert client_ip(asked(peer, X_Forwarded_For="6.6.6.6, 10.0.0.7")) == "6.6.6.6"
            assert client_ip(asked(peer, X_Forwarded_For="garbage")) == "unknown"
            assert client_ip(asked(X_Forwarded_For="6.6.6.6")) == PEER


def test_a_network_that_cannot_be_used_is_left_out_and_told_of():
    with ratelimit(TRUSTED_PROXIES=["unix", "10.0.0.1/8", "10.0.0.1"]):
        assert client_ip(asked(PROXY, X_Forwarded_For="6.6.6.6")) == "6.6.6.6"
        assert '"10.0.0.0/8"' in identity.proxy_problems(settings())["10.0.0.1/8"]
        assert list(identity.proxy_problems(settings())) == ["10.0.0.1/8"]


@given(st.text(), st.text(max_size=300))
def test_finding_an_address_never_raises(peer, value):
    request = asked()
    request.META |= {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": value}
    with ratelimit(TRUSTED_PROXIES=["unix", "0.0.0.0/0", "::/0"]):
        assert re.fullmatch(r"[0-9a-f:./]+|unknown", client_ip(request))


def test_a_user_is_counted_and_nobody_else():
    assert identify("user", with_user(Someone(7))) == "user:7"
    assert identify("user", with_user(AnonymousUser())) is None
    assert identify("user", with_user(Someone(None))) is None
    assert identify("user", asked()) is None
    assert identify("user_or_ip", with_user(Someone(7))) == "user:7"
    assert identify("user_or_ip", with_user(AnonymousUser())) == HERE
    assert identify("user_or_ip", asked()) == HERE


def signed_in(user: Any, cookie: str = "") -> HttpRequest:
    """Return a request of ``user``, as the session and auth middleware make it."""
    request = asked()
    SessionMiddleware(lambda request: HttpResponse()).process_request(request)
    AuthenticationMiddleware(lambda request: HttpResponse()).process_request(request)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    return with_cookie(request.session.session_key or "")


def with_cookie(key: str) -> HttpRequest:
    request = asked()
    request.COOKIES["sessionid"] = key
    SessionMiddleware(lambda request: HttpResponse()).process_request(request)
    AuthenticationMiddleware(lambda request: HttpResponse()).process_request(request)
    return request


@pytest.mark.django_db
def test_only_a_session_that_the_store_knows_is_counted():
    user = get_user_model().objects.create(username="known")
    request = signed_in(user)
    found = identify("session", request)
    assert re.fullmatch("session:[0-9a-f]{32}", str(found))
    assert str(request.session.session_key) not in str(found)
    assert identify("session", with_cookie("madeup" * 6)) == HERE
    assert identify("session", asked()) == HERE
    assert identify("user", request) == f"user:{user.pk}"


@pytest.mark.parametrize("engine", ["signed_cookies", "cache", "file"])
def test_a_made_up_session_opens_no_bucket_in_any_store(engine, tmp_path):
    with override_settings(
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}", SESSION_FILE_PATH=str(tmp_path)
    ):
        assert identify("session", with_cookie("madeup" * 6)) == HERE


@pytest.mark.django_db(transaction=True)
async def test_users_and_sessions_are_found_on_an_event_loop():
    user = await sync_to_async(get_user_model().objects.create)(username="known")
    request = await sync_to_async(signed_in)(user)
    for by in ("user", "user_or_ip"):
        assert await aidentify(by, request) == f"user:{user.pk}"
    fresh = await sync_to_async(with_cookie)(str(request.session.session_key))
    assert re.fullmatch("session:[0-9a-f]{32}", str(await aidentify("session", fresh)))
    made_up = await sync_to_async(with_cookie)("madeup" * 6)
    assert await aidentify("session", made_up) == HERE
    assert await aidentify("user", made_up) is None
    assert await aidentify("user_or_ip", made_up) == HERE


async def test_on_an_event_loop_a_user_without_the_middleware_is_taken_as_it_is():
    assert await aidentify("user", asked()) is None
    assert await aidentify("user", with_user(Someone(7))) == "user:7"
    assert await aidentify(("ip", "user"), with_user(Someone(7))) == identify(("ip", "user"), with_user(Someone(7)))
    assert await aidentify("header:X-Tenant", asked(X_Tenant="acme")) == "header:x-tenant:acme"


@pytest.mark.django_db(transaction=True)
def test_on_an_event_loop_a_user_that_another_middleware_looks_up_is_found():
    pk = User.objects.create(username="anna").pk
    for by, client in (("user", f"user:{pk}"), ("user_or_ip", f"user:{pk}")):
        request = with_user(SimpleLazyObject(lambda: User.objects.get(username="anna")))
        assert async_to_sync(aidentify)(by, request) == client


def test_an_api_key_is_hashed_however_it_is_sent():
    found = {identify("api_key", asked(Authorization=f"{scheme} s3cret")) for scheme in ("Bearer", "token", "Api-Key")}
    assert len(found) == 1
    assert re.fullmatch("key:[0-9a-f]{32}", str(found.pop()))
    assert identify("api_key", asked(Authorization="s3cret")) == identify(
        "api_key", asked(Authorization="Bearer s3cret")
    )
    for value in ("", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz"):
        assert identify("api_key", asked(Authorization=value)) == HERE
    assert identify("api_key", asked()) == HERE
    with ratelimit(API_KEY_HEADER="X-API-Key"):
        assert str(identify("api_key", asked(X_API_Key="s3cret"))).startswith("key:")
        assert identify("api_key", asked(Authorization="Bearer s3cret")) == HERE


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key", "X-Access-Token", "Cookie"])
def test_a_header_that_holds_a_secret_is_hashed(header):
    found = identify(f"header:{header}", asked(**{header: "s3cret"}))
    assert re.fullmatch(f"header:{header.lower()}:[0-9a-f]{{32}}", str(found))


def test_user_7_and_a_header_7_are_two_clients():
    request = with_user(Someone(7), X_Id="7")
    found = {identify(by, request) for by in ("user", "header:X-Id", "header:X-ID", lambda request: 7)}
    assert found == {"user:7", "header:x-id:7", "own:7"}
    assert identify("header:X-Id", asked()) == HERE


@given(st.text(), st.text())
def test_values_of_a_header_are_fit_for_keys_and_never_collide(one, other):
    def told(value: str) -> str | None:
        request = asked()
        request.META["HTTP_X_ID"] = value
        return identify("header:X-Id", request)

    assert re.fullmatch(r"[!-z|~]{1,160}", str(told(one)))
    assert (told(one) == told(other)) == (one.strip() == other.strip())


def test_an_endpoint_is_the_route_and_never_the_path():
    def at(path: str, route: str, *names: str) -> str | None:
        request = asked(path=path)
        request.resolver_match = ResolverMatch(
            lambda request: None, (), {}, names[-1], namespaces=list(names[:-1]), route=route
        )
        return identify("endpoint", request)

    assert at("/item/1/", "item/<int:pk>/", "shop", "item") == at("/item/2/", "item/<int:pk>/", "shop", "item")
    assert at("/item/1/", "item/<int:pk>/", "shop", "item") != at("/item/1/", "item/<int:pk>/", "stock", "item")
    assert identify("endpoint", asked(path="/no/such")) == identify("endpoint", asked(path="/nor")) == "endpoint:(none)"
    bare = HttpRequest()
    bare.resolver_match = ResolverMatch(broken, (), {})
    assert identify("endpoint", bare) == f"endpoint:{keys.join((f'{__name__}.broken', ''))}"
    with translation.override("de"):
        german = at("/de/artikel/", "de/artikel/", "shop", "item")
    with translation.override("en"):
        assert at("/en/item/", "en/item/", "shop", "item") == german == "endpoint:shop:item"


def test_a_route_without_a_name_is_one_in_every_language():
    def at(language: str) -> str | None:
        request = asked()
        request.resolver_match = ResolverMatch(broken, (), {}, route=f"{language}/item/")
        with translation.override(language):
            return identify("endpoint", request)

    assert at("de") == at("en") == f"endpoint:{keys.join((f'{__name__}.broken', 'item/'))}"


def test_a_method_is_one_of_few():
    assert identify("method", asked(method="POST")) == "method:POST"
    assert identify("method", asked(method="MADEUP")) == identify("method", asked(method="OTHER")) == "method:other"


def tenant_of(request: HttpRequest) -> str | None:
    return request.headers.get("X-Tenant")


async def atenant_of(request: HttpRequest) -> str | None:
    return request.headers.get("X-Tenant")


@pytest.mark.parametrize("function", [tenant_of, atenant_of])
async def test_a_tenant_is_named_by_the_site(function):
    with ratelimit(TENANT=f"{__name__}.{function.__name__}"):
        for request, client in ((asked(X_Tenant="acme"), "tenant:acme"), (asked(), HERE)):
            assert await aidentify("tenant", request) == client
            assert await sync_to_async(identify)("tenant", request) == client
        assert problems("tenant") == []
    assert identify("tenant", asked(X_Tenant="acme")) == HERE
    assert "TENANT" in problems("tenant")[0]


async def test_a_callable_names_the_client():
    assert identify(lambda request: "acme", asked()) == "own:acme"
    assert identify(lambda request: None, asked()) is None
    assert await aidentify(atenant_of, asked(X_Tenant="acme")) == "own:acme"


def of_the_database(request: HttpRequest) -> int:
    return User.objects.get(username=request.headers["X-Name"]).pk


@pytest.mark.django_db(transaction=True)
def test_on_an_event_loop_a_plain_callable_may_ask_the_database():
    pk = User.objects.create(username="anna").pk
    request = asked(X_Name="anna")
    with ratelimit(TENANT=f"{__name__}.of_the_database"):
        assert async_to_sync(aidentify)("tenant", request) == identify("tenant", request) == f"tenant:{pk}"
    assert async_to_sync(aidentify)(of_the_database, request) == identify(of_the_database, request) == f"own:{pk}"


def broken(request: HttpRequest) -> str:
    raise RuntimeError("who is 203.0.113.7?")


def strange(request: HttpRequest) -> Any:
    return object()


@pytest.mark.parametrize("by", [broken, strange])
async def test_a_callable_that_fails_is_logged_once_and_falls_back_to_the_address(by, caplog):
    identity._complained.clear()
    assert [identify(by, asked()), await aidentify(by, asked())] == [HERE, HERE]
    assert len(caplog.records) == 1
    assert by.__name__ in caplog.text
    assert PEER not in caplog.text


@pytest.mark.parametrize("value", ["acme", "Köln Süd", "a{b}", "x" * 81, "#17", "5:a b", "12:34"])
def test_a_client_is_found_again_as_people_write_it(value):
    for by, written in (
        (lambda request: value, f"own:{value}"),
        ("header:X-Id", f"header:X-Id:{value}"),
        (("ip", "header:X-Id"), f"header:x-id:{value}"),
    ):
        request = asked()
        request.META["HTTP_X_ID"] = value
        client = identify(by, request)
        parts = [PEER, written] if isinstance(by, tuple) else [written]
        assert client_of(parts) == client
        assert isinstance(by, tuple) or client_of([str(client)]) == client


def test_a_tuple_is_counted_together():
    request = with_user(Someone(7), X_Id="7")
    assert identify(("user", "header:X-Id"), request) == "6:user:713:header:x-id:7"
    assert identify(("user", "header:X-Id"), request) != identify(("header:X-Id", "user"), request)
    assert identify(["ip"], request) == identify(("ip",), request) == HERE
    assert identify(("ip", "user"), asked()) is None


def test_who_means_nobody_is_told_so():
    with pytest.raises(BadPolicy, match='Did you mean "user_or_ip"'):
        identify("user-or-ip", asked())
    for by in ("header:", "header:X_Id", "nobody", (), 7, None, ("ip", "nobody")):
        with pytest.raises(BadPolicy, match="by is"):
            identify(by, asked())
    assert problems(("ip", "header:X-Id", broken)) == []


@pytest.mark.parametrize(
    ("by", "chosen"),
    [
        ("header:X-Id", True),
        ("api_key", True),
        ("method", True),
        (("method", "endpoint"), True),
        (("ip", "header:X-Id"), True),
        ("ip", False),
        ("user", False),
        ("session", False),
        ("endpoint", False),
        (("ip", "method"), False),
        ((broken, "method"), False),
        (["user_or_ip", ("endpoint", "method")], False),
    ],
)
def test_what_a_client_can_choose_is_known(by, chosen):
    assert chosen_by_client(by) is chosen


def test_a_callable_that_cannot_be_hashed_serves_too():
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, request: HttpRequest) -> int:
            return 7

    assert identify(Unhashable(), asked()) == "own:7"
