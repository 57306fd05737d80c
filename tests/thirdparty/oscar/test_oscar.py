"""noa_perf on a site that it has never seen: the same bodies, and findings in oscar's own code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import django
import oscar
import pytest

HERE = Path(__file__).resolve().parent
OSCAR = Path(oscar.__file__).resolve().parent
HEALTHY, FINDINGS = 0, 1

Pages = dict[str, dict[str, Any]]


class Site:
    """One seeded shop, whose commands run with noa_perf installed or without."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def run(self, *command: str, noa_perf: bool, expect: tuple[int, ...] = (0,)) -> str:
        """Run a management command in a process of its own; return what it printed."""
        kept = os.environ | {"OSCAR_DATA": str(self.data), "OSCAR_NOA_PERF": str(int(noa_perf))}
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            check=False,
            cwd=HERE,
            env=kept,
            capture_output=True,
            text=True,
        )
        assert done.returncode in expect, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def keep(self) -> None:
        """Take this state of the database as the seeded one."""
        shutil.copy(self.data / "oscar.sqlite3", self.data / "seeded.sqlite3")

    def restore(self) -> None:
        """Go back to the seeded state."""
        shutil.copy(self.data / "seeded.sqlite3", self.data / "oscar.sqlite3")

    def pages(self, kind: str, *, noa_perf: bool) -> Pages:
        """Fetch the pages of one kind of user, from the seeded state again: a visit leaves traces."""
        self.restore()
        return self.visit(kind, noa_perf=noa_perf)

    def visit(self, kind: str, *, noa_perf: bool) -> Pages:
        """Fetch the pages of one kind of user."""
        user = ("--as", "staff") if kind == "staff" else ()
        found: Pages = json.loads(self.run("dump_pages", *user, *self.urls(kind), noa_perf=noa_perf))
        return found

    def urls(self, kind: str) -> list[str]:
        """Return the URLs that one kind of user visits."""
        listed: list[str] = json.loads(self.run("list_pages", noa_perf=False))[kind]
        return listed

    def report(self, kind: str) -> dict[str, Any]:
        """Return perf_report's JSON over the pages of one kind of user."""
        user = ("--as", "staff") if kind == "staff" else ()
        urls = [part for url in self.urls(kind) for part in ("--url", url)]
        printed = self.run("perf_report", *urls, *user, "--format", "json", noa_perf=True, expect=(HEALTHY, FINDINGS))
        found: dict[str, Any] = json.loads(printed)
        return found


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a seeded shop, its thumbnails made by a first visit."""
    data = tmp_path_factory.mktemp("oscar")
    (data / "media").mkdir()
    shop = Site(data)
    shop.run("migrate", "-v0", noa_perf=False)
    shop.run("seed_oscar", noa_perf=False)
    for kind in ("visitor", "staff"):
        shop.visit(kind, noa_perf=False)
    shop.keep()
    return shop


@pytest.fixture(scope="session", params=["visitor", "staff"])
def reported(request: pytest.FixtureRequest, site: Site) -> tuple[str, dict[str, Any]]:
    """Return each kind of user with the report over its pages."""
    return request.param, site.report(request.param)


def settled(body: str) -> str:
    """Return a body without what differs between any two visits: CSRF tokens and times of day."""
    body = re.sub(
        r'(csrfmiddlewaretoken"? value=|csrf_?token["\']?: *)["\'][^"\']+["\']',
        r"\1",
        body,
        flags=re.IGNORECASE,
    )
    return re.sub(r"\b\d\d:\d\d(:\d\d(\.\d+)?)?", "", body)


def test_the_django_that_oscar_supports() -> None:
    expected = os.environ.get("NOA_PERF_EXPECT_DJANGO", "5.2")
    assert "{}.{}".format(*django.VERSION) == expected


def test_the_site_passes_its_checks(site: Site) -> None:
    site.run("check", "--fail-level", "ERROR", noa_perf=True)


def test_noa_perf_brings_no_pending_migration(site: Site) -> None:
    site.run("migrate", "--check", noa_perf=True)


@pytest.mark.parametrize("kind", ["visitor", "staff"])
def test_bodies_are_the_same_with_and_without(kind: str, site: Site) -> None:
    without, with_it = (site.pages(kind, noa_perf=installed) for installed in (False, True))
    assert {url: page["status"] for url, page in without.items()} == dict.fromkeys(without, 200)
    assert with_it.keys() == without.keys()
    for url, page in without.items():
        assert with_it[url]["status"] == 200
        assert settled(with_it[url]["body"]) == settled(page["body"]), url


def test_the_pages_show_the_catalogue(site: Site) -> None:
    pages = site.pages("visitor", noa_perf=True)
    assert pages["/catalogue/"]["body"].count('class="product_pod"') == 20


def test_every_page_is_reported(reported: tuple[str, dict[str, Any]], site: Site) -> None:
    kind, report = reported
    requests = report["requests"]
    assert [request["url"] for request in requests] == site.urls(kind)
    assert all(request["status"] == 200 for request in requests)
    assert all(request["queries"] > 0 and request["database_ms"] > 0 for request in requests)


def source(place: dict[str, Any]) -> Path:
    """Return the file that a place names: below the site, or below the folder that packages lie in."""
    here = HERE / place["file"]
    return here if here.exists() else OSCAR.parent / place["file"]


def test_findings_name_a_line_of_oscars_own_code(reported: tuple[str, dict[str, Any]]) -> None:
    _, report = reported
    findings = report["findings"]
    places = [each[role] for each in findings for role in ("where", "template", "change") if each[role]]
    assert any(source(place).is_relative_to(OSCAR) for place in places)
    for place in places:
        assert 1 <= place["line"] <= len(source(place).read_text().splitlines()), place
    assert all(each["where"] or each["template"] for each in findings)


def test_no_finding_is_laid_to_a_middleware_around_the_view(reported: tuple[str, dict[str, Any]]) -> None:
    _, report = reported
    places = [each[role] for each in report["findings"] for role in ("where", "change") if each[role]]
    assert [place for place in places if place["name"].endswith("Middleware.__call__")] == []


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


def test_the_n_plus_ones_read_by_hand_are_found(reported: tuple[str, dict[str, Any]]) -> None:
    kind, report = reported
    found = {each["subject"] for each in report["findings"] if each["kind"] == "n_plus_one"}
    assert N_PLUS_ONES[kind] <= found


def test_each_names_the_line_that_builds_the_queryset(reported: tuple[str, dict[str, Any]]) -> None:
    kind, report = reported
    findings = [each for each in report["findings"] if each["kind"] == "n_plus_one"]
    for (subject, route), (file, text) in BUILT_AT[kind].items():
        meant = [each for each in findings if each["subject"] == subject and route in each["route"]]
        assert meant, (subject, route)
        for each in meant:
            assert each["certain"], each
            line = source(each["change"]).read_text().splitlines()[each["change"]["line"] - 1]
            assert (each["change"]["file"], text in line) == (file, True), (subject, each["change"], line)


def test_each_finding_has_been_read_by_hand(reported: tuple[str, dict[str, Any]]) -> None:
    page = HERE.parents[2] / "docs" / "explanation" / "real-sites.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    for each in reported[1]["findings"]:
        names = [f"`{each['kind']}`", *(f"`{part}`" for part in each["subject"].split(", "))]
        assert any(all(name in row for name in names) for row in rows), names


def test_a_report_writes_nothing(site: Site) -> None:
    before = site.run("dumpdata", "analytics", "basket", "order", "sessions", "auth", noa_perf=False)
    for kind in ("visitor", "staff"):
        site.report(kind)
    assert site.run("dumpdata", "analytics", "basket", "order", "sessions", "auth", noa_perf=False) == before


def test_the_same_site_gives_the_same_findings(site: Site) -> None:
    def shape() -> list[tuple[Any, ...]]:
        findings = site.report("visitor")["findings"]
        return sorted((each["kind"], each["subject"], each["fingerprint"], each["count"]) for each in findings)

    assert shape() == shape()
