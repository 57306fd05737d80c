"""What Prometheus gets: parsed by its own parser, exact, and nothing without the extra."""

from __future__ import annotations

import re

import prometheus_client
import pytest
from django.test import Client
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from noa_perf.metrics import prometheus, service
from noa_perf.metrics.exceptions import PrometheusMissing
from noa_perf.metrics.instruments import INSTRUMENTS, QUERIES, QUERY_TIME, SLOW_QUERIES
from noa_perf.metrics.prometheus import Exporter
from noa_perf.metrics.recorder import MAX_CHILDREN, OTHER, Tally


@pytest.fixture
def registry():
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def tally():
    return Tally()


def families(registry):
    return {one.name: one for one in parse(prometheus_client.generate_latest(registry).decode())}


def test_counters_and_times_arrive(tally, registry):
    exporter = Exporter(tally, registry)
    tally.count(QUERIES, ("ok",), 3)
    tally.observe(QUERY_TIME, ("default", "select"), 4, 0.5, {1: 1, 12: 2, 40: 1})
    exporter.flush()
    tally.count(QUERIES, ("ok",), 2)

    assert registry.get_sample_value("noa_perf_queries_total", {"outcome": "ok"}) == 5  # asked by the scrape itself
    labels = {"alias": "default", "kind": "select"}
    name = "noa_perf_query_execution_time_seconds"
    assert registry.get_sample_value(f"{name}_sum", labels) == 0.5
    assert registry.get_sample_value(f"{name}_count", labels) == 4
    expected = {"0.000256": 1, "0.002048": 1, "0.004096": 3, "33.554432": 3, "+Inf": 4}
    for bound, below in expected.items():
        assert registry.get_sample_value(f"{name}_bucket", {**labels, "le": bound}) == below


@pytest.mark.parametrize("exponent", range(1, 30))
def test_a_time_falls_where_observing_it_would_put_it(tally, registry, exponent):
    from noa_perf.core.histogram import bucket

    for seconds in ((2**exponent - 1) / 1e6, (2**exponent + 1) / 1e6):
        theirs = prometheus_client.Histogram("theirs", "x", buckets=QUERY_TIME.bounds, registry=None)
        ours = prometheus_client.Histogram("ours", "x", buckets=QUERY_TIME.bounds, registry=None)
        theirs.observe(seconds)
        tally.observe(QUERY_TIME, ("default", "select"), 1, seconds, {bucket(seconds): 1})
        (totals,) = tally.drain_counts().values()
        prometheus.add_to_histogram(ours, QUERY_TIME, totals)

        assert [each.get() for each in ours._buckets] == [each.get() for each in theirs._buckets]


def test_the_exposition_keeps_prometheus_rules(tally, registry):
    Exporter(tally, registry).flush()
    for one in INSTRUMENTS:
        labels = tuple("x" for _ in one.labels)
        if one.kind == "counter":
            tally.count(one, labels)
        elif one.kind == "gauge":
            tally.set(one, labels, 3)
        else:
            tally.observe(one, labels, 1, 0.1, {17: 1})
    found = {name: one for name, one in families(registry).items() if not name.endswith("_created")}

    assert {one.full_name.removesuffix("_total") for one in INSTRUMENTS} == set(found)
    for one in INSTRUMENTS:
        family = found[one.full_name.removesuffix("_total")]
        assert family.type == one.kind
        assert family.documentation == one.help
        assert not re.search(r"_(ms|milliseconds|minutes|kb)(_|$)", family.name)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(one.labels)


def test_a_namespace_goes_before_the_prefix(tally, registry, settings):
    settings.PROMETHEUS_METRIC_NAMESPACE = "bookshop"
    Exporter(tally, registry).flush()

    assert all(name.startswith("bookshop_noa_perf_") for name in families(registry))


def test_labels_that_run_wild_are_bounded_over_many_flushes(tally, registry):
    exporter = Exporter(tally, registry)
    for number in range(MAX_CHILDREN + 30):
        tally.count(SLOW_QUERIES, (f"alias {number}",))
        exporter.flush()

    samples = [one for one in families(registry)["noa_perf_slow_queries"].samples if one.name.endswith("_total")]
    assert len(samples) <= MAX_CHILDREN + 1
    assert sum(sample.value for sample in samples) == MAX_CHILDREN + 30
    assert registry.get_sample_value("noa_perf_slow_queries_total", {"alias": OTHER}) == 30


def test_an_error_is_noted_and_the_rest_is_made_the_next_time(tally, registry, monkeypatch):
    exporter = Exporter(tally, registry)
    with monkeypatch.context() as patch:
        patch.setattr(prometheus_client, "Histogram", None)
        with pytest.raises(TypeError):
            exporter.flush()
    tally.count(QUERIES, ("ok",))

    exporter.flush()

    assert registry.get_sample_value("noa_perf_queries_total", {"outcome": "ok"}) == 1


def test_without_the_extra_the_message_names_it(monkeypatch):
    monkeypatch.setattr(prometheus, "available", lambda: False)

    with pytest.raises(PrometheusMissing, match=r"pip install noa-perf\[prometheus\]"):
        Exporter(Tally())
    with pytest.raises(PrometheusMissing):
        prometheus.exposition()
    assert service.Service().exporter is None


@pytest.fixture
def urls(settings):
    settings.ROOT_URLCONF = "noa_perf.metrics.urls"


@pytest.mark.usefixtures("urls")
class TestView:
    def test_it_is_text_that_parses(self):
        service.current().tally.count(QUERIES, ("ok",))
        response = Client().get("/metrics")

        assert response.status_code == 200
        assert response["Content-Type"].startswith("text/plain; version=")
        assert "max-age=0" in response["Cache-Control"]
        names = {one.name for one in parse(response.content.decode())}
        assert "noa_perf_queries" in names
        assert "python_info" in names  # the default registry's own

    def test_it_answers_openmetrics_when_asked(self):
        response = Client(headers={"accept": "application/openmetrics-text; version=1.0.0"}).get("/metrics")

        assert response["Content-Type"].startswith("application/openmetrics-text")
        assert list(parse_openmetrics(response.content.decode()))

    def test_it_changes_nothing(self):
        assert Client().post("/metrics").status_code == 405

    def test_it_answers_where_metrics_are_switched_off(self, monkeypatch):
        monkeypatch.setattr(service, "_service", None)

        assert Client().get("/metrics").status_code == 200

    def test_without_the_extra_it_says_so(self, monkeypatch):
        monkeypatch.setattr(prometheus, "available", lambda: False)
        response = Client().get("/metrics")

        assert response.status_code == 501
        assert b"pip install noa-perf[prometheus]" in response.content
