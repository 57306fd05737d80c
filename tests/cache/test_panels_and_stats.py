"""What the caches of all processes did, as a page, a verdict and a command tell it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.cache import caches
from django.core.management import CommandError, call_command

from noa_perf.cache import metering, panels, registry
from noa_perf.cache.registry import BACKEND
from noa_perf.core.clock import SYSTEM
from noa_perf.core.panels import Chart, Stat, State, Table, Window
from noa_perf.metrics import recorder, rollup
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer
from tests.cache import sites
from tests.servers import get
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

pytestmark = pytest.mark.django_db


@pytest.fixture
def told(settings) -> Iterator[Any]:
    """Make caches at a location, and tell what they did."""
    sites.forget()
    tally = Tally()
    before = recorder.use(tally)

    def use(**locations: str) -> dict[str, Any]:
        breaker = {"failures": 2, "cooldown": 60}
        settings.CACHES = {
            alias: {"BACKEND": BACKEND, "LOCATION": location, "KEY_PREFIX": f"t{os.getpid()}-{alias}-{time.time()}",
                    "OPTIONS": {"breaker": breaker, "max_value_bytes": 2**20 + len(alias)}}
            for alias, location in locations.items()
        }  # fmt: skip
        return {alias: caches[alias] for alias in locations}

    def flush() -> None:
        metering.tell()
        assert Writer(tally, SYSTEM, "default").flush(force=True)

    use.flush = flush  # type: ignore[attr-defined]
    yield use
    recorder.use(before)
    sites.forget()


def traffic(cache: Any) -> None:
    """Ask ten times for a product, nine of which are hits, and once for a menu, which is a miss."""
    cache.get("product:1")
    cache.set("product:1", [1])
    for _ in range(9):
        cache.get("product:1")
    cache.get("menu:de")


def window() -> Window:
    now = time.time()
    return Window(since=now - 3600, until=now + 10)


def stats(*arguments: str) -> tuple[str, int]:
    """Return what the command prints, and its exit code."""
    out = StringIO()
    try:
        call_command("cache_stats", *arguments, stdout=out)
    except SystemExit as end:
        return out.getvalue(), int(end.code or 0)
    except CommandError as error:
        return str(error), error.returncode
    return out.getvalue(), 0


def by_title(kind: Any) -> dict[str, Any]:
    return {str(block.title): block for block in panels.blocks(window()) if isinstance(block, kind)}


def test_nothing_asked(told):
    told(default="")
    told.flush()
    (verdict,) = panels.verdicts(window())
    assert verdict.state is State.UNKNOWN
    assert by_title(Table)["Groups of keys"].rows == []
    printed, code = stats()
    assert code == 0
    assert "default" in printed


def test_a_page_of_what_memory_did(told):
    traffic(told(default="")["default"])
    told.flush()
    found = {title: stat.value for title, stat in by_title(Stat).items()}
    assert found["asked for"] == 11
    assert found["hit ratio"] == pytest.approx(9 / 11)
    assert found["from memory"] == pytest.approx(9 / 11)
    assert found["from Redis"] == 0
    groups = {row.cells[0]: row.cells for row in by_title(Table)["Groups of keys"].rows}
    assert groups["product"][1:5] == ("default", 10, 0.9, 0.9)
    assert groups["menu"][2:4] == (1, 0.0)
    (cache,) = by_title(Table)["Caches"].rows
    assert cache.cells[:2] == ("default", 1)
    chart = by_title(Chart)["Who answered"]
    sums = {series.title: sum(value or 0 for _, value in series.points) for series in chart.series}
    assert sums == {"memory": 9, "Redis": 0, "stale": 0, "missed": 2}
    hits, redis = panels.verdicts(window())
    assert (hits.state, hits.number) == (State.GOOD, "82%")
    assert redis.state is State.GOOD


def test_a_cache_that_misses_is_told_of(told):
    cache = told(default="")["default"]
    for number in range(10):
        cache.get(f"product:{number}")
    told.flush()
    hits, _ = panels.verdicts(window())
    assert (hits.state, hits.number) == (State.WARN, "0%")


@pytest.mark.server
def test_tiers_of_two_caches(told):
    url = get(Redis).urls()["primary"]
    caches_ = told(default=url, near="")
    traffic(caches_["default"])
    traffic(caches_["near"])
    caches_["default"].stack.memory.clear_all()
    assert caches_["default"].get("product:1") == [1]
    told.flush()
    printed, code = stats("--format", "json")
    report = json.loads(printed)
    assert code == 0
    assert report["findings"] == []
    first, second = report["caches"]
    assert (first["alias"], first["reachable"], first["asked"]) == ("default", True, 12)
    assert first["redis"] == pytest.approx(1 / 12, abs=1e-4)
    assert first["redis_p95_ms"] > 0
    assert (second["alias"], second["reachable"], second["redis_p95_ms"]) == ("near", None, None)
    assert {(one["alias"], one["group"], one["asked"]) for one in report["groups"]} == {
        ("default", "product", 11), ("default", "menu", 1), ("near", "product", 10), ("near", "menu", 1),
    }  # fmt: skip
    printed, code = stats("--top", "1", "--minutes", "5")
    assert code == 0
    assert "The last 5 minutes" in printed
    assert "answers" in printed
    assert "menu" not in printed


@pytest.mark.server
def test_redis_away(told):
    with Proxy(get(Redis).ports["primary"]) as proxy:
        cache = told(default=f"redis://127.0.0.1:{proxy.port}")["default"]
        cache.set("product:1", [1], 60)
        proxy.refuse()
        proxy.sever()
        for number in range(5):
            cache.get(f"other:{number}")
        cache.delete("product:1")
        told.flush()
        _, redis = panels.verdicts(window())
        assert redis.state is State.WARN
        reasons = {row.cells[1] for row in by_title(Table)["Not asked or not answered"].rows}
        assert reasons == {"down", "open"}
        (row,) = by_title(Table)["Caches"].rows
        assert row.cells[3] > 0
        assert row.cells[4] >= 1
        printed, code = stats()
        assert code == 0
        assert "AWAY" in printed
        assert "does not answer" in printed
        assert stats("--fail-level", "high")[1] == 1
        report = json.loads(stats("--format", "json", "--fail-level", "low")[0])
        assert report["findings"][0]["kind"] == "redis_away"
        health = metering.answering(deep=True)
        assert not health.ok
        assert "'default'" in health.message
        proxy.accept()


def test_a_command_that_cannot_run(settings, monkeypatch):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    printed, code = stats()
    assert code == 2
    assert BACKEND in printed
    settings.CACHES = {"default": {"BACKEND": BACKEND}}
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    printed, code = stats()
    assert code == 2
    assert "noa_perf.metrics" in printed


def test_figures_that_cannot_be_read(monkeypatch):
    def totals(*args: Any, **kwargs: Any) -> Any:
        raise RollupUnavailable("no table")

    monkeypatch.setattr(rollup, "summed", totals)
    (verdict,) = panels.verdicts(window())
    assert verdict.state is State.UNKNOWN


def test_the_page_is_on_the_dashboard(told, admin_client):
    traffic(told(default="")["default"])
    told.flush()
    page = admin_client.get("/admin/noa_perf/dashboard/cache/")
    assert page.status_code == 200
    assert "could not be shown" not in page.content.decode()
    assert "product" in page.content.decode()
    assert "product:1" not in page.content.decode()
    assert "Cache hits" in admin_client.get("/admin/noa_perf/dashboard/").content.decode()


# Switched off, and forked


@pytest.mark.server
@pytest.mark.parametrize("how", ["section", "all", "environment"])
def test_switched_off_each_read_asks_redis(told, settings, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("NOA_PERF_DISABLE", "cache")
    else:
        settings.NOA_PERF = {"CACHE": {"ENABLED": False}} if how == "section" else {"ENABLED": False}
    cache = told(default=get(Redis).urls()["primary"])["default"]
    cache.set("k", 1)
    sites.bare(cache).set(cache.make_key("k"), 2)
    assert cache.get("k") == 2
    near = sites.made()
    near.set("k", 1)
    assert near.get("k") == 1


@pytest.mark.server
def test_a_child_of_a_process_with_caches_in_use_has_its_own_connections(told):
    cache = told(default=get(Redis).urls()["primary"])["default"]
    cache.set_many({f"k{n}": [n] for n in range(50)})
    children = []
    for number in range(3):
        child = os.fork()
        if not child:
            well = all(cache.get(f"k{n}") == [n] for n in range(50))
            cache.stack.memory.clear_all()
            well = well and cache.get_many([f"k{n}" for n in range(50)]) == {f"k{n}": [n] for n in range(50)}
            cache.set(f"child{number}", number)
            os._exit(0 if well and cache.stack.link.failures == {} else 1)
        children.append(child)
    for number in range(200):
        assert cache.get(f"k{number % 50}") == [number % 50]
        cache.stack.memory.clear_all()
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert cache.get_many(["child0", "child1", "child2"]) == {"child0": 0, "child1": 1, "child2": 2}


def test_the_registry_knows_its_aliases(told):
    told(default="", near="x", third="x")
    assert registry.aliases() == ["default", "near", "third"]
    assert {stack.alias for stack in registry.stacks()} == {"default", "near", "third"}
