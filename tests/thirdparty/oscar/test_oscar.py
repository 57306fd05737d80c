"""noa_perf on a site that it has never seen: the same bodies, and findings in oscar's own code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import django
import oscar
import pytest
from common.site import (
    Pages,
    Report,
    Site,
    assert_has_its_row,
    assert_lines_exist,
    assert_same_with_and_without,
    places,
    rows_of,
    steady,
)

HERE = Path(__file__).resolve().parent
OSCAR = Path(oscar.__file__).resolve().parent
KINDS = ("visitor", "staff")


def urls_of(site: Site, kind: str) -> list[str]:
    """Return the URLs that one kind of user visits."""
    listed: list[str] = json.loads(site.run("list_pages", noa_perf=False))[kind]
    return listed


def report_of(site: Site, kind: str) -> Report:
    """Return perf_report's JSON over the pages of one kind of user."""
    return site.report(kind, *(part for url in urls_of(site, kind) for part in ("--url", url)))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a seeded shop, its thumbnails made by a first visit."""
    shop = Site("oscar", HERE, OSCAR, tmp_path_factory.mktemp("oscar"))
    shop.run("migrate", "-v0", noa_perf=False)
    shop.run("seed_oscar", noa_perf=False)
    for kind in KINDS:
        shop.visit(kind, urls_of(shop, kind), noa_perf=False)
    shop.keep()
    return shop


@pytest.fixture(scope="session", params=KINDS)
def reported(request: pytest.FixtureRequest, site: Site) -> tuple[str, Report]:
    """Return each kind of user with the report over its pages."""
    return request.param, report_of(site, request.param)


@pytest.fixture(scope="session")
def seen(site: Site) -> dict[str, Pages]:
    """Return the pages of each kind of user, which are the same with noa_perf and without."""
    return {kind: assert_same_with_and_without(site, kind, urls_of(site, kind)) for kind in KINDS}


@pytest.fixture(scope="session", params=KINDS)
def crawled(request: pytest.FixtureRequest, site: Site) -> tuple[str, Report]:
    """Return each kind of user with the report of a walk."""
    return request.param, site.report(request.param, "--crawl", "150" if request.param == "staff" else "60")


def test_the_django_that_oscar_supports() -> None:
    expected = os.environ.get("NOA_PERF_EXPECT_DJANGO", "5.2")
    assert "{}.{}".format(*django.VERSION) == expected


def test_the_site_passes_its_checks(site: Site) -> None:
    site.run("check", "--fail-level", "ERROR", noa_perf=True)


def test_noa_perf_brings_no_pending_migration(site: Site) -> None:
    site.run("migrate", "--check", noa_perf=True)


def test_bodies_are_the_same_with_and_without(seen: dict[str, Pages]) -> None:
    assert {page["status"] for pages in seen.values() for page in pages.values()} == {200}


def test_the_pages_show_the_catalogue(seen: dict[str, Pages]) -> None:
    assert seen["visitor"]["/catalogue/"]["body"].count('class="product_pod"') == 20


def test_every_page_is_reported(reported: tuple[str, Report], site: Site) -> None:
    kind, report = reported
    requests = report["requests"]
    assert [request["url"] for request in requests] == urls_of(site, kind)
    assert all(request["status"] == 200 for request in requests)
    assert all(request["queries"] > 0 and request["database_ms"] > 0 for request in requests)


def test_findings_name_a_line_of_oscars_own_code(reported: tuple[str, Report], site: Site) -> None:
    findings = reported[1]["findings"]
    named = places(findings, "where", "template", "change")
    assert any(site.source(place).is_relative_to(OSCAR) for place in named)
    assert_lines_exist(site, findings)
    assert all(each["where"] or each["template"] for each in findings)


def test_no_finding_is_laid_to_a_middleware_around_the_view(reported: tuple[str, Report]) -> None:
    named = places(reported[1]["findings"], "where", "change")
    assert [place for place in named if place["name"].endswith("Middleware.__call__")] == []


# Each was read by hand against oscar's source; docs/explanation/real-sites.md says what each is.
N_PLUS_ONES = {
    "visitor": {
        "Product.product_class",
        "Product.stockrecords",
        "ProductAttributeValue.attribute",
        "ProductReview.product",
        "ProductReview.user",
    },
    "staff": {
        "Line.partner",
        "Line.product",
        "Partner.addresses",
        "Partner.users",
        "ProductAttributeValue.attribute",
    },
}

# Where oscar builds the queryset of each, by its subject and a part of its route.
RECOMMENDED = ("oscar/apps/catalogue/abstract_models.py", "self.primary_recommendations")
REVIEWED = ("oscar/apps/catalogue/reviews/views.py", "objects.approved()")
PARTNERS = ("oscar/apps/dashboard/partners/views.py", "_default_manager.all")
ORDERS = ("oscar/apps/dashboard/orders/views.py", "Order._default_manager")
BUILT_AT = {
    "visitor": {
        ("Product.stockrecords", "_(?P<pk>"): RECOMMENDED,
        ("Product.images", "_(?P<pk>"): RECOMMENDED,
        ("Product.product_class", "_(?P<pk>"): RECOMMENDED,
        ("ProductClass.options", "_(?P<pk>"): RECOMMENDED,
        ("ProductAttributeValue.attribute", "_(?P<pk>"): ("oscar/apps/catalogue/views.py", "model = Product"),
        ("ProductReview.user", "_(?P<pk>"): (
            "oscar/templates/oscar/catalogue/detail.html",
            "product.reviews.approved.all",
        ),
        ("ProductReview.user", "/reviews/"): REVIEWED,
        ("ProductReview.product", "/reviews/"): REVIEWED,
    },
    "staff": {
        ("Line.partner", "dashboard/orders"): ORDERS,
        ("Line.product", "dashboard/orders"): ORDERS,
        ("Partner.users", "dashboard/partners"): PARTNERS,
        ("Partner.addresses", "dashboard/partners"): PARTNERS,
        ("Product.attribute_values", "products/"): (
            "oscar/apps/dashboard/catalogue/forms.py",
            "instance.attribute_values.get",
        ),
        ("ProductAttributeValue.attribute", "products/"): (
            "oscar/apps/dashboard/catalogue/forms.py",
            "instance.attribute_values.get",
        ),
    },
}


def test_the_n_plus_ones_read_by_hand_are_found(reported: tuple[str, Report]) -> None:
    kind, report = reported
    found = {each["subject"] for each in report["findings"] if each["kind"] == "n_plus_one"}
    assert N_PLUS_ONES[kind] <= found


def test_each_names_the_line_that_builds_the_queryset(reported: tuple[str, Report], site: Site) -> None:
    kind, report = reported
    findings = [each for each in report["findings"] if each["kind"] == "n_plus_one" and each["certain"]]
    for (subject, route), (file, text) in BUILT_AT[kind].items():
        meant = [each["change"] for each in findings if each["subject"] == subject and route in each["route"]]
        assert (file, True) in [(place["file"], text in site.line(place)) for place in meant], (subject, meant)


def test_each_finding_has_been_read_by_hand(reported: tuple[str, Report]) -> None:
    rows = rows_of("real-sites.md")
    for each in steady(reported[1]["findings"]):
        assert_has_its_row(rows, each["kind"], *each["subject"].split(", "))


def test_a_walk_finds_the_shop_and_nothing_fails(crawled: tuple[str, Report]) -> None:
    kind, report = crawled
    assert (report["failures"], [one for one in report["requests"] if one["error"] or not one["replayable"]]) == (0, [])
    routes = {one["route"] for one in report["requests"] if one["status"] == 200}
    assert len(routes) >= (80 if kind == "staff" else 9), sorted(routes)
    asked = {one["url"] for one in report["requests"]}
    assert not [url for url in asked if "logout" in url or "delete" in url]


def test_each_finding_of_a_walk_has_been_read_by_hand(crawled: tuple[str, Report], site: Site) -> None:
    rows = rows_of("real-sites.md")
    assert_lines_exist(site, crawled[1]["findings"])
    for each in steady(crawled[1]["findings"]):
        assert_has_its_row(rows, each["kind"], *each["subject"].split(", "))


def test_a_report_writes_nothing(reported: tuple[str, Report], crawled: tuple[str, Report]) -> None:
    assert (reported[1]["changed"], crawled[1]["changed"]) == ([], [])


def test_the_same_site_gives_the_same_findings(site: Site) -> None:
    def shape() -> list[tuple[Any, ...]]:
        findings = report_of(site, "visitor")["findings"]
        return sorted((each["kind"], each["subject"], each["fingerprint"], each["count"]) for each in findings)

    assert shape() == shape()
