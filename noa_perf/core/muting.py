"""Our own queries, unseen by ourselves: whoever watches queries asks here first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

IGNORED = "noa_perf_ignored"
"""Attribute of a request that is one of our own pages: it is not the site's traffic."""

is_muted: ContextVar[bool] = ContextVar("noa_perf_muted", default=False)


@contextmanager
def muted() -> Iterator[None]:
    """Leave the queries of this block unseen: for our own, so that no report reports itself."""
    token = is_muted.set(True)
    try:
        yield
    finally:
        is_muted.reset(token)
