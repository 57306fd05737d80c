"""Django's test runner, which leaves out what it is told to, and writes down what came of each test."""

from __future__ import annotations

import json
import os
import unittest
from pathlib import Path
from typing import Any

from django.test.runner import DiscoverRunner

_told = json.loads(os.environ["NOA_PERF_CONFORMANCE"])


def short(test: Any) -> str:
    """Return a test's name, less the module."""
    return ".".join(test.id().split(".")[-2:])


class Runner(DiscoverRunner):
    """Told of files and names by ``NOA_PERF_CONFORMANCE``."""

    def build_suite(self, *args: Any, **kwargs: Any) -> unittest.TestSuite:
        """Collect, less what is left out."""
        suite = super().build_suite(*args, **kwargs)
        self.left_out = sorted({short(test) for test in suite} & {*_told["without"]})
        return unittest.TestSuite(test for test in suite if short(test) not in self.left_out)

    def suite_result(self, suite: unittest.TestSuite, result: Any, **kwargs: Any) -> int:
        """Write down what came of it."""
        wrong = {short(test) if isinstance(test, unittest.TestCase) else str(test) for test, _ in _wrong(result)}
        skipped = {short(test): why for test, why in result.skipped}
        told = {"ran": result.testsRun, "wrong": sorted(wrong), "skipped": skipped, "left_out": self.left_out}
        Path(_told["answer"]).write_text(json.dumps(told))
        return int(super().suite_result(suite, result, **kwargs))


def _wrong(result: unittest.TestResult) -> list[tuple[Any, str]]:
    subtests = [*result.failures, *result.errors, *((test, "") for test in result.unexpectedSuccesses)]
    return [(getattr(test, "test_case", test), text) for test, text in subtests]
