"""What the rollup kept of past traffic, by route, by statement or by N+1: all processes added up."""

from __future__ import annotations

import re
import time
from typing import Any

from django.apps import apps

from noa_perf.core.exceptions import CommandInputError
from noa_perf.metrics import rollup
from noa_perf.metrics.rollup import Line

SERIES = {"route": "route", "fingerprint": "query", "nplusone": "n_plus_one"}
"""Ways to add up, each with the rollup's kind of series."""
TOP = 50

_SPAN = re.compile(r"^(\d{1,9})\s*([smhd])$")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(span: str) -> int:
    """Return the seconds of a span such as ``90s``, ``15m``, ``6h`` or ``7d``."""
    match = _SPAN.match(span.strip().lower())
    if match is None:
        raise CommandInputError(f"--since {span!r} is no span of time. Write a number and a unit: 15m, 6h or 7d.")
    return int(match[1]) * _UNITS[match[2]]


def rows(by: str, since: str) -> list[dict[str, Any]]:
    """Return a record for each route, statement or N+1 seen since then, dearest first, :data:`TOP` at most."""
    if not apps.is_installed("noa_perf.metrics"):
        raise CommandInputError('--by reads the rollup: add "noa_perf.metrics" to INSTALLED_APPS, and migrate.')
    until = time.time()
    lines = rollup.read(SERIES[by], until - seconds_of(since), until, top=TOP, notes=by == "nplusone")
    whole = sum(line.total.seconds for line in lines) or 1.0
    return [_row(line, whole) for line in lines]


def statement_of(fingerprint: str) -> dict[str, str]:
    """Return ``alias``, ``fingerprint`` and folded ``sql`` of the statement whose hash begins so, from past traffic."""
    if not apps.is_installed("noa_perf.metrics"):
        raise CommandInputError(
            '--fingerprint reads the rollup: add "noa_perf.metrics" to INSTALLED_APPS, or give --url.'
        )
    until = time.time()
    for line in rollup.read("query", 0, until, detail=False):
        if line.labels.get("fingerprint", "").startswith(fingerprint):
            return line.labels
    raise CommandInputError(f"Past traffic has no statement whose fingerprint begins with {fingerprint!r}.")


def _row(line: Line, whole: float) -> dict[str, Any]:
    total = line.total
    extra = dict(total.extra)
    database = {"database_ms": extra.pop("database_us") / 1000} if "database_us" in extra else {}
    found: dict[str, Any] = next(iter(line.notes.get("findings", ())), {})
    return {
        **line.labels,
        **{key: found[key] for key in ("cure", "code", "change") if key in found},
        **database,
        "count": total.count,
        "ms": total.seconds * 1000,
        "mean_ms": total.seconds * 1000 / max(1, total.count),
        "p95_ms": total.percentile(0.95) * 1000 if total.histogram else None,
        "share": total.seconds / whole,
        **extra,
    }
