"""noa_perf on a CMS that it has never seen: the same bodies, a walk of the site, and findings at lines of the site."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import django
import pytest
import wagtail
from common.site import (
    Report,
    Site,
    assert_has_its_row,
    assert_lines_exist,
    assert_same_with_and_without,
    rows_of,
    steady,
)

HERE = Path(__file__).resolve().parent
WAGTAIL = Path(wagtail.__file__).resolve().parent
PAGES = {"visitor": "80", "staff": "160"}
UNSETTLED = (
    r"\?v=[0-9a-f]{8}",  # a hash of INSTALLED_APPS, behind static files
    r'key\\*(&quot;|"): \\*(&quot;|")\w{5}',  # random keys of the editor's blocks
    r'"modelNames": \[[^\]]*\]',  # a set of classes, and the first of another
    r"\b(model|page) log entries",
)
FAILS_ON_PURPOSE = "/admin/failwhale/"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a seeded magazine, its pictures cut by a first visit."""
    magazine = Site("wagtail", HERE, WAGTAIL, tmp_path_factory.mktemp("wagtail"), UNSETTLED)
    magazine.run("migrate", "-v0", noa_perf=False)
    magazine.run("seed_wagtail", noa_perf=False)
    for kind, urls in json.loads(magazine.run("list_pages", noa_perf=False)).items():
        magazine.visit(kind, urls, noa_perf=False)
    magazine.keep()
    return magazine


@pytest.fixture(scope="session", params=PAGES)
def crawled(request: pytest.FixtureRequest, site: Site) -> tuple[str, Report]:
    """Return each kind of user with the report of a walk."""
    return request.param, site.report(request.param, "--crawl", PAGES[request.param])


def test_the_django_that_the_cell_is_about() -> None:
    assert "{}.{}".format(*django.VERSION) == os.environ.get("NOA_PERF_EXPECT_DJANGO", "5.2")


def test_the_site_passes_its_checks(site: Site) -> None:
    site.run("check", "--fail-level", "ERROR", noa_perf=True)


def test_the_migrations_are_all_there(site: Site) -> None:
    site.run("migrate", "--check", noa_perf=True)
    site.run("makemigrations", "--check", "--dry-run", "wagtailsite", noa_perf=True)


def test_a_walk_finds_the_magazine(crawled: tuple[str, Report]) -> None:
    kind, report = crawled
    found = [one for one in report["requests"] if one["status"] == 200]
    public = [one["url"] for one in found if not one["url"].startswith(("/admin/", "/django-admin/"))]
    routes = {one["route"] for one in found}
    assert len(public) >= (10 if kind == "staff" else 60), public
    assert {"/", "/about/", "/search/"} <= set(public)
    assert len(routes) >= (130 if kind == "staff" else 4), sorted(routes)
    to_login = [] if kind == "staff" else ["/django-admin/", "/admin/"]
    assert report["crawl"]["sent_to_login"]["examples"] == to_login


def test_nothing_is_raised_and_noa_perf_never_fails(crawled: tuple[str, Report]) -> None:
    requests = crawled[1]["requests"]
    assert [one["url"] for one in requests if one["error"] and one["url"] != FAILS_ON_PURPOSE] == []
    assert [one["url"] for one in requests if not one["replayable"]] == []
    assert (crawled[1]["failures"], crawled[1]["unreachable"]) == (0, [])


def test_what_is_unsafe_is_left_alone(crawled: tuple[str, Report]) -> None:
    asked = [one["url"] for one in crawled[1]["requests"]]
    assert not [url for url in asked if "/delete/" in url or "logout" in url or url.startswith("/media/")]
    assert crawled[1]["crawl"]["left_alone"]["unsafe"]["count"] > 0


def test_bodies_of_all_pages_of_the_walk_are_the_same_with_and_without(crawled: tuple[str, Report], site: Site) -> None:
    kind, report = crawled
    pages = assert_same_with_and_without(site, kind, [one["url"] for one in report["requests"]])
    assert {url: page["status"] for url, page in pages.items()} == {
        one["url"]: one["status"] for one in report["requests"]
    }


def test_a_walk_writes_nothing(crawled: tuple[str, Report]) -> None:
    assert crawled[1]["changed"] == []


def test_each_finding_names_a_line_that_is_there(crawled: tuple[str, Report], site: Site) -> None:
    assert_lines_exist(site, crawled[1]["findings"])


# Where a maintainer of the magazine changes something, by subject and template; all of it was read by hand.
T = "wagtailsite/templates/wagtailsite"
MODELS, TAGS = "wagtailsite/models.py", "wagtailsite/templatetags/navigation_tags.py"
NEWEST = (MODELS, 'context["newest"] = BlogPage.objects.live()')
POSTS = (MODELS, "blogpages = self.get_children().live()")
CHILDREN = "in page.get_children.live.specific %}"
CHANGED = {
    ("BlogPage.authors", "home_page.html"): NEWEST,
    ("BlogPage.gallery_images", "home_page.html"): NEWEST,
    ("BlogPage.gallery_images", "blog_index_page.html"): POSTS,
    ("BlogPageGalleryImage.image", "blog_index_page.html"): POSTS,
    ("BlogPage.objects.get()", "blog_index_page.html"): POSTS,
    ("Image.renditions", "blog_index_page.html"): POSTS,
    ("BlogPage.latest_revision", "blog_tag_index_page.html"): (MODELS, "BlogPage.objects.filter(tags__name=tag)"),
    ("Author.author_image", "blog_page.html"): (f"{T}/blog_page.html", "{% with authors=page.authors.all %}"),
    ("BlogPageGalleryImage.image", "blog_page.html"): (f"{T}/blog_page.html", "in page.gallery_images.all %}"),
    ("BlogPageRelatedPage.related", "blog_page.html"): (f"{T}/blog_page.html", "in page.related_pages.all %}"),
    ("HomePageFeatured.shown", "home_page.html"): (f"{T}/home_page.html", "in page.featured.all %}"),
    ("PersonPage.author", "team_index_page.html"): (f"{T}/team_index_page.html", CHILDREN),
    ("PersonPage.image", "team_index_page.html"): (f"{T}/team_index_page.html", CHILDREN),
    ("StandardPage.image", "standard_page.html"): (f"{T}/standard_page.html", CHILDREN),
    ("Page.objects.all()", "top_menu_children.html"): (TAGS, '"menuitems_children": parent.get_children()'),
    ("Page.objects.exists()", "base.html"): (TAGS, "page.get_children().live().in_menu().exists()"),
    ("Page", "blog_page.html"): (f"{T}/blog_page.html", "{% slugurl 'tags' %}"),
    ("BlogPageRelatedPage", "blog_page.html"): (f"{T}/blog_page.html", "in page.related_pages.all %}"),
}


@pytest.mark.parametrize("crawled", ["visitor"], indirect=True)
def test_a_visitors_findings_name_the_line_to_change(crawled: tuple[str, Report], site: Site) -> None:
    public = [each for each in crawled[1]["findings"] if each["template"]]
    for (subject, template), (file, text) in CHANGED.items():
        meant = [
            each["change"]
            for each in public
            if each["subject"] == subject and each["template"]["name"].endswith(f"/{template}")
        ]
        assert meant, (subject, template)
        for place in meant:
            assert (place["file"], text in site.line(place)) == (file, True), (subject, place, site.line(place))


def test_each_finding_has_been_read_by_hand(crawled: tuple[str, Report]) -> None:
    rows = rows_of("real-sites-wagtail.md")
    for each in steady(crawled[1]["findings"]):
        file, line = place_of(each)
        assert_has_its_row(rows, each["kind"], each["subject"], file)
        if django.VERSION[:2] == (5, 2):  # another Python or Django numbers a few lines otherwise
            written = re.compile(rf"`{re.escape(each['subject'])}`.*`{re.escape(file)}`(?: \d+,)*{line} ")
            assert any(written.search(row) for row in rows), (each["subject"], file, line)


def place_of(finding: dict[str, Any]) -> tuple[str, str]:
    """Return file and line to change or, where none is named, those that ask, as the page writes them."""
    place = finding["change"] or finding["where"] or finding["template"]
    if place is None:
        return "ModelAdmin", ""
    file = str(place["file"]).removeprefix(f"{T}/").removeprefix("wagtailsite/").removeprefix("wagtail/")
    return file, f" {place['line']},?"
