"""What every test run shares."""

from __future__ import annotations

import os
from collections.abc import Iterator

import django
import hypothesis
import pytest
from django.utils import translation

pytest_plugins = ["pytester"]

# No test asserts a time, and CI tries the same examples on every run.
hypothesis.settings.register_profile("noa_perf", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("noa_perf")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run on another Django than the one this cell of the matrix is about."""
    expected = os.environ.get("NOA_PERF_EXPECT_DJANGO", "")
    found = "{}.{}".format(*django.VERSION)
    if expected and expected != found:
        raise pytest.UsageError(f"this run is about Django {expected}, but Django {found} is installed")


@pytest.fixture(autouse=True)
def _language() -> Iterator[None]:
    """Leave no language behind that a test's middleware found out."""
    yield
    translation.deactivate()


def pytest_report_header() -> str:
    """Name the Django under test in pytest's header."""
    return f"django: {django.get_version()}"
