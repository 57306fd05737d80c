"""django-redis's serializers that run no code, by our own hand: what they lose, these lose too."""

from __future__ import annotations

import importlib
import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder


class JSONSerializer:
    """Text that anybody can read: a tuple comes back as a list, a date as text, a key as text."""

    harmless = True
    """What it reads cannot run code, so it needs no signature."""

    def dumps(self, value: Any) -> bytes:
        """Return a value as JSON, as Django's own encoder has it."""
        return json.dumps(value, cls=DjangoJSONEncoder).encode()

    def loads(self, data: bytes) -> Any:
        """Return what JSON says."""
        return json.loads(data)


class MessagePackSerializer:
    """MessagePack without types of our own: a tuple comes back as a list, and a date is refused."""

    harmless = True

    def __init__(self) -> None:
        """Raise ImportError where msgpack is not installed."""
        self._library: Any = importlib.import_module("msgpack")

    def dumps(self, value: Any) -> bytes:
        """Return a value as MessagePack."""
        return bytes(self._library.packb(value))

    def loads(self, data: bytes) -> Any:
        """Return what MessagePack says."""
        return self._library.unpackb(data, raw=False, strict_map_key=False)
