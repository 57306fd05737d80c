"""System checks of the CDN app: settings read, nothing asked of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core import checks

from noa_perf.cdn.conf import settings
from noa_perf.core.checks import SETTINGS_CHECKS, check_section

LABEL = "noa_perf_cdn"

CHECKS: Mapping[str, str] = {**SETTINGS_CHECKS}
"""What each id of ``noa_perf_cdn`` means, for the reference."""


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check ``NOA_PERF["CDN"]``."""
    return check_section(settings, LABEL)
