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


def gone(entry: Entry[Any]) -> bool:
    """Tell whether whoever took an entry can no more give it back."""
    owner, holder = entry.owner, entry.holder
    if owner is None or not _gone(owner, holder):
        return False
    # It may have been given back meanwhile, by the last act of whoever is gone now, and be another's.
    return entry.owner is owner and entry.holder is holder


def _gone(owner: threading.Thread, holder: Any) -> bool:
    if holder is None:
        return ended(owner)
    user = holder()
    return user is None or (ended(owner) and not shared(user))


def shared(wrapper: Any) -> bool:
    """Tell whether other threads may go on with what an owner took, as with Django's ``inc_thread_sharing()``."""
    return bool(getattr(wrapper, "allow_thread_sharing", False))


def ended(thread: threading.Thread) -> bool:
    """Tell whether a thread has ended."""
    if isinstance(thread, threading._DummyThread):  # one that Python did not start says that it lives, always
        return thread.ident not in sys._current_frames()
    return not thread.is_alive()


def watched(entry: Entry[Any]) -> bool:
    """Tell whether an entry may be a leak: a command or a shell holds its connection for as long as it likes."""
    owner = entry.owner
    return owner is not None and (entry.scope is not None or owner is not threading.main_thread())
