"""Who holds a connection, since when, and which line took it."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Any

import django

from noa_perf.pool import requests, stacks
from noa_perf.pool.entry import Entry

_PLUMBING = (__file__.rpartition("pool")[0], django.__path__[0], threading.__file__)
"""Code that takes connections on behalf of whoever called it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A connection that was held for longer than ``leak_threshold``."""

    pool: str
    age: float
    """Seconds since it was taken."""
    thread: str
    route: str
    """The request's route; empty outside requests."""
    stack: tuple[str, ...]
    """The lines that took it, innermost first."""
    line: str
    """The innermost of them that is the site's own."""


def describe(pool: str, entry: Entry[Any], now: float) -> Leak:
    """Return what is known of an entry that is held."""
    owner, scope, stack = entry.owner, entry.scope, entry.stack
    return Leak(
        pool=pool,
        age=now - entry.taken_at,
        thread=owner.name if owner is not None else "",
        route=requests.route(scope),
        stack=tuple(stacks.told(stack)),
        line=site_line(stack),
    )


def site_line(stack: stacks.Stack) -> str:
    """Return the innermost line that is neither ours nor Django's; ``unknown`` where there is none."""
    for code, offset in stack:
        if not code.co_filename.startswith(_PLUMBING) and not code.co_filename.startswith("<"):
            return f"{code.co_filename}:{stacks.line(code, offset)} in {code.co_qualname}"
    return "unknown"


def gone(owner: threading.Thread | None) -> bool:
    """Tell whether a thread has ended."""
    if owner is None:
        return False
    if isinstance(owner, threading._DummyThread):  # one that Python did not start says that it lives, always
        return owner.ident not in sys._current_frames()
    return not owner.is_alive()
