"""gunicorn with three workers: whichever answers, the figures are those of all of them, exactly."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.metrics.processes import GUARD, ROOT, environment, migrate, until
from tests.metrics.test_processes import count

pytestmark = pytest.mark.slow

REQUESTS = 60


class Site:
    """A running gunicorn."""

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "prometheus").mkdir()
        self.folder = folder
        self.log = folder / "gunicorn.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--workers", "3", "--bind", "127.0.0.1:0", *options]
                + ["--no-control-socket"] * _has_control_socket()
                + ["tests.metrics.small.wsgi"],
                cwd=ROOT,
                env=environment(folder, PROMETHEUS_MULTIPROC_DIR=str(folder / "prometheus")),
                stderr=log,
            )
        self.address = until(self._listening, "gunicorn listens").group(1)

    def _listening(self):
        assert self.process.poll() is None, self.log.read_text()
        return re.search(r"Listening at: (http://127\.0\.0\.1:\d+)", self.log.read_text())

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=GUARD) as response:
            return str(response.read(), "utf-8")

    def sample(self, name: str, **labels: str) -> float:
        found = [
            sample.value
            for family in parse(self.get("/noa_perf/metrics"))
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        return found[0] if found else 0.0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(GUARD)
        finally:
            self.process.kill()


def _has_control_socket() -> bool:
    text = subprocess.run([sys.executable, "-m", "gunicorn", "--help"], capture_output=True, text=True, check=True)
    return "--no-control-socket" in text.stdout


@pytest.fixture(params=[(), ("--preload",)], ids=["plain", "preload"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    migrate(tmp_path)
    running = Site(tmp_path, *request.param)
    try:
        yield running
    finally:
        running.stop()


def workers_asked(site: Site, requests: int) -> set[str]:
    with ThreadPoolExecutor(6) as pool:
        return set(pool.map(site.get, ["/page/"] * requests))


def test_the_sum_over_all_workers_is_what_was_sent(site: Site) -> None:
    workers: set[str] = set()
    sent = 0
    while len(workers) < 2 and sent < 20 * REQUESTS:  # the kernel chooses who answers
        workers |= workers_asked(site, REQUESTS)
        sent += REQUESTS
    assert len(workers) >= 2

    until(lambda: site.sample("noa_perf_scopes_total", kind="request") >= sent, "every request is counted")

    assert site.sample("noa_perf_scopes_total", kind="request") == sent
    assert site.sample("noa_perf_queries_total", outcome="ok") == 2 * sent
    labels = {"alias": "default", "kind": "select"}
    assert site.sample("noa_perf_query_execution_time_seconds_count", **labels) == 2 * sent
    assert until(lambda: count(site.folder) >= sent and count(site.folder), "every request is in the rollup") == sent
    assert count(site.folder, "query") == 2 * sent

    site.stop()
    assert count(site.folder) == sent  # nothing twice, as the workers end
    assert "Traceback" not in site.log.read_text()
