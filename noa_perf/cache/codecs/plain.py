"""MessagePack for values of plain types, each with its own type kept; anything else is refused, never changed."""

from __future__ import annotations

import datetime as dt
import decimal
import importlib
import uuid
import zoneinfo
from collections.abc import Callable
from functools import cache
from typing import Any

from django.utils.safestring import SafeString


class NotPlain(TypeError):
    """A value holds something that has no plain form."""


def available() -> bool:
    """Tell whether MessagePack is installed."""
    return _msgpack() is not None


def dumps(value: Any) -> bytes:
    """Return ``value`` as MessagePack; raises :class:`NotPlain` where that would lose something."""
    if not available():
        raise NotPlain("a value for MessagePack, and msgpack is not installed")
    try:
        packed = _packed(value)
    except (ValueError, OverflowError, RecursionError) as error:  # too deep, too long
        raise NotPlain(f"what MessagePack has no room for ({error})") from error
    # Whatever lends its bytes is taken for bytes before _extended is asked. The search costs little, the look is rare.
    if any(mark in packed for mark in _BYTES) and _lends_bytes(value):
        raise NotPlain("a bytearray or memoryview")
    return packed


def _packed(value: Any) -> bytes:
    # Strict: a subclass, and a tuple too, is passed to _extended, so that no type is taken for another.
    return bytes(_msgpack().packb(value, default=_extended, strict_types=True, unicode_errors="surrogatepass"))


_BYTES = (b"\xc4", b"\xc5", b"\xc6")
"""What bytes begin with in MessagePack."""


def _lends_bytes(value: Any) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, (bytearray, memoryview)):
            return True
        if isinstance(one, dict):
            waiting.extend(one.keys())
            waiting.extend(one.values())
        elif isinstance(one, (list, tuple, set, frozenset)):
            waiting.extend(one)
    return False


def loads(data: bytes) -> Any:
    """Return the value that :func:`dumps` was given; raises ValueError and its like on bytes that are not its own."""
    library = _msgpack()
    return library.unpackb(data, ext_hook=_restored, strict_map_key=False, unicode_errors="surrogatepass")


@cache
def _msgpack() -> Any:
    try:
        return importlib.import_module("msgpack")
    except ImportError:
        return None


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True)


def _moment(value: dt.datetime) -> bytes:
    zone = value.tzinfo
    if value.fold:
        raise NotPlain("a repeated hour")
    if zone is None or type(zone) is dt.timezone:
        restored = dt.datetime.fromisoformat(value.isoformat())
        if repr(restored) != repr(value):  # a zone with a name of its own
            raise NotPlain("a named time zone")
        return value.isoformat().encode()
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return f"{value.replace(tzinfo=None).isoformat()} {zone.key}".encode()
    raise NotPlain(type(zone).__name__)


def _restored_moment(data: bytes) -> dt.datetime:
    moment, _, zone = data.decode().partition(" ")
    value = dt.datetime.fromisoformat(moment)
    return value.replace(tzinfo=zoneinfo.ZoneInfo(zone)) if zone else value


def _time(value: dt.time) -> bytes:
    if value.tzinfo is not None or value.fold:
        raise NotPlain("a time with a zone")
    return value.isoformat().encode()


def _span(value: dt.timedelta) -> bytes:
    return _packed([value.days, value.seconds, value.microseconds])


_TEXT = ("utf-8", "surrogatepass")

Form = tuple[int, Callable[[Any], bytes], Callable[[bytes], Any]]

_FORMS: dict[type, Form] = {
    tuple: (1, lambda value: _packed(list(value)), lambda data: tuple(loads(data))),
    set: (2, lambda value: _packed(list(value)), lambda data: set(loads(data))),
    frozenset: (3, lambda value: _packed(list(value)), lambda data: frozenset(loads(data))),
    dt.datetime: (4, _moment, _restored_moment),
    dt.date: (
        5,
        lambda value: value.isoformat().encode(),
        lambda data: dt.date.fromisoformat(data.decode()),
    ),
    dt.time: (6, _time, lambda data: dt.time.fromisoformat(data.decode())),
    dt.timedelta: (7, _span, lambda data: dt.timedelta(*loads(data))),
    decimal.Decimal: (8, lambda value: str(value).encode(), lambda data: decimal.Decimal(data.decode())),
    uuid.UUID: (9, lambda value: value.bytes, lambda data: uuid.UUID(bytes=data)),
    SafeString: (10, lambda value: value.encode(*_TEXT), lambda data: SafeString(data.decode(*_TEXT))),
    int: (11, _number, lambda data: int.from_bytes(data, "big", signed=True)),
}
"""Types that MessagePack has not, by the number of their extension; of ``int``, those beyond 64 bits."""
_RESTORE = {number: restore for number, _, restore in _FORMS.values()}


def _extended(value: Any) -> Any:
    form = _FORMS.get(type(value))
    if form is None:
        raise NotPlain(type(value).__name__)
    return _msgpack().ExtType(form[0], form[1](value))


def _restored(number: int, data: bytes) -> Any:
    restore = _RESTORE.get(number)
    if restore is None:
        raise ValueError(f"extension {number} is none of ours")
    return restore(data)
