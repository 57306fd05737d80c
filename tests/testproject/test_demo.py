from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import pytest

from testproject.demo import report
from testproject.demo.__main__ import main
from testproject.demo.children import ROOT, DemoError
from testproject.demo.phases import Phase, compare
from testproject.demo.seeding import run_folder

TINY = ("--scale", "0.02", "--requests", "60")
KEYS = {"requests_per_second", "p50_ms", "p95_ms", "queries_per_request", "database_ms_per_request"}


def _demo(folder: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "testproject.demo", *TINY, "--folder", str(folder), *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, start_new_session=True)


def _running(folder: Path) -> list[str]:
    """Return the command lines of processes that work in the demo's folder."""
    return [line for line in _command_lines() if str(folder) in line]


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # a process may end while we look
            if path.parent.name != str(os.getpid()):
                yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _wait_for(path: Path, demo: subprocess.Popen[str]) -> None:
    guard = time.monotonic() + 120
    while not path.exists():
        assert demo.poll() is None, demo.communicate()
        assert time.monotonic() < guard, path
        time.sleep(0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.slow
def test_both_twins_answer_alike_and_json_stands_alone_on_stdout(folder: Path) -> None:
    demo = _demo(folder, "--format", "json")
    out, err = demo.communicate()
    assert demo.returncode == 0, err
    said = json.loads(out)
    assert set(said) == {"before", "after", "cached", "abuse", "assets", "findings"}
    assert set(said["before"]) == set(said["after"]) >= KEYS
    assert said["before"]["requests"] == said["after"]["requests"] == 60
    assert said["after"]["queries_per_request"] < said["before"]["queries_per_request"]
    assert said["cached"]["queries_per_request"] < said["after"]["queries_per_request"]
    assert said["cached"]["cache_hits"] > 0 == said["after"]["cache_hits"]
    assert said["abuse"]["unlimited"]["abuser_refused"] == 0 < said["abuse"]["limited"]["abuser_refused"]
    plain, published = said["assets"]["plain"], said["assets"]["published"]
    assert published["first"]["bytes"] < 0.4 * plain["first"]["bytes"]
    assert published["first"]["requests"] == plain["first"]["requests"] == plain["next"]["requests"]
    assert published["next"]["requests"] == 0
    assert {"kind", "where", "cure", "code", "ms"} <= set(said["findings"][0])
    assert "As it is" in err
    assert str(folder / "report.html") in err
    said_as_page = (folder / "report.html").read_text()
    assert f"{said['before']['p95_ms']:,.1f}" in said_as_page
    assert [path.name for path in folder.iterdir() if path.name.startswith("run-")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_stopped_halfway_it_leaves_no_process_and_no_file(folder: Path, number: int, code: int) -> None:
    demo = _demo(folder, "--requests", "100000")
    _wait_for(folder / f"run-{demo.pid}" / "as_is.sqlite3-wal", demo)
    demo.send_signal(number)
    # The children hold stderr open: it ends when the last of them has.
    demo.communicate()
    assert demo.returncode == code
    assert _running(folder) == []
    assert [path.name for path in folder.iterdir() if path.name.startswith("run-")] == []


@pytest.mark.slow
def test_served_it_prints_every_row_and_shows_the_runs_data_until_ctrl_c(folder: Path) -> None:
    demo = _demo(folder, "--serve")
    said = _said_until(demo, "Ctrl-C ends it")
    found = re.search(r"(http://127\.0\.0\.1:\d+)(/admin/\S+)\n +user (\w+), password (\w+)", said)
    assert found, said
    assert all(row.label in said for row in report.ROWS)
    assert "look-ups hit" in said
    assert "of them refused" in said
    assert "first visit: bytes" in said
    assert "testproject/shop/as_is/views.py:" in said
    site, home, user, password = found.groups()
    visitor = _logged_in(site, home, user, password)
    overview, queries = (_get(visitor, site + home + page) for page in ("", "queries/"))
    assert "Evidence for N+1" in overview
    assert "shop_product" in queries
    assert ".np-card" in _get(visitor, f"{site}/static/noa_perf/dashboard.css")
    demo.send_signal(signal.SIGINT)
    out, err = demo.communicate()
    assert (demo.returncode, out) == (0, ""), err
    assert _running(folder) == []
    assert [path.name for path in folder.iterdir() if path.name.startswith("run-")] == []


def _said_until(demo: subprocess.Popen[str], last: str) -> str:
    """Return what the demo printed up to the line that begins so, or to its end."""
    said = ""
    for line in demo.stdout or ():
        said += line
        if line.startswith(last):
            break
    return said


def _logged_in(site: str, home: str, user: str, password: str) -> OpenerDirector:
    cookies = CookieJar()
    visitor = build_opener(HTTPCookieProcessor(cookies))
    _get(visitor, f"{site}/admin/login/")
    token = next(str(cookie.value) for cookie in cookies if cookie.name == "csrftoken")
    form = {"username": user, "password": password, "csrfmiddlewaretoken": token, "next": home}
    assert visitor.open(f"{site}/admin/login/", urlencode(form).encode()).url == site + home
    return visitor


def _get(visitor: OpenerDirector, address: str) -> str:
    with visitor.open(address) as response:
        assert response.status == 200
        text: str = response.read().decode()
    return text


@pytest.mark.slow
@pytest.mark.parametrize(("last", "left"), [("end\n", True), ("", False)], ids=["told to end", "not told"])
def test_a_server_whose_demo_died_removes_the_folder_though_its_parent_seems_alive(
    tmp_path: Path, last: str, left: bool
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "seeded.sqlite3").touch()
    module = (sys.executable, "-m", "testproject.demo.server")
    command = [*module, str(run / "seeded.sqlite3"), str(run / "as_is.sqlite3"), "as_is"]
    pipe = subprocess.PIPE
    server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
    server.communicate(last)
    assert server.returncode == 0
    assert run.exists() == left
    assert not (run / "as_is.sqlite3").exists()


def test_it_is_served_to_people_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--serve", "--format", "json"])
    assert "choose one" in capsys.readouterr().err


def test_what_a_killed_run_left_behind_is_swept_up(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f"run-{gone.pid}"
    left.mkdir()
    with run_folder(tmp_path) as own:
        assert [*tmp_path.iterdir()] == [own]
    assert [*tmp_path.iterdir()] == []


def _phase(**answers: tuple[int, str]) -> Phase:
    return Phase({}, [], {(0, place): answer for place, answer in enumerate(answers.values())})


def test_a_different_body_is_a_failure() -> None:
    with pytest.raises(DemoError, match="/b/ differently"):
        compare(_phase(a=(200, "x"), b=(200, "y")), _phase(a=(200, "x"), b=(200, "z")), [_paths("/a/", "/b/")])


def test_a_failed_request_is_a_failure() -> None:
    with pytest.raises(DemoError, match="/a/ answered with status 500"):
        compare(_phase(a=(500, "x")), _phase(a=(500, "x")), [_paths("/a/")])


def _paths(*paths: str) -> list[dict[str, Any]]:
    return [{"path": path} for path in paths]


def test_figures_are_sums_over_requests() -> None:
    totals = {"requests": 4, "queries": 10, "execute_ms": 8.0, "fetch_ms": 4.0}
    figures = report.figures([10.0, 20.0, 30.0, 40.0], 2.0, totals, {"hits": 3, "misses": 1})
    assert figures["requests_per_second"] == 2.0
    assert figures["p50_ms"] == 25.0
    assert figures["queries_per_request"] == 2.5
    assert figures["database_ms_per_request"] == 3.0
