"""The pytest plugin: ``--noa-perf`` and two markers. Without them it imports nothing of Django, nor of noa_perf."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from noa_perf.optimizer.pytest_items import ALLOW, decorated

MODES = ("off", "report", "fail")
MAX = "noa_perf_max_queries"
MARKERS = (
    f'{ALLOW}("Model.field", ..., reason="..."): leave these N+1 alone when --noa-perf watches the test.',
    f"{MAX}(n, using=None, exact=False): fail the test if it runs more than n queries.",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and the same for the configuration file."""
    group = parser.getgroup("noa_perf", "N+1 and misuse of querysets (noa_perf)")
    group.addoption("--noa-perf", action="store_true", help="watch the tests' queries, and report at the end")
    group.addoption("--noa-perf-fail", action="store_true", help="the same, and fail each test that runs an N+1")
    parser.addini("noa_perf", f"watch the tests' queries without an option: {', '.join(MODES)}", default="off")
    parser.addini("noa_perf_ignore", "globs of files whose lines are not reported", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and, where it is asked for, what watches."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    mode = _mode(config)
    if mode != "off":
        from noa_perf.optimizer.pytest_run import Run

        config.pluginmanager.register(Run(config, fail=mode == "fail"), "noa_perf_run")


def _mode(config: pytest.Config) -> str:
    mode = config.getini("noa_perf")
    if mode not in MODES:
        raise pytest.UsageError(f"noa_perf = {mode!r}: write one of {', '.join(MODES)}.")
    if config.getoption("noa_perf_fail"):
        return "fail"
    return "report" if mode == "off" and config.getoption("noa_perf") else str(mode)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse markers that say too little, whether tests are watched or not."""
    for mark in item.iter_markers(ALLOW):
        if not mark.args or not all(isinstance(entry, str) for entry in mark.args):
            pytest.fail(
                f'{ALLOW} names no N+1. Write @pytest.mark.{ALLOW}("Model.field", reason="...").', pytrace=False
            )
        if not str(mark.kwargs.get("reason", "")).strip():
            named = ", ".join(map(repr, mark.args))
            pytest.fail(f"{ALLOW}({named}) gives no reason. Add reason=... that says why it may stay.", pytrace=False)
    limit = item.get_closest_marker(MAX)
    if limit is not None:
        _limit(limit)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Hold the test to the number of its marker."""
    limit = item.get_closest_marker(MAX)
    if limit is None or not isinstance(item, pytest.Function):
        return (yield)
    with decorated(item, _limit(limit)):
        return (yield)


def _limit(mark: pytest.Mark) -> Any:
    """Return the assertion that a marker asks for."""
    from noa_perf.optimizer.testing import assert_max_queries

    try:
        return assert_max_queries(*mark.args, **mark.kwargs)
    except (TypeError, ValueError) as why:
        pytest.fail(f"{MAX} says nothing to hold the test to: {why} Write @pytest.mark.{MAX}(5).", pytrace=False)
