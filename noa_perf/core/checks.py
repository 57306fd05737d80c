"""Helpers with which each app turns broken settings into system check errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core import checks

from noa_perf.core.conf import Section

KINDS = {"section": 1, "unknown": 2, "type": 3, "value": 4}
"""Number of the check id by kind of problem; the same in every app, so that whoever knows one knows all."""

SETTINGS_CHECKS: Mapping[str, str] = {
    "E001": "The section is not a dict.",
    "E002": "A key is not a setting of noa_perf.",
    "E003": "A setting has the wrong type.",
    "E004": "A setting's number is out of its range.",
}
"""What each id means, for the reference."""


def check_section(section: Section[Any], label: str) -> list[checks.CheckMessage]:
    """Return a check error ``<label>.E00n`` with a hint for each problem of ``section``."""
    return [
        checks.Error(problem.message, hint=problem.hint, id=f"{label}.E{KINDS[problem.kind]:03}")
        for problem in section.problems()
    ]
