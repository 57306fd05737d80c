"""Each page draws what the panels tell, costs little, exports its tables, and shows itself to nobody else."""

from __future__ import annotations

import csv
import html
import io
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from noa_perf import optimizer
from noa_perf.core import panels
from noa_perf.core.clock import SYSTEM
from noa_perf.core.panels import Column, Page, Panel, Row, State, Table, Verdict
from noa_perf.metrics import recorder, rollup
from noa_perf.metrics.models import Series
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer
from noa_perf.optimizer import capture, collector, noting
from noa_perf.optimizer.plans import advise
from noa_perf.optimizer.scopes import Scope
from tests.dashboard.conftest import staff
from tests.library.models import Author

pytestmark = pytest.mark.django_db
HOME = "/admin/noa_perf/dashboard/"
PAGES = ["", "queries/", "routes/", "n-plus-one/", "slow/"]


def blocks(client, address):
    return client.get(f"{HOME}{address}?format=json").json()["blocks"]


def titled(found, title):
    (block,) = [block for block in found if block["title"] == title]
    return block


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


@pytest.mark.parametrize("slug", ["queries", "routes", "n-plus-one"])
def test_the_page_of_one_thing(traffic, viewer, slug):
    key = key_of(viewer, slug)

    found = blocks(viewer, f"{slug}/{key}/")

    assert {"stat", "chart", "table", "text"} <= {block["block"] for block in found}
    assert viewer.get(f"{HOME}{slug}/{key}/").status_code == 200


def test_a_statement_shows_its_findings_with_line_and_cure(traffic, viewer):
    page = viewer.get(f"{HOME}queries/?format=json").json()
    (table,) = [block for block in page["blocks"] if block["block"] == "table"]
    key = next(row["link"]["key"] for row in table["rows"] if "library_author.id = %s" in row["cells"][-1])

    found = titled(blocks(viewer, f"queries/{key}/"), "Findings")

    assert any("tests/dashboard/conftest.py" in str(row["cells"]) for row in found["rows"])
    assert any('.select_related("author")' in row["cells"] for row in found["rows"])


def test_what_another_process_found_out_is_shown(traffic, viewer):
    collector.collector.reset()

    found = viewer.get(HOME + "?format=json").json()["optimizer"]
    one = blocks(viewer, f"n-plus-one/{key_of(viewer, 'n-plus-one')}/")

    assert found[0]["cure"] == '.select_related("author")'
    assert one[0]["cure"] == '.select_related("author")'
    assert "tests/dashboard/conftest.py" in str(titled(one, "Places"))


def test_an_n_plus_one_leads_to_its_statement_and_its_route(traffic, viewer):
    places = titled(blocks(viewer, f"n-plus-one/{key_of(viewer, 'n-plus-one')}/"), "Places")

    links = [row["link"] for row in places["rows"] if row["link"]]

    assert {link["page"] for link in links} == {"queries", "routes"}
    for link in links:
        assert viewer.get(f"{HOME}{link['page']}/{link['key']}/").status_code == 200


def test_a_route_shows_its_n_plus_one_alone(traffic, viewer):
    other = Tally()
    other.add("n_plus_one", ("Other.thing", "at x.py:1", "/other/"), 3, 0.5, queries=9)
    Writer(other, SYSTEM, "default").flush(force=True)

    found = blocks(viewer, f"routes/{rollup.digest('route', ('(no route)',))}/")

    assert [row["cells"][0] for row in titled(found, "N+1")["rows"]] == ["Book.author"]


def test_a_statement_that_was_slow_is_shown_among_many_dearer_ones(db, viewer):
    tally = Tally()
    for number in range(120):
        tally.add("query", ("default", f"{number}", f"SELECT {number}"), 1, 9.0, {24: 1})
    tally.add("query", ("default", "slow", "SELECT slow"), 1, 0.5, {19: 1}, slow=1)
    tally.add("route", ("/",), 1, 1.0, {20: 1}, queries=1, database_us=1_000)
    Writer(tally, SYSTEM, "default").flush(force=True)

    (row,) = titled(blocks(viewer, "slow/"), "Slow statements")["rows"]
    verdicts = {one["title"]: one for one in viewer.get(HOME + "?format=json").json()["optimizer"]}

    assert row["cells"][-1] == "SELECT slow"
    assert verdicts["Slow"]["state"] == "bad"


def test_an_n_plus_one_of_a_route_is_shown_among_many_dearer_ones(db, viewer):
    tally = Tally()
    for number in range(120):
        tally.add("n_plus_one", (f"A.{number}", "at x.py:1", "/other/"), 1, 9.0, queries=9)
    tally.add("n_plus_one", ("Book.author", "at y.py:1", "/quiet/"), 1, 0.1, queries=3)
    tally.add("route", ("/quiet/",), 1, 1.0, {20: 1}, queries=3, database_us=1_000)
    Writer(tally, SYSTEM, "default").flush(force=True)

    found = blocks(viewer, f"routes/{rollup.digest('route', ('/quiet/',))}/")

    assert [row["cells"][0] for row in titled(found, "N+1")["rows"]] == ["Book.author"]


def test_a_plan_is_read_once_however_often_it_is_looked_at(traffic, viewer, monkeypatch):
    read, asked = advise.read, []

    def counted(one):
        asked.append(one)
        return read(one)

    monkeypatch.setattr(advise, "read", counted)
    address = f"{HOME}queries/{key_of(viewer, 'queries')}/"

    for _ in range(3):
        assert viewer.get(address).status_code == 200

    assert len(asked) == 1


def test_a_slow_run_is_shown_without_its_values(traffic, viewer):
    page = viewer.get(f"{HOME}queries/?format=json").json()
    table = titled(page["blocks"], "Statements")
    key = next(row["link"]["key"] for row in table["rows"] if "library_author.id = %s" in row["cells"][-1])

    found = blocks(viewer, f"queries/{key}/")

    assert {row["cells"][-1] for row in titled(found, "Slow runs")["rows"]} == {"int"}
    assert "Slow runs with values" not in [block["title"] for block in found]


def test_values_are_shown_where_they_are_kept_to_who_may_operate(db, settings):
    settings.NOA_PERF = {"OPTIMIZER": {"SLOW_QUERY_MS": 0, "KEEP_PARAMETERS": True}}
    collector.collector.reset()
    tally = Tally()
    before = recorder.use(tally)
    try:
        with optimizer.scope("block"):
            list(Author.objects.filter(name="the secret"))
        noting.Noter(collector.collector).note()
    finally:
        recorder.use(before)
    Writer(tally, SYSTEM, "default").flush(force=True)

    def seen_by(permission):
        client = staff(permission)
        found = blocks(client, f"queries/{key_of(client, 'slow')}/")
        return str(titled(found, "Slow runs with values"))

    assert "'the secret'" in seen_by("operate_dashboard")
    hidden = seen_by("view_dashboard")
    assert "secret" not in hidden
    assert "needs the permission" in hidden
    assert "secret" not in str(list(Series.objects.values_list("labels", "notes")))


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
    assert rows[0] == [
        "route",
        "share of database time",
        "requests",
        "mean",
        "p95",
        "in the database, each",
        "queries, each",
    ]
    assert rows[1][0] == "(no route)"
    assert "attachment" in response["Content-Disposition"]


def test_each_table_of_a_page_has_its_own_export(traffic, viewer):
    address = f"{HOME}queries/{key_of(viewer, 'queries')}/"
    links = re.findall(r'href="(\?[^"]*format=csv[^"]*)"', viewer.get(address).content.decode())

    heads = [viewer.get(address + html.unescape(link)).content.decode().splitlines()[0] for link in links]

    assert len(heads) == len(set(heads)) >= 2


def test_the_overview_as_csv(traffic, viewer):
    response = viewer.get(HOME + "?format=csv")

    rows = list(csv.reader(io.StringIO(response.content.decode())))
    assert rows[0] == ["app", "state", "what", "text", "number", "threshold", "cure"]
    assert rows[1][:3] == ["optimizer", "bad", "N+1"]


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
