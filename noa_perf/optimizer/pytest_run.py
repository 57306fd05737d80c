"""Watches each test of a pytest run, in as many processes as there are, and reports at its end.

Only what the test function itself does is watched: fixtures, ``setUp`` and factories there fill tables row by row.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from typing import Any

import pytest

from noa_perf.optimizer.pytest_items import allowances, decorated
from noa_perf.optimizer.pytest_tally import Tally

TITLE = "noa_perf: N+1 and misuse seen by the tests"
HANDED_OVER = "noa_perf"
NO_DJANGO = "Django is not set up in this run: name its settings (pytest-django: DJANGO_SETTINGS_MODULE)."


class Run:
    """What watches one process's tests."""

    def __init__(self, config: pytest.Config, *, fail: bool) -> None:
        """Watch nothing yet: Django may not be set up before the first test."""
        self.config = config
        self.fail = fail
        self.ignored: list[str] = config.getini("noa_perf_ignore")
        self.tally = Tally()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Watch a test."""
        if not isinstance(item, pytest.Function) or not self._can_watch():
            return (yield)
        from noa_perf.optimizer.pytest_watch import TestWatch

        self.tally.watched += 1
        with decorated(item, TestWatch(self.tally, item.nodeid, allowances(item), self.ignored, fail=self.fail)):
            return (yield)

    def _can_watch(self) -> bool:
        if not _django_is_ready():
            self.tally.obstacle = NO_DJANGO
            return False
        from noa_perf.optimizer.exceptions import CaptureOff
        from noa_perf.optimizer.testing import require_capture

        try:
            require_capture()
        except CaptureOff as why:
            self.tally.obstacle = str(why)
            return False
        return True

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker of pytest-xdist saw."""
        text = getattr(node, "workeroutput", {}).get(HANDED_OVER)
        if text is not None:
            self.tally.merge(json.loads(text))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand over what this worker saw; let no run pass in which nothing could be judged."""
        output = getattr(self.config, "workeroutput", None)
        if output is not None:
            output[HANDED_OVER] = _written(self.tally)
        elif self.fail and self.tally.obstacle and not self.tally.watched and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the report."""
        terminalreporter.section(TITLE)
        for line in self.tally.lines():
            terminalreporter.line(line)


def _written(tally: Tally) -> str:
    """Return the sum as text, which xdist can send whatever it was made of; where that fails, the count of tests."""
    try:
        return json.dumps(tally.as_data())
    except Exception:
        return json.dumps(Tally(tally.watched, tally.obstacle, tally.failures + 1).as_data())


def _django_is_ready() -> bool:
    module = sys.modules.get("django.apps")
    return module is not None and bool(module.apps.ready)
