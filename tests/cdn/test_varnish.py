"""Purging a real Varnish, and verifying through it."""

from __future__ import annotations

import io
import json
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from noa_perf.cdn import edges, service
from noa_perf.cdn.exceptions import BadProvider, BadPurge, PurgeError
from noa_perf.cdn.providers.dummy import Dummy
from noa_perf.cdn.providers.varnish import vcl
from noa_perf.cdn.purging import purge
from tests.cdn.origin import Origin
from tests.cdn.site import site, write
from tests.servers.registry import get
from tests.servers.varnish import TOKEN, Varnish

pytestmark = pytest.mark.server

FILES: dict[str, Any] = {
    "css/app.css": "".join(f".c{place} {{ width: {place}px }}\n" for place in range(200)),
    "img/a.svg": "<svg xmlns='http://www.w3.org/2000/svg'></svg>" * 20,
    "img/b.bin": bytes(range(256)) * 8,
    "odd name.txt": "odd",
}
TAGS = {"/page/a": "one all", "/page/b": "two all", "/page/c": "three"}


@pytest.fixture
def varnish():
    return get(Varnish)


class Ended(Origin):
    """An origin whose server may have ended on an earlier call by the time that it is woken for its end."""

    def __exit__(self, *args):
        with suppress(OSError):
            super().__exit__(*args)
        self._thread.join(60)


@pytest.fixture
def here(tmp_path, varnish, monkeypatch):
    """A site behind Varnish; yields its origin."""
    monkeypatch.setenv("TOKEN_OF_TESTS", TOKEN)
    url = varnish.urls()["varnish"]
    entry = {"BACKEND": "noa_perf.cdn.providers.varnish.Varnish", "URL": url, "TOKEN": "env:TOKEN_OF_TESTS"}
    with site(tmp_path, FILES, cdn={"PROVIDERS": {"edge": entry}}) as root:
        root.mkdir()
        with Ended(root, TAGS) as origin:
            varnish.put_before(origin.url)
            yield origin


@pytest.fixture(scope="module", autouse=True)
def _client():
    global client
    with httpx.Client(trust_env=False) as client:
        yield


client: httpx.Client


def ask(path, encoding="identity", **headers):
    url = get(Varnish).urls()["varnish"] + path
    return client.get(url, headers={"Accept-Encoding": encoding, **headers})


def kept(path, encoding="identity"):
    """Ask twice; say whether the second answer came from the edge."""
    ask(path, encoding)
    return ask(path, encoding).headers["X-Cache"] == "HIT"


def run(command, *arguments):
    out = io.StringIO()
    code: Any = 0
    try:
        call_command(command, *arguments, stdout=out)
    except SystemExit as ended:
        code = ended.code
    return code, out.getvalue()


def published(path):
    code, out = run("cdn_deploy", "--format", "json")
    assert code == 0, out
    from django.contrib.staticfiles.storage import staticfiles_storage

    return staticfiles_storage.url(path)


def test_an_address_is_forgotten_in_all_its_forms(here):
    path = published("css/app.css")
    for encoding in ("identity", "gzip", "br"):
        assert kept(path, encoding)
        assert ask(path, encoding).headers.get("Content-Encoding", "identity") == encoding
    other = published("img/a.svg")
    assert kept(other)
    purge(urls=[path])
    for encoding in ("identity", "br"):
        assert ask(path, encoding).headers["X-Cache"] == "MISS"
    assert ask(other).headers["X-Cache"] == "HIT"


def test_an_address_with_blanks_and_a_query(here):
    path = published("odd name.txt")
    assert "%20" in path
    assert kept(path)
    purge(urls=[path.replace("%20", "%20")])
    assert ask(path).headers["X-Cache"] == "MISS"
    assert kept("/page/x?a=1&b=2")
    purge(urls=["/page/x?a=1&b=2", "/page/nobody-asked"])
    assert ask("/page/x?a=1&b=2").headers["X-Cache"] == "MISS"


def raw(target, host="www.example.com"):
    """Ask as a browser does, with nothing between that would write an address in another way; say whether it was kept.

    Once: what is asked for twice has been kept by then.
    """
    place = urlsplit(get(Varnish).urls()["varnish"])
    with socket.create_connection((place.hostname, place.port)) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    return b"X-Cache: HIT" in answer


@pytest.mark.parametrize("purged", ["urls", "prefixes"])
@pytest.mark.parametrize(
    "base",
    [
        "http://WWW.Example.com",
        "http://www.example.com:80",
        "https://www.example.com:443",
        "https://user:pw@www.example.com",
    ],
)
def test_hosts_are_those_that_browsers_send(here, purged, base):
    raw("/page/a")
    assert raw("/page/a")
    wanted: dict[str, Any] = {purged: [base + "/page/a"]}
    purge(**wanted)
    assert not raw("/page/a")


def test_hosts_with_other_letters_and_with_a_port_of_their_own(here):
    for host, base in {
        "xn--mnchen-3ya.de": "https://München.de",
        "www.example.com:8080": "http://www.example.com:8080",
        "www.example.com:80": "https://www.example.com:80",
        "[::1]:8080": "http://[::1]:8080",
    }.items():
        raw("/page/a", host)
        assert raw("/page/a", host)
        purge(urls=[base + "/page/a"])
        assert not raw("/page/a", host)


def test_what_is_purged_by_its_path_has_the_host_of_the_url(here, settings):
    place = get(Varnish).urls()["varnish"]
    for url in ("http://WWW.Example.com", "https://www.example.com:443/", "http://user:pw@www.example.com"):
        entry = {
            "BACKEND": "noa_perf.cdn.providers.varnish.Varnish", "URL": url, "NODES": [place], "TOKEN": TOKEN,
        }  # fmt: skip
        settings.NOA_PERF = {"CDN": {"PROVIDERS": {"edge": entry}}}
        ways: list[dict[str, Any]] = [{"urls": "/page/a"}, {"prefixes": "/page/"}, {"everything": True}]
        for wanted in ways:
            raw("/page/a")
            assert raw("/page/a")
            purge(**wanted)
            assert not raw("/page/a")


SPELLINGS = [
    ("/page/a[1]", "/page/a[1]"),
    ("/page/a%5B1%5D", "/page/a[1]"),
    ("/page/a[1]", "/page/a%5b1%5d"),
    ("/page/a|b", "/page/a|b"),
    ("/page/a%7Cb", "/page/a|b"),
    ("/page/a^b", "/page/a^b"),
    ("/page/it's", "/page/it's"),
    ("/page/%22%20q", '/page/"%20q'),
    ("/page/caf%C3%A9%20a", "/page/café%20a"),
    ("/page/caf%C3%A9%20a", "/page/caf%c3%a9%20a"),
    ("/page/caf%c3%a9", "/page/café"),
    ("/page/A%2fb", "/page/A%2Fb"),
    ("/page/%7Bid%7D%60", "/page/{id}`"),
    ("/page/a%", "/page/a%"),
    ("/page/a/b", "/page/a\\b"),
    ("/page/x?q=%C3%A9&r=[1]|{2}", "/page/x?q=é&r=[1]|{2}"),
    ("/page/x?q=it%27s", "/page/x?q=it's#here"),
    ("/page/a(b)+$,;:@!~*=&c", "/page/a(b)+$,;:@!~*=&c"),
]
"""What a browser asks for, and what somebody purges."""


@pytest.mark.parametrize("purged", ["urls", "prefixes"])
def test_paths_are_those_that_browsers_send(here, purged):
    raw("/page/other")
    for asked, given in SPELLINGS:
        raw(asked)
        assert raw(asked), asked
        wanted: dict[str, Any] = {purged: ["http://www.example.com" + given]}
        purge(**wanted)
        assert not raw(asked), (asked, given)
    assert raw("/page/other")


def test_prefixes_are_no_patterns(here):
    for path in ("/page/a.b/1", "/page/a.b/2", "/page/axb/1"):
        assert kept(path)
    purge(prefixes=["/page/a.b/"])
    assert [ask(path).headers["X-Cache"] for path in ("/page/a.b/1", "/page/a.b/2", "/page/axb/1")] == [
        "MISS",
        "MISS",
        "HIT",
    ]


def test_tags_and_everything(here):
    for path in TAGS:
        assert kept(path)
    purge(tags=["one", "nobody.has-this_1"], soft=False)
    assert [ask(path).headers["X-Cache"] for path in TAGS] == ["MISS", "HIT", "HIT"]
    purge(tags=["all"], soft=False)
    assert [ask(path).headers["X-Cache"] for path in TAGS] == ["MISS", "MISS", "HIT"]
    purge(everything=True)
    assert [ask(path).headers["X-Cache"] for path in TAGS] == ["MISS", "MISS", "MISS"]


def test_a_soft_purge_serves_what_there_is_while_it_asks_anew(here):
    assert kept("/page/a")
    here.page = "newer"
    before = here.asked["/page/a"]
    purge(tags=["one"])
    assert ask("/page/a").text.startswith("page")  # at once, and asked anew behind it
    for _ in range(500):
        if ask("/page/a").text.startswith("newer"):
            break
    assert ask("/page/a").text.startswith("newer")
    assert here.asked["/page/a"] == before + 1


def test_a_string_is_one(here):
    for path in TAGS:
        assert kept(path)
    assert purge(tags="all", soft=False) == [{"provider": "edge", "said": "1 tag at 1 node"}]
    assert [ask(path).headers["X-Cache"] for path in TAGS] == ["MISS", "MISS", "HIT"]
    assert purge(urls="/page/c", prefixes="/page/d")[0]["said"] == "1 address at 1 node, 1 prefix at 1 node"
    assert ask("/page/c").headers["X-Cache"] == "MISS"


class Breaks(Dummy):
    def purge_tags(self, tags, *, soft):
        raise ZeroDivisionError("somebody's own")


def test_a_provider_that_raises_does_not_keep_the_others_from_it(here, settings):
    known = settings.NOA_PERF["CDN"]["PROVIDERS"]
    first = {"own": {"BACKEND": "tests.cdn.test_varnish.Breaks"}}
    settings.NOA_PERF = {"CDN": {"PROVIDERS": first | known}}
    assert kept("/page/a")
    with pytest.raises(PurgeError, match=r"own was not purged .*somebody's own"):
        purge(tags=["one"], soft=False)
    assert ask("/page/a").headers["X-Cache"] == "MISS"


@pytest.mark.parametrize("token", ["pässwörd", "tok\nX: y"])
def test_a_token_that_no_header_can_carry_is_told_and_not_shown(here, monkeypatch, token):
    monkeypatch.setenv("TOKEN_OF_TESTS", token)
    with pytest.raises(PurgeError, match=r"\['TOKEN'\] holds what no header can carry") as error:
        purge(tags=["one"])
    assert token not in str(error.value)


def test_many_tags_go_in_several_requests(here):
    for path in TAGS:
        assert kept(path)
    purge(tags=[f"{'x' * 100}{place}" for place in range(200)] + ["three"], soft=False)
    assert ask("/page/c").headers["X-Cache"] == "MISS"


def test_without_the_token_nobody_purges(here, monkeypatch):
    assert kept("/page/a")
    for headers in ({}, {"X-Purge-Token": "wrong"}, {"X-Purge-Token": ""}):
        for method in ("PURGE", "BAN"):
            url = get(Varnish).urls()["varnish"] + "/page/a"
            assert client.request(method, url, headers={**headers, "X-Ban-Url": "."}).status_code == 403
    monkeypatch.setenv("TOKEN_OF_TESTS", "wrong")
    with pytest.raises(PurgeError, match=r"403.*NOA_PERF_VARNISH_TOKEN") as error:
        purge(everything=True)
    assert "wrong" not in str(error.value)
    assert ask("/page/a").headers["X-Cache"] == "HIT"
    monkeypatch.delenv("TOKEN_OF_TESTS")
    with pytest.raises(PurgeError, match=r"TOKEN_OF_TESTS, which is not set"):
        purge(everything=True)


def test_a_node_that_is_down_does_not_keep_the_others_from_it(tmp_path, here, settings):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}"
        alive = get(Varnish).urls()["varnish"]
        settings.NOA_PERF = {"CDN": {"PROVIDERS": {"edge": {
            "BACKEND": "noa_perf.cdn.providers.varnish.Varnish", "URL": alive, "NODES": [gone, alive], "TOKEN": TOKEN,
        }}}}  # fmt: skip
        assert kept("/page/a")
        with pytest.raises(PurgeError, match=rf"{gone}: ConnectError.*other nodes were"):
            purge(urls=["/page/a"])
    assert ask("/page/a").headers["X-Cache"] == "MISS"
    assert TOKEN not in repr(edges.provider("edge").__dict__)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"everything": True, "tags": ["a"]},
        {"tags": ["UPPER"]},
        {"tags": ["a b"]},
        {"tags": ["x" * 129]},
        {"urls": ["no-slash"]},
        {"prefixes": ["/a\r\nX: y"]},
        {"urls": ["/a && obj.status == 200"]},
        {"provider": "nobody", "everything": True},
    ],
)
def test_what_cannot_be_meant_is_refused(here, wanted):
    with pytest.raises((BadPurge, BadProvider)):
        purge(**wanted)


def test_a_static_file_is_the_same_for_everybody_and_a_page_is_not(here):
    path = published("css/app.css")
    ask(path, Cookie="a=1")
    assert ask(path, Cookie="b=2").headers["X-Cache"] == "HIT"
    ask("/page/mine", Cookie="a=1")
    assert "b=2" in ask("/page/mine", Cookie="b=2").text


def test_headers_of_the_edge_stay_inside(here):
    path = published("img/a.svg")
    answer = ask(path, "br")
    assert not {"xkey", "x-edge-host", "x-edge-url"} & set(answer.headers)
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "xkey" not in ask("/page/a").headers


@pytest.mark.parametrize("taken", ["br;q=0", "br; q=0.0, gzip", "gzip", "abr", "identity;q=1, *;q=0"])
def test_brotli_for_those_alone_who_take_it(here, taken):
    path = published("css/app.css")
    ask(path, "br")
    assert ask(path, taken).headers.get("Content-Encoding") != "br"
    assert ask(path, "gzip;q=0.5, BR;q=0.9").headers["Content-Encoding"] == "br"


def test_an_answer_that_does_not_say_for_how_long_is_not_kept(here):
    here.spoil["/page/a"] = lambda status, headers, body: (
        status, {name: value for name, value in headers.items() if name != "Cache-Control"}, body,
    )  # fmt: skip
    assert not kept("/page/a")
    assert here.asked["/page/a"] == 2


def test_a_failure_does_not_take_the_place_of_what_is_stale(here):
    assert kept("/page/a")
    here.spoil["/page/a"] = lambda status, headers, body: ("500 Oh", headers | {"Content-Length": "2"}, b"no")
    before = here.asked["/page/a"]
    purge(tags=["one"])
    for _ in range(200):
        assert ask("/page/a").status_code == 200
        if here.asked["/page/a"] > before + 1:  # it went on asking, and went on serving what it had
            break
    assert here.asked["/page/a"] > before
    assert ask("/page/a").text.startswith("page")


def test_what_an_origin_does_not_compress_is_compressed_at_the_edge(here):
    """As a bucket of S3, which does not choose among forms."""
    path = published("css/app.css")
    data = FILES["css/app.css"].encode()
    here.spoil[path] = lambda status, headers, body: (
        status, {"Content-Type": "text/css", "Cache-Control": "max-age=60", "Content-Length": str(len(data))}, data,
    )  # fmt: skip
    answer = ask(path, "gzip, br")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.content == data
    assert "Content-Encoding" not in ask(path).headers
    assert ask(path).content == data


# Verifying.


def faults(*arguments):
    code, out = run("cdn_verify", "--format", "json", *arguments)
    report = json.loads(out)
    assert bool(code) == bool(report["faults"])
    return [(fault["kind"], fault["name"].partition(".")[0], fault["encoding"]) for fault in report["faults"]]


def test_a_release_that_is_served_as_it_was_published(here):
    published("css/app.css")
    assert faults() == []
    _code, out = run("cdn_verify", "--format", "json")
    (edge,) = json.loads(out)["providers"]
    assert edge["requests"] == edge["hits"] > 6


def test_a_stale_file_is_found_and_a_purge_mends_it(here):
    path = published("css/app.css")
    here.spoil[path] = lambda status, headers, body: (
        "200 OK",
        {k: v for k, v in headers.items() if k not in {"Content-Encoding", "Content-Length"}},
        b"/* older */" * 4_000,
    )
    assert ("stale", "css/app", "") in faults()
    here.spoil.clear()
    assert ("stale", "css/app", "") in faults()  # the edge goes on to serve it
    purge(urls=[path])
    assert faults() == []


def test_a_truncated_file_is_found(here):
    path = published("img/b.bin")
    here.spoil[path] = lambda status, headers, body: (
        status,
        headers | {"Content-Length": str(len(body) // 2)},
        body[: len(body) // 2],
    )
    assert faults() == [("truncated", "img/b", "")]


def test_a_connection_that_is_cut_is_found(here):
    path = published("img/b.bin")
    here.spoil[path] = lambda status, headers, body: (status, headers, body[: len(body) // 2])
    assert [kind for kind, name, _ in faults("--base", here.url)] == ["truncated"]
    assert [kind for kind, name, _ in faults()] in (["truncated"], ["missing"])  # the edge answers 503


def test_a_wrong_encoding_is_found(here):
    path = published("css/app.css")
    here.spoil[path] = lambda status, headers, body: (
        status,
        {k: v for k, v in headers.items() if k != "Content-Encoding"},
        body,
    )
    assert ("encoding", "css/app", "br") in faults()
    purge(everything=True)
    here.spoil[path] = lambda status, headers, body: (
        status,
        headers | {"Content-Encoding": "br", "Content-Length": "16"},
        b"no brotli at all",
    )
    assert ("encoding", "css/app", "br") in faults()


def test_what_is_missing_typed_wrongly_or_kept_too_short_is_found(here):
    missing, typed, short = (published(path) for path in ("img/b.bin", "odd name.txt", "img/a.svg"))
    from urllib.parse import unquote

    here.spoil[missing] = lambda status, headers, body: ("404 Not Found", {"Content-Length": "0"}, b"")
    here.spoil[unquote(typed)] = lambda status, headers, body: (status, headers | {"Content-Type": "image/png"}, body)
    here.spoil[short] = lambda status, headers, body: (status, headers | {"Cache-Control": "max-age=60"}, body)
    found = faults()
    assert ("missing", "img/b", "") in found
    assert ("type", "odd name", "") in found
    assert ("headers", "img/a", "br") in found
    assert {name for _, name, _ in found} == {"img/b", "odd name", "img/a"}
    assert {name for _, name, _ in faults("--only", "odd*")} == {"odd name"}


def test_an_edge_that_does_not_answer_is_said_so(here):
    published("img/b.bin")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert {kind for kind, _, _ in faults("--base", base)} == {"unreachable"}


def test_nothing_to_verify_is_no_success(here):
    with pytest.raises(CommandError, match="cdn_deploy first"):
        run("cdn_verify")


# Purging by command, and after a release.


def test_the_command_purges_and_says_what(here):
    for path in TAGS:
        assert kept(path)
    code, out = run("cdn_purge", "--tag", "one", "--url", "/page/c", "--prefix", "/page/b", "--hard")
    assert (code, out) == (0, "purged edge: 1 address at 1 node, 1 prefix at 1 node, 1 tag at 1 node\n")
    assert [ask(path).headers["X-Cache"] for path in TAGS] == ["MISS", "MISS", "MISS"]
    with pytest.raises(CommandError, match="Say what to purge"):
        run("cdn_purge")


def test_another_release_purges_the_pages_that_link_to_it(tmp_path, here, settings):
    settings.NOA_PERF = {"CDN": {**settings.NOA_PERF["CDN"], "PURGE": ["all"]}}
    assert kept("/page/a")
    _code, out = run("cdn_deploy")
    assert "purged edge: 1 tag at 1 node" in out
    write(tmp_path / "assets", {"new.txt": "new"})
    here.page = "newer"
    run("cdn_deploy")
    for _ in range(500):  # a soft purge: the old one is served while the new one is fetched
        if ask("/page/a").text.startswith("newer"):
            break
    assert ask("/page/a").text.startswith("newer")
    _code, out = run("cdn_rollback")
    assert "purged edge" in out


def test_the_edge_that_cannot_be_purged_undoes_no_release(tmp_path, here, settings):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        entry = {
            "BACKEND": "noa_perf.cdn.providers.varnish.Varnish",
            "URL": f"http://127.0.0.1:{closed.getsockname()[1]}", "TOKEN": "x",
        }  # fmt: skip
        settings.NOA_PERF = {"CDN": {**settings.NOA_PERF["CDN"], "PURGE": ["all"], "PROVIDERS": {"edge": entry}}}
        code, out = run("cdn_deploy")
        assert code == 1
        assert "is live" in out
        assert "was not purged everywhere" in " ".join(out.split())
        assert "cdn_purge --tag all" in " ".join(out.split())
        live = service.releases().pointer().live
        assert live
        write(tmp_path / "assets", {"new.txt": "new"})
        code, out = run("cdn_deploy", "--format", "json")
        report = json.loads(out)
        assert (code, report["before"], service.releases().pointer().live) == (1, live, report["release"])
        assert [(each["kind"], each["severity"]) for each in report["findings"]] == [("not_purged", "high")]
        code, out = run("cdn_rollback", "--format", "json")
        assert (code, service.releases().pointer().live) == (1, live)
        assert [each["kind"] for each in json.loads(out)["findings"]] == ["not_purged"]
        assert run("cdn_rollback", report["release"], "--fail-level", "never")[0] == 0
        code, out = run("cdn_rollback")
        assert code == 1
        assert "not purged" in out


def test_an_address_that_is_none_is_told(here):
    published("css/app.css")
    for asked in (
        ("cdn_purge", "--url", "http://[::1/x"),
        ("cdn_purge", "--url", "https:///x"),
        ("cdn_purge", "--prefix", "http://a:99999/"),
        ("cdn_verify", "--base", "http://[::1"),
        ("cdn_verify", "--base", "127.0.0.1:8000"),
        ("cdn_verify", "--base", "foo"),
    ):
        with pytest.raises(CommandError, match=r"is no address|has no host") as error:
            run(*asked)
        assert error.value.returncode == 2


def test_addresses_that_no_header_carries_as_they_are(here):
    assert run("cdn_purge", "--prefix", "/café%20a/", "--url", "https://münchen.de/x", "--url", "/x?q=é")[0] == 0


# Its configuration.


def test_the_vcl_is_what_this_varnish_runs(capsys, here):
    call_command("cdn_edge_config", "varnish", "--origin", here.url)
    out = capsys.readouterr().out
    assert out == vcl(here.url, "/static/")
    assert TOKEN not in out


@pytest.mark.parametrize(
    "origin", ["", "127.0.0.1:80", "https://x.example", 'http://a";}b/', "ftp://x", "http://[::1", "http://a:b"]
)
def test_an_origin_that_is_none_is_refused(origin):
    with pytest.raises(BadProvider, match="origin"):
        vcl(origin, "/static/")
