"""What redis-py raises, and what each kind of it means to a caller."""

from __future__ import annotations

import re
from typing import Any, Literal

from noa_perf.core.exceptions import NoaPerfError

_theirs: Any
try:
    from redis import exceptions as _theirs
except ImportError:  # the extra is not installed
    _theirs = None

NOT_ENOUGH: Any
try:
    from redis._parsers.hiredis import NOT_ENOUGH_DATA as NOT_ENOUGH
except ImportError:  # no redis-py, or one that is built otherwise
    NOT_ENOUGH = None
"""What hiredis is told to return for a reply that has not come in full."""

Kind = Literal["down", "timeout", "readonly", "oom", "refused", "data"]

ERRORS: tuple[type[Exception], ...] = (
    ()
    if _theirs is None
    else (_theirs.RedisError, _theirs.RedisClusterException, _theirs.ChildDeadlockedError, OSError)
)
"""What a call may raise; nothing where redis-py is not installed."""

LOCK_ERROR: type[Exception] = Exception if _theirs is None else _theirs.LockError
"""What redis-py raises where a lock could not be had, for an error of ours to be one too."""

_CODES: dict[str, Kind] = {
    "OOM": "oom",
    "READONLY": "readonly",
    "MISCONF": "refused",
    "NOREPLICAS": "refused",
    "NOPERM": "refused",
    "WRONGTYPE": "data",
    "CROSSSLOT": "data",
    "LOADING": "down",
    "CLUSTERDOWN": "down",
    "MASTERDOWN": "down",
    "TRYAGAIN": "down",
    "BUSY": "down",
    "NOAUTH": "down",
    "WRONGPASS": "down",
    "UNKILLABLE": "down",
}
# A script's error carries the code within, on servers before 7: "ERR Error running script ...: -OOM command ...".
_CODE = re.compile(rf"(?:^|[\s-])({'|'.join(_CODES)})\b")
_DATA = re.compile(r"not an integer|not a valid float|not a float|out of range|would overflow|would produce NaN")


class MissingRedis(NoaPerfError):
    """Redis is asked for, and redis-py is not installed: ``pip install noa-perf[redis]``."""

    def __init__(self) -> None:
        """Name the extra."""
        super().__init__("Redis needs redis-py. Install it: pip install noa-perf[redis]")


def classify(error: BaseException) -> Kind:
    """Return what kind of failure it is.

    ``down``: nobody answers, or not yet, or lets us in (refused, reset, DNS, authentication, LOADING, CLUSTERDOWN).
    ``timeout``: no answer in time; what was asked may have been done. ``readonly``: a replica was asked to write.
    ``oom``: no memory left. ``refused``: the server will not do this (MISCONF, NOREPLICAS, NOPERM, an unknown command).
    ``data``: what is stored is of another type than the command takes.
    """
    if isinstance(error, TimeoutError) or getattr(error, "kind", "") == "timeout":
        return "timeout"
    if _theirs is None or isinstance(error, OSError):
        return "down"
    for cls, kind in _classes():
        if isinstance(error, cls):
            return kind
    return _by_text(str(error)) if isinstance(error, _theirs.ResponseError) else "down"


def _classes() -> tuple[tuple[type[BaseException], Kind], ...]:
    return (
        (_theirs.TimeoutError, "timeout"),
        (_theirs.ConnectionError, "down"),
        (_theirs.ClusterError, "down"),
        (_theirs.ReadOnlyError, "readonly"),
        (_theirs.OutOfMemoryError, "oom"),
        (_theirs.NoPermissionError, "refused"),
        (_theirs.TryAgainError, "down"),
        (_theirs.ClusterCrossSlotError, "data"),
        (_theirs.DataError, "data"),
    )


def _by_text(text: str) -> Kind:
    found = _CODE.search(text)
    if found:
        return _CODES[found[1]]
    return "data" if _DATA.search(text) else "refused"


def connection_error(error: OSError) -> Any:
    """Return redis-py's error for one of the socket's own."""
    if isinstance(error, TimeoutError):
        return _theirs.TimeoutError("Timeout on the socket to Redis")
    return _theirs.ConnectionError(f"Error on the socket to Redis: {error}")


def too_long(message: str) -> Any:
    """Return redis-py's error for what was not done in time."""
    return _theirs.TimeoutError(message)


def down(message: str) -> Any:
    """Return redis-py's error for a server that is not to be had."""
    return _theirs.ConnectionError(message)


def is_connection_error(error: Exception) -> bool:
    """Tell whether it says that the connection is gone, rather than slow or full."""
    return isinstance(error, _theirs.ConnectionError) and classify(error) == "down"


def is_reply(reply: object) -> bool:
    """Tell whether a reply is an error to be raised."""
    return isinstance(reply, _theirs.ResponseError)


def is_astray(reply: object) -> bool:
    """Tell whether a reply says that this is not the server to talk to: a replica now, or not ready.

    The name in the settings may lead to another one by now, which only a new connection finds.
    """
    if not isinstance(reply, Exception):
        return False
    if isinstance(reply, (_theirs.ReadOnlyError, _theirs.BusyLoadingError, _theirs.MasterDownError)):
        return True
    found = _CODE.search(str(reply)) if isinstance(reply, _theirs.ResponseError) else None
    return found is not None and found[1] in {"READONLY", "LOADING", "MASTERDOWN"}


def is_noscript(error: Exception) -> bool:
    """Tell whether the server has not seen a script."""
    return _theirs is not None and isinstance(error, _theirs.NoScriptError)
