"""What may be said of a query's parameters: their types and sizes; the values only where an operator allows it."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

MAX_PARAMETERS = 30
MAX_CHARACTERS = 200


def masked(params: Any) -> tuple[str, ...]:
    """Return each parameter's type, and its size if it has one: ``int``, ``str of 12``."""
    return _each(params, _mask)


def shown(params: Any) -> tuple[str, ...]:
    """Return each parameter as text, shortened."""
    return _each(params, _show)


def _each(params: Any, describe: Any) -> tuple[str, ...]:
    values = list(params.values()) if isinstance(params, dict) else list(params or ())
    told = tuple(describe(value) for value in values[:MAX_PARAMETERS])
    rest = len(values) - len(told)
    return (*told, f"and {rest:,} more") if rest else told


def _mask(value: Any) -> str:
    if value is None:
        return "NULL"
    name = type(value).__name__
    try:
        return f"{name} of {len(value):,}" if isinstance(value, Sized) else name
    except Exception:  # somebody else's code
        return name


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # somebody else's code
        return type(value).__name__
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
