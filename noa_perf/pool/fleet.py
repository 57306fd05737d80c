"""What the rollup knows of the pools of all processes, as plain data for commands."""

from __future__ import annotations

from typing import Any

from noa_perf.metrics import conf, rollup
from noa_perf.metrics.rollup import Line, Point

RECENT = 300.0
"""Seconds of which commands tell."""
ENOUGH = 60.0
"""Seconds after which each process has looked at its pools a few times."""


def processes(since: float, until: float) -> int:
    """Return how many processes told of pools; 0 where figures of that time are thinned already.

    Raises what the database raises.
    """
    from noa_perf.metrics.models import Figure

    figures = Figure._default_manager.using(conf.settings().database).filter(kind="pool")
    figures = figures.filter(bucket__gte=since, bucket__lt=until).exclude(process="")
    return figures.values("process").distinct().count()


def pools(since: float, until: float) -> list[dict[str, Any]]:
    """Return a dict for each pool that was seen. Raises :class:`~noa_perf.metrics.exceptions.RollupUnavailable`."""
    span = since, until
    held = {line.labels.get("pool"): line.total for line in rollup.read("pool_checkout", *span)}
    recycled = rollup.read("pool_recycled", *span)
    return [_told(line, held.get(line.labels.get("pool")), recycled, until) for line in rollup.read("pool", *span)]


def leaks(since: float, until: float) -> list[dict[str, Any]]:
    """Return a dict for each line that leaked."""
    lines = rollup.read("pool_leak", since, until, notes=True)
    return [{**line.labels, "times": line.total.count, **line.notes} for line in lines]


def means(line: Line, what: str, step: float, until: float) -> list[tuple[float, float]]:
    """Return how much of ``what`` (``used``, ``idle``, ``waiting``, ``limit``) all processes together had on average in
    each step, as (seconds since 1970, how much).

    Each look at a pool counts for the time since the look before: so the time that was looked at tells how many
    processes there were. It does not for a step that has only begun, which has as many as the one before.
    """
    found: list[tuple[float, float]] = []
    processes = 1
    for point in line.points:
        ms, seconds = point.extra.get("ms", 0), min(step, until - point.at)
        if seconds >= min(step, ENOUGH) or not found:
            processes = max(1, round(ms / 1_000 / max(1.0, seconds)))
        found.append((float(point.at), point.extra.get(what, 0) / ms * processes if ms else 0.0))
    return found


def _told(line: Line, held: Point | None, recycled: list[Line], until: float) -> dict[str, Any]:
    name, total = line.labels.get("pool", ""), line.total
    return {
        "pool": name,
        **{what: round(means(line, what, RECENT, until)[0][1], 2) for what in ("used", "idle", "waiting")},
        "uses": total.count,
        **{what: total.extra.get(what, 0) for what in ("waited", "timeouts", "refused", "leaks", "orphans")},
        "acquisition_p95_ms": round(total.percentile(0.95) * 1_000, 3),
        "checkout_p95_ms": round(held.percentile(0.95) * 1_000, 3) if held else 0.0,
        "recycled": {
            one.labels.get("cause", ""): one.total.count for one in recycled if one.labels.get("pool") == name
        },
        "not_opened": {
            what.removeprefix("failed_"): many for what, many in total.extra.items() if what.startswith("failed_")
        },
    }
