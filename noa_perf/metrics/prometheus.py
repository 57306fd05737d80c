"""Exports what the recorder counted to Prometheus; the only importer of prometheus_client."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from django.conf import settings as django_settings

from noa_perf.metrics.exceptions import PrometheusMissing
from noa_perf.metrics.instruments import INSTRUMENTS, Instrument
from noa_perf.metrics.recorder import MAX_CHILDREN, OTHER, Labels, Tally, Totals

MULTIPROCESS = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")


def available() -> bool:
    """Tell whether prometheus_client is installed; imports nothing."""
    return find_spec("prometheus_client") is not None


def multiprocess() -> bool:
    """Tell whether several processes export together, through the files of PROMETHEUS_MULTIPROC_DIR."""
    return any(name in os.environ for name in MULTIPROCESS)


class Exporter:
    """Adds what a tally counted to bound children of Prometheus metrics, made when they are first needed."""

    def __init__(self, tally: Tally, registry: Any = None, namespace: str | None = None) -> None:
        """Export ``tally`` to ``registry`` (default: prometheus_client's own, which django-prometheus shows too)."""
        if not available():
            raise PrometheusMissing
        self._tally = tally
        self._registry = registry
        self._namespace = namespace
        self._metrics: dict[str, Any] = {}
        self._children: dict[tuple[str, Labels], Any] = {}
        self.lock = threading.RLock()

    def flush(self) -> None:
        """Bring Prometheus' own values up to date."""
        with self.lock:
            if len(self._metrics) < len(INSTRUMENTS):
                self._make_metrics()
            for (name, labels), totals in self._tally.drain_counts().items():
                self._export(name, labels, totals)
            for (name, labels), value in self._tally.gauges().items():
                self._child(name, labels).set(value)

    def collect(self) -> Iterable[Any]:
        """Flush before a scrape of the registry, whoever serves it; has no samples of its own."""
        self.flush()
        return ()

    def describe(self) -> Iterable[Any]:
        """Name no metrics: each is registered by itself."""
        return ()

    def _make_metrics(self) -> None:
        import prometheus_client

        registry = self._registry or prometheus_client.REGISTRY
        # First: a registry asks its collectors in the order in which they came.
        registry.register(self)
        namespace = self._namespace
        if namespace is None:
            namespace = getattr(django_settings, "PROMETHEUS_METRIC_NAMESPACE", "") or ""
        # After an error (a missing folder of multiprocess mode) the rest is made the next time.
        for one in INSTRUMENTS[len(self._metrics) :]:
            self._metrics[one.name] = _metric(one, registry, namespace)

    def _export(self, name: str, labels: Labels, totals: Totals) -> None:
        child = self._child(name, labels)
        if not totals.buckets:
            child.inc(totals.count)
            return
        instrument = next(one for one in INSTRUMENTS if one.name == name)
        add_to_histogram(child, instrument, totals)

    def _child(self, name: str, labels: Labels) -> Any:
        child = self._children.get((name, labels))
        if child is not None:
            return child
        if labels and sum(1 for known, _ in self._children if known == name) >= MAX_CHILDREN:
            labels = (OTHER,) * len(labels)
        metric = self._metrics[name]
        made = self._children[name, labels] = metric.labels(*labels) if labels else metric
        return made


def add_to_histogram(child: Any, instrument: Instrument, totals: Totals) -> None:
    """Add many times at once.

    ``observe`` takes one at a time. The attributes used here are not public; a test holds them for each version.
    """
    bounds = instrument.buckets
    child._sum.inc(totals.seconds)
    for index, many in totals.buckets.items():
        # Our bucket n ends at 2**n µs, as theirs does; what is shorter falls in the first, what is longer in +Inf.
        place = min(max(index - bounds[0], 0), len(bounds))
        child._buckets[place].inc(many)


def _metric(one: Instrument, registry: Any, namespace: str) -> Any:
    import prometheus_client

    arguments: dict[str, Any] = {"labelnames": one.labels, "registry": registry, "namespace": namespace}
    if one.kind == "histogram":
        return prometheus_client.Histogram(one.full_name, one.help, buckets=one.bounds, **arguments)
    if one.kind == "gauge":
        mode: Any = one.multiprocess_mode
        return prometheus_client.Gauge(one.full_name, one.help, multiprocess_mode=mode, **arguments)
    return prometheus_client.Counter(one.full_name, one.help, **arguments)


def exposition(accept: str = "") -> tuple[bytes, str]:
    """Return the text of all metrics, of all processes in multiprocess mode, and its content type.

    ``accept`` is the request's header of that name. Raises :class:`PrometheusMissing`.
    """
    if not available():
        raise PrometheusMissing
    import prometheus_client
    from prometheus_client import multiprocess as several
    from prometheus_client.exposition import choose_encoder

    registry: Any = prometheus_client.REGISTRY
    if multiprocess():
        registry = prometheus_client.CollectorRegistry()
        collector: Any = several.MultiProcessCollector
        collector(registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
