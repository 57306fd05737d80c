"""``manage.py perf_report --crawl N``: a page of each kind first, nothing unsafe asked for, nothing left behind."""

from __future__ import annotations

import io
import json

import django
import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LogoutView
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import include, path, re_path

from noa_perf.optimizer.crawl import addresses, frontier, links, patterns, unsafe, walk
from noa_perf.optimizer.crawl.addresses import Address, NoAddressError
from noa_perf.optimizer.crawl.frontier import Frontier
from tests.library.fill import fill
from tests.library.models import Book, Publisher

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

asked: list[str] = []
"""Every path that the site below was asked for, with its query."""
committed: list[str] = []


def page(body):
    """Return a view that notes that it was asked, and shows ``body``."""

    def view(request, **kwargs):
        asked.append(request.get_full_path())
        return HttpResponse(body(request, **kwargs) if callable(body) else body)

    return view


def link(*hrefs):
    return "".join(f'<p><a class="x" href="{href}">see</a>' for href in hrefs)


def book(request, pk):
    return Book.objects.get(pk=pk).author.name


def delete_book(request, pk):
    asked.append(request.path)
    Book.objects.filter(pk=pk).delete()
    return HttpResponse("gone")


def wipe(request):
    asked.append(request.path)
    cache.clear()
    return HttpResponse("wiped")


def posting(request):
    Publisher.objects.create(name="posted")
    transaction.on_commit(lambda: committed.append("posted"))
    mail.send_mail("to", "be sent", "from@example.com", ["to@example.com"])
    request.session["seen"] = True
    return HttpResponse("posted")


def broken(request):
    raise ValueError("a page that fails")


def half(request):
    def chunks():
        yield "the beginning"
        raise ValueError("a stream that fails")

    return StreamingHttpResponse(chunks())


def endless(request, pk):
    def events():
        while True:
            yield "data: again\n\n"

    return StreamingHttpResponse(events(), content_type="text/event-stream")


def torrent(request, pk):
    def chunks():
        while True:
            yield b"x" * 1_000_000

    return StreamingHttpResponse(chunks())


def streamed(request):
    return StreamingHttpResponse([link("/reached/from-a-stream/")])


def data(request):
    return JsonResponse({"link": link("/reached/from-json/")})


def saved(request):
    headers = {"Content-Disposition": "attachment; filename=page.html"}
    return HttpResponse(link("/reached/from-a-download/"), headers=headers)


def odd_charset(request):
    return HttpResponse(link("/reached/from-nowhere/"), content_type="text/html; charset=klingon")


def redirect(to):
    return lambda request, **kwargs: HttpResponseRedirect(to(request) if callable(to) else to)


HUGE = link("/reached/from-above/") + "<p>" * walk.MAX_HTML + link("/reached/too-far-down/")

HOME = link(
    *[f"/books/{pk}/" for pk in range(1, 7)],
    "/out/",
    "/books/1/delete/",
    "/books/1/gone/",
    "/old/?action=delete&amp;pk=1",
    "/articles/how-to-delete-a-branch/",
    "/calendar/?month=2000-01",
    "/paths/a/b/",
    "/a page/with spaces/",
    "/käse/",
    "relative/",
    "#fragment",
    "//elsewhere.example.com/",
    "https://elsewhere.example.com/books/1/",
    "mailto:someone@example.com",
    "javascript:void(0)",
    "http://[",
    "/static/app.css",
    "/report.pdf",
    "/old/?export=xlsx",
    "/static/page.html",
    "/" + "x" * 3_000,
    "/loop/1/",
)
HOME += '<a href="/acting/1/" data-method="post">x</a><a href="/acting/2/" rel="noopener nofollow">x</a>'
HOME += '<a href="/acting/5/" hx-confirm="Sure?">x</a><a href="/acting/6/" data-hx-delete="/acting/6/">x</a>'
HOME += """<a href="/acting/3/" onclick="return confirm('Sure?')">x</a><a href="/acting/4/" download>x</a>"""
HOME += '<link rel="next" href="/reached/by-next/"><link rel="stylesheet" href="/reached/as-style/">'
HOME += "<a>no address</a><a href>empty</a><A HREF=/reached/in-capitals/>x</A><![unknown[ <a"


def calendar(request):
    year, month = map(int, request.GET.get("month", "2000-01").split("-"))
    later = f"{year + month // 12}-{month % 12 + 1:02}"
    return link(f"?month={later}", f"/calendar/{later.replace('-', '/')}/")


urlpatterns = [
    path("", page(HOME)),
    path("books/<int:pk>/", page(book), name="book"),
    path("books/<int:pk>/delete/", delete_book),
    path("books/<int:pk>/gone/", delete_book),
    path("out/", LogoutView.as_view()),
    path("wipe/", wipe),
    path("old/", page("old")),
    path("articles/<slug:slug>/", page("an article")),
    path("calendar/", page(calendar)),
    path("calendar/<int:year>/<int:month>/", page(lambda request, year, month: link(f"../../{year + 1}/{month}/"))),
    re_path(r"^paths/((?:[\w-]+/)*)$", lambda request, rest: page(link(f"/paths/{rest}c/"))(request)),
    path("a page/with spaces/", page("spaces")),
    path("käse/", page("unicode")),
    path("shelf/", page(lambda request: "".join(book.author.name for book in Book.objects.all()))),
    path("relative/", page(link("deeper/", "../books/1/", "/relative/?"))),
    path("relative/deeper/", page('<base href="/reached/"><a href="by-base/">x</a>')),
    path("acting/<int:pk>/", page("acted")),
    path("reached/<slug:how>/", page("reached")),
    path("loop/1/", redirect("/loop/2/")),
    path("loop/2/", redirect("/loop/1/")),
    path("loop/self/", redirect(lambda request: request.path)),
    path("posting/", posting),
    path("broken/", broken),
    path("half/", half),
    path("streamed/", streamed),
    # Nothing leads to these: they are slow, and asked for by name.
    path("heavy/<int:pk>/endless/", endless),
    path("heavy/<int:pk>/torrent/", torrent),
    path("heavy/<int:pk>/huge/", page(HUGE)),
    path("data/", data),
    path("saved/", saved),
    path("odd-charset/", odd_charset),
    path("members/", login_required(page("members"))),
    path("members/list/", login_required(page("list"))),
    path("members/more/", login_required(page("more"))),
    path("accounts/login/", page("log in")),
    path("accounts/", login_required(page("account"))),
    path("accounts/orders/", login_required(page("orders"))),
    path("unlinked/", include([path("one/", page("one")), re_path(r"^two/(?:all/)?$", page("two"))])),
    path("admin/", admin.site.urls),
]


@pytest.fixture(autouse=True)
def site(db):
    asked.clear()
    committed.clear()
    fill()


def report(pages=500, *urls, **options):
    out = io.StringIO()
    call_command("perf_report", crawl=pages, url=list(urls), stdout=out, **options)
    return out.getvalue()


def json_report(pages=500, *urls, **options):
    return json.loads(report(pages, *urls, format="json", **options))


def urls_of(found):
    return [one["url"] for one in found["requests"]]


def taken(walked):
    return [str(address) for address in iter(walked.take, None)]


def test_a_page_of_each_kind_comes_before_a_second_of_any():
    walked = Frontier()
    for url in ("/books/1/", "/books/2/", "/books/3/", "/relative/", "/articles/one/", "/articles/two/"):
        walked.offer(Address(url), linked=True)

    firsts, seconds = ["/books/1/", "/relative/", "/articles/one/"], ["/books/2/", "/articles/two/"]
    assert taken(walked) == [*firsts, *seconds, "/books/3/"]


def test_links_and_patterns_take_turns():
    walked = Frontier()
    for url, linked in (("/", True), ("/relative/", True), ("/old/", True), ("/data/", False), ("/saved/", False)):
        walked.offer(Address(url), linked=linked)

    assert taken(walked) == ["/", "/data/", "/relative/", "/saved/", "/old/"]


def test_a_pattern_of_whole_paths_is_many_kinds_but_not_all_there_is():
    walked = Frontier()
    for number in range(20):
        walked.offer(Address(f"/paths/{number}/"), linked=True)
        walked.offer(Address(f"/paths/{number}/inside/"), linked=True)
    walked.offer(Address("/relative/"), linked=True)

    found = taken(walked)
    assert sum("inside" in url for url in found) == 20
    assert len(found) == 20 + frontier.HANDFUL_OF_FOLDER + 1
    assert found.index("/relative/") == frontier.HANDFUL_OF_FOLDER


def test_few_pages_of_a_kind_are_asked_for():
    found = json_report()

    routes = [one["route"] for one in found["requests"]]
    assert routes.count("/books/<int:pk>/") == frontier.HANDFUL
    assert found["crawl"]["left_alone"]["alike"]["examples"][0] == "/books/6/"


@pytest.mark.parametrize(
    ("route", "most"),
    [
        ("/calendar/", frontier.MAX_QUERIES + 1),
        ("/calendar/<int:year>/<int:month>/", frontier.HANDFUL),
        ("/paths/((?:[\\w-]+/)*)$", frontier.MAX_FOLDERS),
        ("/loop/1/", 1),
        ("/loop/self/", 1),
    ],
)
def test_what_never_ends_is_left_after_a_few(route, most):
    found = [one["url"] for one in json_report()["requests"] if one["route"] == route]

    assert 1 <= len(found) <= most


def test_what_is_unsafe_by_its_name_is_never_asked_for():
    get_user_model().objects.create_superuser("ada")
    before = set(Book.objects.values_list("pk", flat=True))

    found = json_report(user="ada")

    assert {"/out/", "/wipe/", "/books/1/delete/", "/books/1/gone/"}.isdisjoint(urls_of(found))
    assert not [path for path in asked if "delete/" in path or "gone" in path or "action=delete" in path]
    assert set(Book.objects.values_list("pk", flat=True)) == before
    alone = found["crawl"]["left_alone"]["unsafe"]
    assert alone["count"] >= 6
    assert "/wipe/" in alone["examples"]


@pytest.mark.parametrize(
    ("path_", "query", "expected"),
    [
        ("/books/1/delete/", "", True),
        ("/books/1/gone/", "", True),
        ("/out/", "", True),
        ("/old/", "", False),
        ("/old/", "delete=1", True),
        ("/old/", "do=Log-Out", True),
        ("/old/", "action=delete_selected", True),
        ("/old/", "do=delete-user&id=4", True),
        ("/old/", "cmd=logoutUser", True),
        ("/old/", "page=approved&order=published", False),
        ("/orders/5/approve/", "", True),
        ("/jobs/3/run/", "", True),
        ("/comments/4/markAsSpam/", "", True),
        ("/deleteall/", "", True),
        ("/undeleted/", "", False),
        ("/old/", "q=how+to+delete", False),
        ("/articles/how-to-delete-a-branch/", "", False),
        ("/articles/delete/", "", True),
        ("/paths/a/delete/", "", True),
        ("/paths/undeleted/things/", "", False),
        ("/no/such/pattern/delete-all/", "", True),
        ("/no/such/pattern/", "", False),
    ],
)
def test_unsafe_by_pattern_view_path_and_query(path_, query, expected):
    assert unsafe.is_unsafe(path_, query, patterns.match_of(path_)) is expected


def test_links_that_act_and_files_are_left_alone():
    found = json_report()

    assert not [url for url in urls_of(found) if url.startswith(("/acting/", "/static/", "/report"))]
    alone = found["crawl"]["left_alone"]
    assert alone["action"]["count"] == 5
    files = {"/acting/4/", "/static/app.css", "/static/page.html", "/report.pdf", "/old/?export=xlsx"}
    assert set(alone["file"]["examples"]) == files
    assert alone["malformed"]["count"] == 2
    assert alone["elsewhere"]["count"] == 4


def test_odd_addresses_are_understood():
    found = urls_of(json_report())

    assert {"/a%20page/with%20spaces/", "/k%C3%A4se/", "/relative/", "/relative/deeper/"} <= set(found)
    assert {"/reached/by-next/", "/reached/by-base/", "/reached/in-capitals/"} <= set(found)
    assert len(found) == len(set(found))


def test_links_come_from_html_alone():
    found = set(urls_of(json_report()))

    assert "/reached/from-a-stream/" in found
    assert {"/data/", "/saved/", "/odd-charset/"} <= found
    unread = {"from-json", "from-a-download", "from-nowhere", "as-style"}
    assert not [url for url in found if url.strip("/").rpartition("/")[2] in unread]


def test_a_huge_page_is_read_as_far_as_is_sensible():
    assert urls_of(json_report(9, "/heavy/1/huge/")) == ["/heavy/1/huge/", "/reached/from-above/"]


@pytest.mark.parametrize("which", ["endless", "torrent"])
def test_a_stream_without_an_end_is_closed(which):
    (found,) = json_report(9, f"/heavy/1/{which}/")["requests"]

    assert (found["status"], found["error"]) == (200, "")


@pytest.mark.parametrize("url", ["/streamed/", "/heavy/1/endless/", "/heavy/1/torrent/"])
def test_the_end_of_a_stream_closes_no_connection(url, monkeypatch):
    """Its transaction would be broken; in a file, SQLite really closes."""
    closed = []
    monkeypatch.setattr(connection, "close", lambda: closed.append(url))

    json_report(1, url)

    assert closed == []


def test_patterns_without_arguments_are_pages():
    found = patterns.without_arguments()

    assert {"/", "/unlinked/one/", "/unlinked/two/", "/k%C3%A4se/", "/admin/auth/group/"} <= set(found)
    assert not [path_ for path_ in found if "<" in path_ or "(" in path_]
    assert [path_.count("/") for path_ in found] == sorted(path_.count("/") for path_ in found)


def test_nothing_is_left_behind(settings, tmp_path):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.file"
    settings.SESSION_FILE_PATH = str(tmp_path)
    get_user_model().objects.create_user("ada")
    mail.outbox.append(mail.EmailMessage("mine"))
    mine = mail.outbox

    found = json_report(3, "/posting/", user="ada")

    assert [(one["url"], one["status"], one["mails"]) for one in found["requests"]] == [("/posting/", 200, 1)]
    assert not Publisher.objects.filter(name="posted").exists()
    assert (committed, list(tmp_path.iterdir())) == ([], [])
    assert mail.outbox is mine
    assert [message.subject for message in mine] == ["mine"]
    assert not Session.objects.exists()
    assert get_user_model().objects.get(username="ada").last_login is None


@pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS is new in Django 6.1")
def test_mail_of_every_mailer_is_held(settings):
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}}

    (found,) = json_report(1, "/posting/")["requests"]

    assert (found["error"], found["mails"]) == ("", 1)


def test_pages_that_fail_are_named_and_the_walk_goes_on():
    found = {one["url"]: one for one in json_report()["requests"]}

    assert (found["/broken/"]["status"], found["/broken/"]["error"]) == (500, "ValueError: a page that fails")
    assert found["/half/"]["error"] == "ValueError: a stream that fails"
    assert "/reached/by-base/" in found


def test_a_page_for_errors_that_fails_too_is_named(monkeypatch):
    monkeypatch.setitem(globals(), "handler500", broken)

    out = io.StringIO()
    with pytest.raises(CommandError, match=r"/broken/ failed \(ValueError: a page that fails\)"):
        call_command("perf_report", crawl=1, url=["/broken/"], format="json", stdout=out)
    (found,) = json.loads(out.getvalue())["requests"]

    assert (found["status"], found["error"]) == (500, "ValueError: a page that fails")


def test_a_visitor_is_sent_to_the_login_once(settings):
    settings.LOGIN_URL = "/accounts/login/"
    found = json_report()

    assert found["crawl"]["sent_to_login"]["examples"] == ["/members/", "/accounts/", "/admin/"]
    assert "/members/list/" in found["crawl"]["left_alone"]["login"]["examples"]
    assert [path_ for path_ in asked if path_.startswith("/accounts/login/")] == ["/accounts/login/"]
    assert "3 pages asked for a login" in report()


def test_what_lies_below_the_login_lies_below_a_slash():
    walked = Frontier()
    for path_ in ("/me", "/me/orders/", "/messages"):
        walked.offer(addresses.Address(path_), linked=False)
    walked.behind_login(addresses.Address("/me"), addresses.Address("/login"))

    assert taken(walked) == ["/messages"]


def test_a_member_of_the_staff_sees_what_the_staff_sees():
    get_user_model().objects.create_superuser("ada")

    found = json_report(user="ada")

    assert {"/members/", "/members/list/", "/admin/", "/admin/auth/group/", "/admin/auth/group/add/"} <= set(
        urls_of(found)
    )
    assert found["crawl"]["sent_to_login"] == {"count": 0, "examples": []}


def test_one_whom_the_staff_pages_refuse_is_told_so():
    get_user_model().objects.create_user("ada")

    found = json_report(user="ada")

    assert found["crawl"]["sent_to_login"]["examples"] == ["/admin/"]


def test_skipped_by_the_user():
    found = json_report(skip=["/books/*", "*relative*"])

    assert not [url for url in urls_of(found) if "books" in url or "relative" in url]
    assert {"/relative/", "/books/1/"} <= set(found["crawl"]["left_alone"]["skipped"]["examples"])


def test_from_a_named_page_only_its_links_are_followed():
    assert urls_of(json_report(500, "/relative/")) == [
        "/relative/",
        "/relative/deeper/",
        "/books/1/",
        "/reached/by-base/",
    ]


def test_what_a_person_names_is_asked_for_whatever_it_is_called():
    assert urls_of(json_report(5, "/wipe/")) == ["/wipe/"]


def test_what_comes_after_the_last_page_is_counted():
    found = json_report(3)

    assert len(found["requests"]) == 3
    assert found["crawl"]["left_alone"]["beyond"]["count"] > 10


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(frontier, "MAX_SEEN", 10)
    found = json_report()

    assert len(found["requests"]) <= 10
    assert found["crawl"]["left_alone"]["crowded"]["count"] > 10


def test_kinds_are_bounded(monkeypatch):
    monkeypatch.setattr(frontier, "MAX_KINDS", 2)
    walked = Frontier()
    for number in range(5):
        walked.offer(Address(f"/nowhere/{number}/page/"), linked=True)

    assert walked.left_alone["crowded"].count == 3


def test_what_is_wrong_is_found_as_on_named_pages():
    named, crawled = (json_report(pages, "/shelf/") for pages in (None, 1))

    assert [one["subject"] for one in crawled["findings"]] == ["Book.author"]
    for report in (named, crawled):
        for finding in report["findings"]:
            del finding["ms"]
    assert crawled["findings"] == named["findings"]


def test_the_table_has_a_line_for_each_pattern():
    text = report(40)

    assert text.count("/books/<int:pk>/") == 1
    assert "that log out, delete or the like by their name" in text
    assert "/broken/ failed: ValueError: a page that fails" in text


def test_the_site_is_asked_for_below_its_prefix(settings):
    from django.urls import set_script_prefix

    settings.FORCE_SCRIPT_NAME = "/below"
    set_script_prefix("/below/")
    try:
        meant = addresses.parse("/below/books/1/", "/", "", "localhost")
        with pytest.raises(NoAddressError, match="elsewhere"):
            addresses.parse("/books/1/", "/", "", "localhost")
    finally:
        set_script_prefix("/")

    assert meant == Address("/books/1/")


@pytest.mark.parametrize(("hosts", "www"), [([], False), (["*"], False), ([".example.com"], False), (["a.org"], True)])
def test_the_site_answers_whatever_its_hosts(settings, hosts, www):
    settings.DEBUG, settings.ALLOWED_HOSTS, settings.PREPEND_WWW = False, hosts, www

    assert [one["status"] for one in json_report(2, "/relative/")["requests"]] == [200, 200]


def test_each_language_is_walked_as_its_own(settings):
    pages = [path("", page(link("other/", "/de/"))), path("other/", page("other"))]
    settings.ROOT_URLCONF = (*i18n_patterns(*pages), path("plain/", page("plain")))
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    settings.LANGUAGES = [("en", "English"), ("de", "Deutsch")]
    settings.LANGUAGE_CODE = "en"

    found = json_report(20)

    statuses = {one["url"]: one["status"] for one in found["requests"]}
    assert statuses == {"/": 302, "/en/": 200, "/en/other/": 200, "/plain/": 200, "/de/": 200, "/de/other/": 200}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crawl": "0"}, r"--crawl '0' is no number of pages.*--crawl 50"),
        ({"crawl": "x"}, r"--crawl 'x' is no number of pages.*--crawl 50"),
        ({"crawl": "-3"}, r"--crawl '-3'"),
        ({"crawl": 5, "by": "route"}, r"--by reports past traffic, --crawl asks for pages now"),
        ({"crawl": 5, "skip": ["books"]}, r"--skip 'books' matches no path.*--skip '\*books\*'"),
        ({"url": ["/"], "skip": ["/books/"]}, r"--skip leaves pages of a crawl alone: add --crawl"),
        ({"crawl": 5, "url": ["books/"]}, r"--url /books/"),
        ({"crawl": 5, "user": "nobody"}, r"no user 'nobody'"),
        ({}, r"--url / .*--crawl 50"),
    ],
)
def test_bad_input_names_the_option_and_the_cure(options, message):
    with pytest.raises(CommandError, match=message) as error:
        call_command("perf_report", **options)
    assert error.value.returncode == 2


@pytest.mark.parametrize(
    "html", ["<![x[ <a href='/b/'>", "<a href='/a/'><!x <a", "<a href='/a/' <a href='/b/'>", "\x00<a"]
)
def test_no_markup_is_too_bad_to_be_read(html):
    links.read(html)
