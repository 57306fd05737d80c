"""Values as memory keeps them where no Redis is behind it: as they are, or so that nobody can change another's."""

from __future__ import annotations

import datetime as dt
import decimal
import pickle
import sys
import uuid
from typing import Any

from django.utils.safestring import SafeString

from noa_perf.cache.codecs.codec import Packed

UNCHANGEABLE = frozenset({
    type(None), bool, int, float, complex, str, bytes, SafeString, decimal.Decimal, uuid.UUID,
    dt.date, dt.timedelta, range,
})  # fmt: skip


def copied(value: Any) -> tuple[Packed, int]:
    """Return ``value`` so that each reader gets a copy, and its bytes. Raises whatever pickling raises."""
    if type(value) in UNCHANGEABLE:
        return Packed(value, None), sys.getsizeof(value)
    data = pickle.dumps(value, protocol=5)
    return Packed(data, pickle.loads), sys.getsizeof(data)


def size_of(packed: Packed) -> int:
    """Return about how many bytes a packed value takes in memory, whatever it takes elsewhere."""
    return sys.getsizeof(packed.data) if packed.load is not None else _size(packed.data)


def shared(value: Any) -> tuple[Packed, int]:
    """Return ``value`` itself for all readers, and about how many bytes it takes."""
    return Packed(value, None), _size(value)


def _size(value: Any) -> int:
    """Return the bytes that a value takes with all that only hangs on it."""
    seen: set[int] = set()
    waiting = [value]
    size = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (type, type(sys))):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        if isinstance(one, dict):
            waiting.extend(one.keys())
            waiting.extend(one.values())
        elif isinstance(one, (list, tuple, set, frozenset)):
            waiting.extend(one)
        elif type(one) not in UNCHANGEABLE:
            waiting.append(getattr(one, "__dict__", None))
    return size
