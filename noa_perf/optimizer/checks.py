"""System checks of the optimizer: settings, installation, and databases whose plans cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.db import connections

from noa_perf.core import conf
from noa_perf.core.checks import SETTINGS_CHECKS, check_section
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.detectors.allow import malformed
from noa_perf.optimizer.plans.engines import ENGINES

LABEL = "noa_perf_optimizer"
MIDDLEWARE = "noa_perf.optimizer.middleware.QueryMonitorMiddleware"

CHECKS: Mapping[str, str] = {
    **SETTINGS_CHECKS,
    "E005": "An entry of ALLOW has none of the three forms.",
    "W001": "The middleware is missing, so requests are not watched.",
    "W002": "Plans cannot be read on a database of this vendor; all else works.",
}
"""What each id of ``noa_perf_optimizer`` means, for the reference."""


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check ``NOA_PERF`` itself and ``NOA_PERF["OPTIMIZER"]``."""
    return [
        *check_section(conf.root, "noa_perf"),
        *check_section(settings, LABEL),
        *(
            checks.Error(
                f'{settings.path}["ALLOW"] holds {entry!r}.',
                hint='Write "Model.field", "path:glob/of/*.py" or "fingerprint:" and the hash that a report shows.',
                id=f"{LABEL}.E005",
            )
            for entry in settings().allow
            if malformed(entry)
        ),
    ]


def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check that the middleware is there."""
    if not conf.enabled("OPTIMIZER"):
        return []
    installed = list(django_settings.MIDDLEWARE)
    if MIDDLEWARE not in installed:
        message = "noa_perf.optimizer is installed without its middleware, so requests are not watched."
        return [checks.Warning(message, hint=f'Add "{MIDDLEWARE}" as the first of MIDDLEWARE.', id=f"{LABEL}.W001")]
    return []


def check_vendors(**kwargs: Any) -> list[checks.CheckMessage]:
    """Name the databases whose plans cannot be read; reads settings only, opens no connection."""
    known = ", ".join(sorted(ENGINES))
    return [
        checks.Warning(
            f"Plans cannot be read on database {alias!r} ({connections[alias].vendor}).",
            hint=f"EXPLAIN works on: {known}. Capture, N+1 and slow queries work there all the same.",
            id=f"{LABEL}.W002",
        )
        for alias in connections
        if connections[alias].vendor not in ENGINES
    ]
