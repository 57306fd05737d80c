"""What all processes limited, as metrics, a page, a verdict and a health check tell it."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from noa_perf.core.clock import SYSTEM
from noa_perf.core.panels import Chart, Stat, State, Table, Window
from noa_perf.metrics import instruments, recorder, rollup
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer
from noa_perf.ratelimit import metering, panels, registry
from noa_perf.ratelimit.models import Ban
from tests.servers import get
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

pytestmark = pytest.mark.django_db

MIDDLEWARE = ["noa_perf.ratelimit.middleware.RateLimitMiddleware"]
_names = itertools.count()


@pytest.fixture
def tally():
    own = Tally()
    metering.tell()  # what other tests have left
    before = recorder.use(own)
    yield own
    recorder.use(before)


def site(storage="", **policies):
    own = {"POLICIES": policies, "STORAGE": storage, "KEY_PREFIX": f"m{next(_names)}", "DENY": ["192.0.2.0/24"]}
    urls = "tests.ratelimit.test_edges"
    return override_settings(NOA_PERF={"RATELIMIT": own}, MIDDLEWARE=MIDDLEWARE, ROOT_URLCONF=urls)


def flush(tally):
    metering.tell()
    assert Writer(tally, SYSTEM, "default").flush(force=True)


def window():
    now = time.time()
    return Window(since=now - 3_600, until=now + 10)


def named(blocks, kind, title):
    return next(one for one in blocks if isinstance(one, kind) and str(one.title) == title)


def counted(tally, instrument):
    return {key[1]: totals.count for key, totals in tally.drain_counts().items() if key[0] == instrument.name}


def test_every_outcome_is_a_metric(tally):
    with site(metered={"limits": "2/d"}, shade={"limits": "1/d", "shadow": True}):
        for _ in range(4):
            Client().get("/view/")
        Client(REMOTE_ADDR="192.0.2.9").get("/view/")
        metering.tell()
    told = tally.drain_counts()
    found = {key: totals.count for key, totals in told.items() if key[0].startswith("rate_limit")}
    requests = instruments.RATE_LIMIT_REQUESTS.name
    assert found[requests, ("metered", "allowed")] == 2
    assert found[requests, ("metered", "denied")] == 2
    assert found[requests, ("shade", "shadowed")] == 3
    assert found[instruments.RATE_LIMIT_VIOLATIONS.name, ("metered",)] == 2
    assert found[instruments.RATE_LIMIT_VIOLATIONS.name, ("shade",)] == 3
    assert found[instruments.RATE_LIMIT_BLOCKED.name, ("deny",)] == 1
    assert tally.gauges()[instruments.RATE_LIMIT_BANS.name, ()] >= 0


def test_the_page_shows_policies_and_masked_clients(tally):
    with site(paged={"limits": "4/d"}):
        for _ in range(6):
            Client(REMOTE_ADDR="203.0.113.77").get("/view/")
        flush(tally)
        now = timezone.now()
        Ban.objects.create(client="ip:203.0.113.78", rule="deaf", until=now + timedelta(hours=1))
        blocks = panels.blocks(window())
    (row,) = [row for row in named(blocks, Table, "Policies").rows if row.cells[0] == "paged"]
    assert row.cells[1:5] == ("4/d gcra, burst 4", 6, 2, 0)
    assert 0 < row.cells[5] < 0.5  # headroom: 75, 50, 25, 0, 0 and 0 percent
    text = str(blocks)
    assert "203.0.113.77" not in text
    assert "203.0.113.78" not in text
    refused = [row.cells for row in named(blocks, Table, "Most refused").rows if row.cells[1] == "paged"]
    assert [cells[2] for cells in refused] == [2]
    assert "203.0.113" in refused[0][0]
    assert any(one.cells[1] == "deaf" for one in named(blocks, Table, "Bans in force").rows)
    assert named(blocks, Chart, "What became of requests").series
    assert named(blocks, Stat, "bans in force").value >= 1
    (verdict,) = panels.verdicts(window())
    assert verdict.state is State.GOOD
    assert "refused" in verdict.number


def test_nothing_limited_is_no_verdict(tally):
    quiet = Window(since=1.0, until=2.0)
    assert [one.state for one in panels.verdicts(quiet)] == [State.UNKNOWN]


def test_a_rollup_that_is_away_is_said(monkeypatch):
    def away(*args, **kwargs):
        raise RollupUnavailable("The rollup is away.")

    monkeypatch.setattr(rollup, "summed", away)
    assert [one.state for one in panels.verdicts(window())] == [State.UNKNOWN]


@pytest.mark.server
def test_a_storage_that_is_away_is_counted_shown_and_unhealthy(tally):
    with Proxy(get(Redis).ports["primary"]) as proxy:
        with site(storage=f"redis://127.0.0.1:{proxy.port}/0", far={"limits": "9/d"}):
            client = Client()
            client.get("/view/")
            assert metering.answering(deep=True).ok
            proxy.refuse()
            assert not metering.answering(deep=True).ok
            for _ in range(10):
                assert client.get("/view/").status_code == 200
            assert not metering.answering(deep=False).ok
            flush(tally)
            found = counted(tally, instruments.RATE_LIMIT_UNAVAILABLE)
            blocks = panels.blocks(window())
            assert [one.state for one in panels.verdicts(window())] == [State.GOOD, State.WARN]
    assert set(found) == {("down",), ("open",)}
    assert tally.gauges()[instruments.RATE_LIMIT_DEGRADED.name, ()] == 1
    assert {row.cells[0] for row in named(blocks, Table, "Not asked or not answered").rows} >= {"down", "open"}
    assert registry.tallies().of("far").opened == 10


def test_counts_in_memory_are_healthy():
    with site():
        assert metering.answering(deep=True).ok


def test_the_page_is_on_the_dashboard_and_costs_a_dozen_queries_at_most(tally, admin_client):
    with site(shown={"limits": "1/d"}):
        for _ in range(3):
            Client().get("/view/")
        flush(tally)
    address = "/admin/noa_perf/dashboard/rate-limits/"
    admin_client.get(address)
    with CaptureQueriesContext(connection) as asked:
        page = admin_client.get(address)
    assert len(asked) <= 12
    text = page.content.decode()
    assert "could not be shown" not in text
    assert "shown" in text
    assert "Most refused" in text
