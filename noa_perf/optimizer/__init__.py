"""Sees every query, tells which ones hurt, and says the exact line and the exact change that mends each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noa_perf.optimizer.capture import scope
    from noa_perf.optimizer.testing import (
        QueryAssertions,
        assert_max_queries,
        assert_no_n_plus_one,
        assert_uses_index,
    )

__all__ = ["QueryAssertions", "assert_max_queries", "assert_no_n_plus_one", "assert_uses_index", "scope"]


def __getattr__(name: str) -> Any:
    # When it is asked for, not before: pytest imports the plugin in this package in runs that have no Django at all.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "capture" if name == "scope" else "testing"
    return getattr(import_module(f"{__name__}.{home}"), name)
