"""The subjects: what each adds to the site's settings, as its own documentation says, and how it tells an N+1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Subject:
    """One package under test."""

    name: str
    package: str = ""
    """Distribution, for its version; empty for bare Django."""
    apps: tuple[str, ...] = ()
    middleware: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    urls: tuple[str, str] | None = None
    """A prefix and the module to include there."""
    tables: bool = False
    """Whether it keeps tables of its own."""
    detects: Callable[[Callable[[], Any]], bool] | None = None
    """Runs a request and tells whether an N+1 was reported; None for what only shows queries."""


def _noa_perf(request: Callable[[], Any]) -> bool:
    from noa_perf.optimizer import capture
    from noa_perf.optimizer.collector import Collector

    collector = Collector()
    with capture.quiet(), capture.listening(collector.add):
        request()
    return any(one.kind == "n_plus_one" for one in collector.findings())


def _zeal(request: Callable[[], Any]) -> bool:
    import warnings

    from zeal import NPlusOneError

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            request()
        except NPlusOneError:
            return True
    return any("N+1" in str(one.message) for one in warned)


def _nplusone(request: Callable[[], Any]) -> bool:
    from nplusone.core.exceptions import NPlusOneError

    try:
        request()
    except NPlusOneError as error:
        # It tells of eager loads that nobody used as well, and by the same error.
        return "n+1" in str(error).lower()
    return False


def _query_doctor(request: Callable[[], Any]) -> bool:
    from query_doctor import IssueType, diagnose_queries

    with diagnose_queries() as report:
        request()
    return any(one.issue_type is IssueType.N_PLUS_ONE for one in report.prescriptions)


SUBJECTS = (
    Subject("bare Django"),
    Subject(
        "noa_perf",
        "noa_perf",
        apps=("noa_perf.optimizer",),
        middleware=("noa_perf.optimizer.middleware.QueryMonitorMiddleware",),
        detects=_noa_perf,
    ),
    Subject(
        "django-zeal",
        "django-zeal",
        apps=("zeal",),
        middleware=("zeal.middleware.zeal_middleware",),
        settings={"ZEAL_RAISE": False, "ZEAL_NPLUSONE_THRESHOLD": 2},
        detects=_zeal,
    ),
    Subject(
        "nplusone",
        "nplusone",
        apps=("nplusone.ext.django",),
        middleware=("nplusone.ext.django.NPlusOneMiddleware",),
        settings={"NPLUSONE_RAISE": False},
        detects=_nplusone,
    ),
    Subject(
        "django-query-doctor",
        "django-query-doctor",
        apps=("query_doctor",),
        middleware=("query_doctor.QueryDoctorMiddleware",),
        detects=_query_doctor,
    ),
    Subject(
        "debug toolbar, SQL panel",
        "django-debug-toolbar",
        apps=("debug_toolbar",),
        middleware=("debug_toolbar.middleware.DebugToolbarMiddleware",),
        settings={
            "DEBUG": True,
            "INTERNAL_IPS": ["127.0.0.1"],
            "DEBUG_TOOLBAR_PANELS": ["debug_toolbar.panels.sql.SQLPanel"],
            "DEBUG_TOOLBAR_CONFIG": {"IS_RUNNING_TESTS": False},
        },
        urls=("__debug__/", "debug_toolbar.urls"),
    ),
    Subject(
        "django-silk",
        "django-silk",
        apps=("silk",),
        middleware=("silk.middleware.SilkyMiddleware",),
        urls=("silk/", "silk.urls"),
        tables=True,
    ),
)

RAISING: dict[str, dict[str, Any]] = {"nplusone": {"NPLUSONE_RAISE": True}}
"""Settings under which a subject's report can be caught."""
