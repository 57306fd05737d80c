"""How figures are written, the same on every page and in every export."""

from __future__ import annotations

from datetime import UTC, datetime

from noa_perf.core.panels import Cell, Kind

MINUS = "−"  # noqa: RUF001  (a minus sign, not a hyphen)


def written(value: Cell, kind: Kind) -> str:
    """Return ``value`` as a person reads it."""
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        return value
    if kind is Kind.SHARE:
        return f"{value:.1%}"
    if kind is Kind.MS:
        return milliseconds(float(value))
    if kind is Kind.TIME:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def milliseconds(value: float) -> str:
    """Return a duration in the unit that suits it: ``340 µs``, ``12.5 ms``, ``3.20 s``, ``4 min 10 s``."""
    if value < 1:
        return f"{value * 1000:.0f} µs"
    if value < 100:
        return f"{value:.1f} ms"
    if value < 1_000:
        return f"{value:.0f} ms"
    if value < 60_000:
        return f"{value / 1000:.2f} s"
    minutes, seconds = divmod(round(value / 1000), 60)
    return f"{minutes:,} min {seconds} s"


def brief(value: float, kind: Kind) -> str:
    """Return a figure for the edge of a chart."""
    if kind is Kind.MS:
        return milliseconds(value)
    if kind is Kind.SHARE:
        return f"{value:.0%}"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):,.0f} {unit}"
    return f"{value:,.0f}"
