"""The watch over one test of a pytest run: what it saw goes to the run's sum."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import pytest

from noa_perf.core.findings import Finding
from noa_perf.optimizer import capture, telling
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.detectors.allow import malformed
from noa_perf.optimizer.pytest_tally import Tally
from noa_perf.optimizer.testing import Watched
from noa_perf.optimizer.watches import Watch


class TestWatch(Watched):
    """Watches a test, adds up what it saw, and fails it where an N+1 is to fail it."""

    __test__ = False

    def __init__(
        self, tally: Tally, test: str, allowances: dict[str, list[str]], ignored: list[str], *, fail: bool
    ) -> None:
        """Add to ``tally`` what ``test`` sees, but for what its markers allow and the files that are ignored."""
        super().__init__()
        self.tally, self.test, self.allowances, self.ignored, self.fail = tally, test, allowances, ignored, fail
        self.found: list[Finding] = []

    def __call__(self, function: Callable[..., Any]) -> Any:
        """Watch each run of ``function``; refuse allowances that mean nothing."""
        bad = [entry for entry in self.allowances if malformed(entry)]
        if bad:
            pytest.fail(
                f'{self.allowances[bad[0]][0]}: write "Model.field", "path:glob/of/*.py" or "fingerprint:" and a hash.',
                pytrace=False,
            )
        return super().__call__(function)

    def judge(self, watch: Watch) -> None:
        """Fail the test if it ran an N+1 and that is not to be."""
        found = [one for one in self.found if one.kind == "n_plus_one"]
        if self.fail and found:
            pytest.fail(telling.told_of_n_plus_ones(found), pytrace=False)

    def _leave(self, *raised: Any) -> Watch:
        watch = super()._leave(*raised)
        try:
            self._note(watch, ended_well=raised[1] is None)
        except Exception:
            capture.faults.note("report of a test")
            self.tally.failures += 1
        return watch

    def _note(self, watch: Watch, *, ended_well: bool) -> None:
        collector = telling.collected(watch, tuple(self.allowances))
        self.found = [one for one in telling.findings(collector) if not self._is_ignored(one)]
        for one in self.found:
            self.tally.add(self.test, one.as_dict())
        for entry, places in self.allowances.items():
            for place in places:
                _remember(self.tally.marks, place, needed=entry in collector.allowed, known=ended_well)
        for entry in settings().allow:
            _remember(self.tally.settings, entry, needed=entry in collector.allowed, known=ended_well)

    def _is_ignored(self, one: Finding) -> bool:
        places = [place.file for place in (one.where, one.template) if place is not None]
        return any(fnmatch(file, glob) for file in places for glob in self.ignored)


def _remember(needs: dict[str, bool], place: str, *, needed: bool, known: bool) -> None:
    """Note whether an allowance was needed; a test that broke off might have needed it."""
    if needed or known:
        needs[place] = needs.get(place, False) or needed
