"""The page and the verdicts, drawn from what all processes told."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from noa_perf.core.panels import Chart, NotThere, Stat, State, Table, Window
from noa_perf.metrics import rollup
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.metrics.rollup import Line, Point
from noa_perf.pool import fleet, panels
from noa_perf.pool.models import PoolOrder
from tests.dashboard.conftest import staff
from tests.pool.watched import flush, watching

pytestmark = pytest.mark.django_db
HOME = "/admin/noa_perf/dashboard/pools/"


@pytest.fixture
def watched():
    with watching() as both:
        yield both


def window():
    now = time.time()
    return Window(since=now - 3_600, until=now + 10)


def named(blocks, kind, title):
    return next(one for one in blocks if isinstance(one, kind) and str(one.title) == title)


@pytest.fixture
def leaking(watched):
    tally, make = watched
    one = make("shop")
    one.take()
    entry = one.pool.acquire()
    entry.connection.found = ("session",)
    one.pool.release(entry)
    one.pool.drain()
    one.clock.advance(6)
    one.keeper.tend()
    flush(tally)
    return one


def test_the_page_shows_use_leaks_and_causes(leaking):
    blocks = panels.blocks(window())

    assert named(blocks, Stat, "in use").value == 1
    assert named(blocks, Stat, "leaks").value == 1
    (row,) = named(blocks, Table, "Pools").rows
    assert row.cells[:3] == ("shop", 10, 2)
    (leak,) = named(blocks, Table, "Leaks").rows
    assert "watched.py" in leak.cells[0]
    assert leak.link is not None
    (closed,) = named(blocks, Table, "Why connections were closed").rows
    assert closed.cells[:3] == ("drained", 1, "shop")
    assert named(blocks, Table, "Found on connections that came back").rows[0].cells[:3] == ("session", 1, "shop")
    assert named(blocks, Table, "Open connections, and why so many").rows[0].cells[3:5] == (0, 1)
    assert [str(one.title) for one in named(blocks, Chart, "Connections of shop").series] == [
        "in use",
        "idle",
        "waiting",
    ]


def test_a_leak_has_a_page_with_its_stack(leaking, admin_client):
    (leak,) = named(panels.blocks(window()), Table, "Leaks").rows
    text = str(panels.detail(leak.link.key, window()))
    assert "in leaking" in text
    assert "orders/<int:pk>/" in text
    page = admin_client.get(f"{HOME}{leak.link.key}/")
    assert page.status_code == 200
    assert "Stack, innermost first" in page.content.decode()
    with pytest.raises(NotThere):
        panels.detail("nothing", window())


def test_what_is_found_and_why_connections_are_closed_is_explained():
    source = "".join(path.read_text() for path in Path(panels.__file__).parent.rglob("*.py"))
    found = re.findall(r'found\.append\("(\w+)"\)|return \["(\w+)"\]', source)
    assert {one or other for one, other in found} == set(panels.FOUND)
    causes = re.findall(r'(?:discard|_sweep)\([\w, ]*"(\w+)"\)|return .*"(\w+)" (?:if|else) .*', source)
    assert {one or other for one, other in causes} - set(panels.CAUSES) <= {"", "held"}


def test_verdicts(watched, leaking):
    tally, make = watched
    assert [one.state for one in panels.verdicts(window())] == [State.WARN, State.WARN]  # both places had to be opened
    one = make("busy")
    for _ in range(50):
        one.pool.release(one.pool.acquire())
    flush(tally)
    assert [one.state for one in panels.verdicts(window())] == [State.GOOD, State.WARN]
    tally.add("pool", ("busy",), 1, timeouts=1)
    flush(tally)
    bad = panels.verdicts(window())[0]
    assert bad.state is State.BAD
    assert "max_size" in bad.cure
    assert [one.state for one in panels.verdicts(Window(since=1.0, until=2.0))] == [State.UNKNOWN]


def test_a_rollup_that_is_away_is_said(monkeypatch):
    def away(*args, **kwargs):
        raise RollupUnavailable("The rollup is away.")

    monkeypatch.setattr(rollup, "summed", away)
    assert [one.text for one in panels.verdicts(window())] == ["The rollup is away."]


def test_processes_add_up_by_the_time_for_which_they_were_looked_at():
    def line(*points):
        return Line(kind="pool", series="", labels={}, total=Point(at=0), points=points)

    one = Point(at=0, extra={"ms": 57_000, "used": 3 * 57_000})
    four = Point(at=60, extra={"ms": 228_000, "used": 3 * 228_000})
    begun = Point(at=120, extra={"ms": 9_000, "used": 5 * 9_000})
    assert fleet.means(line(one, four, begun), "used", 60, until=122) == [(0, 3), (60, 12), (120, 20)]
    assert fleet.means(line(one), "idle", 60, until=90) == [(0, 0)]
    assert fleet.means(line(Point(at=0)), "used", 60, until=90) == [(0, 0)]


def test_the_page_is_drawn_at_a_bounded_cost_and_hides_who_gave_orders(leaking):
    PoolOrder.objects.create(alias="shop", action="resize", value=7, who="grace")
    viewer, operator = staff("view_dashboard"), staff("view_dashboard", "operate_dashboard")
    viewer.get(HOME)
    with CaptureQueriesContext(connection) as asked:
        page = viewer.get(HOME)
    text = page.content.decode()
    assert "could not be shown" not in text
    assert "grace" not in text
    assert len(asked) <= 21
    assert "grace" in operator.get(HOME).content.decode()
