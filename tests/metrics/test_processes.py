"""Several processes, forks, ends and kills: real ones, on one SQLite file."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

import pytest

from tests.metrics.processes import migrate, run, start, until

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    migrate(tmp_path)
    return tmp_path


def count(folder, kind="route"):
    connection = sqlite3.connect(folder / "small.sqlite3", timeout=20)
    try:
        return connection.execute(
            "SELECT COALESCE(SUM(count), 0) FROM noa_perf_metrics_figure WHERE kind = ?", [kind]
        ).fetchone()[0]
    finally:
        connection.close()


ADD = """
import sys
from noa_perf.metrics import service
mine = service.Service()
mine.start = lambda: None
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    mine.tally.add("route", ("/",), 1, 0.001, {10: 1}, queries=2)
    mine.flush(force=True)
print(mine.writer.failures)
"""


def test_three_processes_that_add_at_once_lose_nothing(folder):
    processes = [start(ADD, folder) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0] for process in processes]

    assert printed == ["0\n"] * 3
    assert count(folder) == 120


SCOPES = """
from noa_perf import optimizer
def work(times):
    for _ in range(times):
        with optimizer.scope("work"):
            pass
"""


def test_a_process_that_ends_has_written_everything(folder):
    run(SCOPES + "work(7)", folder, SMALL_FLUSH_SECONDS="60")

    assert count(folder) == 7


def test_kill_9_loses_at_most_what_came_since_the_last_write(folder):
    code = SCOPES + (
        "import sys\nfrom noa_perf.metrics import service\n"
        "work(100)\nservice.current().flush()\nwork(7)\nprint('there', flush=True)\nsys.stdin.readline()"
    )
    process = start(code, folder, SMALL_FLUSH_SECONDS="60")
    assert process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    assert count(folder) == 100


def test_the_thread_writes_by_itself_while_the_process_lives(folder):
    process = start(SCOPES + "import sys\nwork(5)\nsys.stdin.readline()", folder)
    try:
        assert until(lambda: count(folder), "the thread writes") == 5
    finally:
        process.communicate("end\n", timeout=60)


FORK = (
    SCOPES
    + """
import os, sys, threading
from noa_perf.metrics import service
work(10)
assert any(each.name == "noa_perf.metrics" for each in threading.enumerate())
child = os.fork()
mine = service.current()
if child == 0:
    assert not any(each.name == "noa_perf.metrics" for each in threading.enumerate())
    assert mine.tally.drain_series() == {}
    work(3)
    assert any(each.name == "noa_perf.metrics" for each in threading.enumerate())
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
work(10)
"""
)


def test_a_forked_child_begins_anew_with_a_thread_of_its_own(folder):
    run(FORK, folder, SMALL_FLUSH_SECONDS="60")

    assert count(folder) == 23


LOCKED_FORK = (
    SCOPES
    + """
import os, sys
from noa_perf.metrics import service
mine = service.current()
work(1)
with mine.tally._lock, mine.writer._lock, mine._lock:
    child = os.fork()
    if child == 0:
        work(4)
        mine.flush(force=True)
        os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
)


def test_a_child_forked_while_locks_are_held_does_not_hang(folder):
    run(LOCKED_FORK, folder, SMALL_FLUSH_SECONDS="60")

    assert count(folder) == 5


def test_starting_up_opens_no_connection_and_starts_no_thread(folder):
    printed = run(
        "import threading\nfrom django.db import connections\nfrom noa_perf.metrics import service\n"
        "print(threading.active_count(), connections['default'].connection, service.current() is not None)",
        folder,
    )

    assert printed == "1 None True\n"


def test_the_thread_ends_when_nobody_holds_the_service(folder):
    run(
        "import gc, threading\nfrom noa_perf.metrics import service\n"
        "mine = service.Service()\nmine.tally.add('route', ('/',))\n"
        "(thread,) = [each for each in threading.enumerate() if each.name == 'noa_perf.metrics']\n"
        "del mine\ngc.collect()\nthread.join(30)\nassert not thread.is_alive()",
        folder,
        SMALL_FLUSH_SECONDS="60",
    )


@pytest.mark.parametrize("off", ["all", "metrics"])
def test_the_kill_switch_leaves_a_recorder_that_does_nothing(folder, off):
    printed = run(
        SCOPES + "work(3)\nimport threading\nfrom noa_perf.metrics import recorder, service\n"
        "print(recorder.current() is recorder.NOTHING, service.current(), threading.active_count())",
        folder,
        NOA_PERF_DISABLE=off,
    )

    assert printed == "True None 1\n"
    assert count(folder) == 0


def test_an_unmigrated_site_works(tmp_path):
    printed = run(
        SCOPES + "work(3)\nfrom noa_perf.metrics import service\n"
        "mine = service.current()\nmine.flush()\nprint(mine.writer.problem.message)",
        tmp_path,
    )

    assert printed == "The rollup's tables are missing, or of an earlier release, on database 'default'.\n"


FOLDER = (
    SCOPES
    + """
import os
from pathlib import Path
from noa_perf.metrics import prometheus, service
work(3)
mine = service.current()
mine.flush()
assert mine.faults == {"prometheus": 1}, mine.faults
Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).mkdir()
mine.flush()
text, _ = prometheus.exposition()
assert 'noa_perf_scopes_total{kind="block"} 3.0' in text.decode(), text.decode()
"""
)


def test_a_missing_folder_of_multiprocess_mode_costs_the_export_until_it_is_there(folder):
    run(FOLDER, folder, SMALL_FLUSH_SECONDS="60", PROMETHEUS_MULTIPROC_DIR=str(folder / "prometheus"))

    assert count(folder) == 3


def test_the_connection_of_the_thread_is_closed_after_each_write(folder):
    process = start(SCOPES + "import sys\nwork(5)\nsys.stdin.readline()", folder)
    try:
        until(lambda: count(folder), "the thread writes")
        links, file = Path(f"/proc/{process.pid}/fd"), folder / "small.sqlite3"
        until(lambda: file not in [_target(link) for link in links.iterdir()], "the file is closed")
    finally:
        process.communicate("end\n", timeout=60)


def _target(link):
    try:
        return link.readlink()
    except OSError:
        return None
