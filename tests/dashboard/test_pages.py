"""Each page draws what the panels tell, costs little, exports its tables, and shows itself to nobody else."""

from __future__ import annotations

import csv
import io

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from noa_perf.core import panels
from noa_perf.core.clock import SYSTEM
from noa_perf.core.panels import Column, Page, Panel, Row, State, Table, Verdict
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer
from noa_perf.optimizer import capture
from noa_perf.optimizer.scopes import Scope
from tests.dashboard.conftest import staff

pytestmark = pytest.mark.django_db
HOME = "/admin/noa_perf/dashboard/"
PAGES = ["", "queries/", "routes/", "n-plus-one/", "slow/"]


def blocks(client, address):
    return client.get(f"{HOME}{address}?format=json").json()["blocks"]


def key_of(client, slug):
    page = client.get(f"{HOME}{slug}/?format=json").json()
    (table,) = [block for block in page["blocks"] if block["block"] == "table"]
    return table["rows"][0]["link"]["key"]


@pytest.mark.parametrize("page", PAGES)
def test_each_page_is_drawn(traffic, viewer, page):
    response = viewer.get(HOME + page)

    assert response.status_code == 200
    assert "could not be shown" not in response.content.decode()


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("window", ["6h", "24h", "7d", "nonsense"])
def test_each_window(traffic, viewer, page, window):
    assert viewer.get(f"{HOME}{page}?window={window}").status_code == 200


def test_the_overview_says_what_is_wrong_and_how_to_mend_it(traffic, viewer):
    found = {one["title"]: one for one in viewer.get(HOME + "?format=json").json()["optimizer"]}

    assert found["N+1"]["state"] == "bad"
    assert "Book.author" in found["N+1"]["text"]
    assert found["N+1"]["cure"] == '.select_related("author")'
    assert found["Slow"]["state"] == "bad"
    assert found["Errors"]["state"] == "good"
    text = viewer.get(HOME).content.decode()
    assert "Bad" in text
    assert "Evidence for N+1" in text


def test_failed_queries_are_counted_on_the_overview(db, viewer):
    tally = Tally()
    tally.add("route", ("/x/",), 3, 0.5, {10: 3}, queries=9, failed=7)
    Writer(tally, SYSTEM, "default").flush(force=True)

    found = {one["title"]: one for one in viewer.get(HOME + "?format=json").json()["optimizer"]}

    assert (found["Errors"]["state"], found["Errors"]["number"]) == ("warn", "7")


def test_estimates_are_marked(traffic, viewer, settings):
    assert "~" not in viewer.get(HOME + "queries/").content.decode()
    settings.NOA_PERF = {"OPTIMIZER": {"SAMPLE_RATE": 0.5}}
    assert "~" in viewer.get(HOME + "queries/").content.decode()


def test_nothing_wrong_reads_as_good_news(db, viewer):
    found = viewer.get(HOME + "?format=json").json()["optimizer"]

    assert [one["text"] for one in found] == ["Nothing was counted in this window."]
    assert "Well done" in viewer.get(HOME + "n-plus-one/").content.decode()


@pytest.mark.parametrize("slug", ["queries", "routes"])
def test_the_page_of_one_thing(traffic, viewer, slug):
    key = key_of(viewer, slug)

    found = blocks(viewer, f"{slug}/{key}/")

    assert {"stat", "chart", "table", "text"} <= {block["block"] for block in found}
    assert viewer.get(f"{HOME}{slug}/{key}/").status_code == 200


def test_a_statement_shows_its_findings_with_line_and_cure(traffic, viewer):
    page = viewer.get(f"{HOME}queries/?format=json").json()
    (table,) = [block for block in page["blocks"] if block["block"] == "table"]
    key = next(row["link"]["key"] for row in table["rows"] if "library_author.id = %s" in row["cells"][-1])

    found = blocks(viewer, f"queries/{key}/")[-1]

    assert any("tests/dashboard/conftest.py" in str(row["cells"]) for row in found["rows"])
    assert any('.select_related("author")' in row["cells"] for row in found["rows"])


@pytest.mark.parametrize("page", PAGES)
def test_a_page_costs_at_most_a_dozen_queries(traffic, viewer, page):
    viewer.get(HOME + page)

    with CaptureQueriesContext(connection) as asked:
        viewer.get(HOME + page)

    assert len(asked) <= 12, [query["sql"][:120] for query in asked]


def test_the_pages_never_report_themselves(traffic, viewer):
    seen: list[Scope] = []
    with capture.listening(seen.append):
        viewer.get(HOME + "queries/")

    assert seen == []


def test_a_table_as_csv(traffic, viewer):
    response = viewer.get(HOME + "routes/?format=csv")

    rows = list(csv.reader(io.StringIO(response.content.decode())))
    assert rows[0] == ["route", "share", "total", "calls", "mean", "p95", "queries each"]
    assert rows[1][0] == "(no route)"
    assert "attachment" in response["Content-Disposition"]


def test_a_cell_that_a_spreadsheet_would_run_is_text(viewer):
    table = Table(title="x", columns=[Column(title="a")], rows=[Row(cells=["=1+1"])])
    panels.register(
        Panel(
            name="x",
            title="x",
            verdicts=lambda window: [],
            pages=[Page(slug="x", title="x", blocks=lambda window: [table])],
        )
    )
    try:
        assert viewer.get(HOME + "x/?format=csv").content.decode().splitlines()[1] == "'=1+1"
        assert viewer.get(HOME + "x/?format=csv&table=7").status_code == 404
        for number in ("no", "²", "9" * 5_000):
            assert viewer.get(f"{HOME}x/?format=csv&table={number}").status_code == 404
    finally:
        panels._panels.pop("x")


def test_text_is_escaped(viewer):
    hostile = "<script>alert(1)</script>"
    table = Table(title=hostile, columns=[Column(title=hostile)], rows=[Row(cells=[hostile])], note=hostile)
    verdict = Verdict(state=State.BAD, title=hostile, text=hostile, cure=hostile)
    panels.register(
        Panel(
            name="x",
            title=hostile,
            verdicts=lambda window: [verdict],
            pages=[Page(slug="x", title=hostile, blocks=lambda window: [table, verdict])],
        )
    )
    try:
        for address in ("", "x/"):
            assert hostile not in viewer.get(HOME + address).content.decode()
    finally:
        panels._panels.pop("x")


def test_a_page_that_breaks_says_so_and_the_rest_is_shown(traffic, viewer, caplog):
    def broken(window):
        raise RuntimeError("ours")

    panels.register(Panel(name="x", title="Broken", verdicts=broken))
    try:
        text = viewer.get(HOME).content.decode()
    finally:
        panels._panels.pop("x")
    assert "could not be shown" in text
    assert "Book.author" in text
    assert "the page Broken could not be made" in caplog.text


@pytest.mark.parametrize("address", ["nothing/", "queries/nothing/", "slow/nothing/", "routes/0000/"])
def test_what_is_not_there_is_a_404(traffic, viewer, address):
    assert viewer.get(HOME + address).status_code == 404


@pytest.mark.parametrize("page", PAGES)
def test_staff_without_permission_see_nothing(traffic, page):
    client = staff()

    assert client.get(HOME + page).status_code == 403
    assert "noa_perf" not in client.get("/admin/").content.decode()


def test_either_permission_will_do(traffic):
    client = staff("operate_dashboard")

    assert client.get(HOME).status_code == 200
    assert "/admin/noa_perf/dashboard/" in client.get("/admin/").content.decode()


def test_visitors_are_sent_to_log_in(db):
    assert Client().get(HOME).status_code == 302


def test_there_is_no_table_behind_it(db):
    assert not any(name.startswith("noa_perf_dashboard") for name in connection.introspection.table_names())


@pytest.mark.parametrize("address", [f"{HOME}add/", f"{HOME}1/change/", f"{HOME}1/delete/"])
def test_there_is_nothing_to_change(viewer, address):
    assert viewer.get(address).status_code == 404
