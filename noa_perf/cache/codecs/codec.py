"""One alias's codec: values to the bytes of an entry and back, described by the entry itself.

An entry is a bare integer (so that Redis can add to it), or

    0xF5, format, codec, compressor, flags, [schema: length, labels, fingerprint], [size], [signature], payload

The first byte starts no pickle, no UTF-8 text, no number and no compressor's output, so entries of anyone else are
told apart; what another release wrote is read where its format is known, and is a miss where it is not.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from django.conf import settings as django_settings

from noa_perf.cache.codecs import compressors, pickles, plain
from noa_perf.cache.exceptions import NotCacheable, Refused

MAGIC = 0xF5
FORMAT = 1
RAW, TEXT, JSON, PLAIN, PICKLE, CUSTOM = range(6)
SIGNED, SCHEMA = 1, 2
KNOWN_FLAGS = SIGNED | SCHEMA
SIGNATURE = 16
BARE_BITS = 13_000
"""Integers of more are entries like all else: text of that length takes its time."""
COMPRESS_FROM = 512
"""Bytes from which compressing is tried: below, its time costs more than the wire's."""
MOST_HEAD = 70_000
"""Bytes that may stand before a payload."""
WORTH_IT = 0.9
"""A compressed payload is kept where it is at most this part of what it was."""
NAMES = ("auto", "json", "msgpack", "pickle")

_BARE = re.compile(rb"-?\d{1,4000}\Z")
_BARE_FLOAT = re.compile(rb"-?(?:\d{1,400}(?:\.\d{1,400})?(?:e[+-]?\d{1,4})?|inf|nan)\Z")
"""django-valkey writes floats so, and INCRBYFLOAT too."""
_HEAD = struct.Struct("!BBBBB")
_SIZE = struct.Struct("!I")
_LENGTH = struct.Struct("!H")
_SMALL = frozenset({type(None), bool, float})


def installed(package: str) -> bool:
    """Tell whether an optional package is there."""
    return importlib.util.find_spec(package) is not None


class Packed(NamedTuple):
    """A value apart from its entry: ``load(data)`` makes it anew each time, or ``data`` is itself the value."""

    data: Any
    load: Callable[[Any], Any] | None

    def value(self) -> Any:
        """Return the value."""
        return self.data if self.load is None else self.load(self.data)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as an entry, and as memory keeps it."""

    payload: bytes
    packed: Packed


class Codec:
    """Encodes and decodes for one alias; safe over threads."""

    def __init__(
        self,
        alias: str = "default",
        name: str = "auto",
        *,
        compress: str = "auto",
        compress_from: int = COMPRESS_FROM,
        max_bytes: int = 32 * 1024 * 1024,
        trust_pickles: bool = False,
        sign: bool = False,
        custom: Any = None,
    ) -> None:
        """Encode with the codec ``name`` (one of :data:`NAMES`), or with ``custom``: an object with dumps and loads.

        Pickles are always signed, and so is what ``custom`` makes, for that may be a pickle too, unless it says that it
        is ``harmless``; with ``sign`` all is but integers. What others wrote without a signature is read as a pickle,
        or by ``custom``, only with ``trust_pickles``; or by what is harmless. Values of more than ``max_bytes`` are
        neither written nor read.
        """
        self.alias = alias
        self.name = name
        self.custom = custom
        self.max_bytes = max_bytes
        self.sign = sign
        self.trust_pickles = trust_pickles
        self._harmless = bool(getattr(custom, "harmless", False))
        self._signed = frozenset({PICKLE} if self._harmless else {PICKLE, CUSTOM})
        self._compressor = compressors.named(compress)
        self._compress_from = compress_from
        self._plain = name == "msgpack" or (name == "auto" and plain.available())

    def encode(self, key: str, value: Any) -> Encoded:
        """Return ``value`` as the entry of ``key`` (as Redis has it).

        Raises :class:`~noa_perf.cache.exceptions.NotCacheable` where it cannot come back equal and of its type.
        """
        if type(value) is int and value.bit_length() <= BARE_BITS:
            return Encoded(b"%d" % value, Packed(value, None))
        number, body, packed, labels = self._body(key, value)
        if len(body) > self.max_bytes:
            cure = 'store less under one key, or raise OPTIONS["max_value_bytes"]'
            raise self._not_cacheable(key, f"it takes {len(body)} bytes, more than {self.max_bytes}", cure)
        return Encoded(self._envelope(key, number, body, labels), packed)

    def decode(self, key: str, payload: bytes) -> Packed:
        """Return what the entry of ``key`` holds; raises :class:`~noa_perf.cache.exceptions.Refused` if it is no use.

        Loading the value may still fail on bytes that are not what they say: use :meth:`load`.
        """
        if len(payload) > self.max_bytes + MOST_HEAD:
            raise Refused("too_large")
        if payload[:1] != b"\xf5":
            return self._foreign(payload)
        try:
            return self._opened(key, payload)
        except (struct.error, IndexError, ValueError) as error:
            raise Refused("corrupt") from error

    def load(self, packed: Packed) -> Any:
        """Return the value of what :meth:`decode` gave; raises ``Refused`` where its bytes are no value."""
        if packed.load is None:
            return packed.data
        try:
            return packed.load(packed.data)
        except Exception as error:  # a pickle can raise anything at all
            raise Refused("corrupt") from error

    def _body(self, key: str, value: Any) -> tuple[int, bytes, Packed, str]:
        if self.custom is not None:
            return self._customised(key, value)
        kind = type(value)
        if self.name == "json":
            return self._json(key, value)
        if kind is str:
            return TEXT, value.encode("utf-8", "surrogatepass"), Packed(value, None), ""
        if kind is bytes:
            return RAW, value, Packed(value, None), ""
        if self.name == "auto" and kind in _SMALL:
            return JSON, json.dumps(value).encode(), Packed(value, None), ""
        if self._plain:
            try:
                body = plain.dumps(value)
            except plain.NotPlain as error:
                if self.name == "msgpack":
                    raise self._not_cacheable(key, f"it holds {error}", 'use the codec "auto"') from error
            else:
                return PLAIN, body, Packed(body, plain.loads), ""
        return self._pickled(key, value)

    def _pickled(self, key: str, value: Any) -> tuple[int, bytes, Packed, str]:
        try:
            body, labels = pickles.dumps(value)
            if labels:
                pickles.fingerprint(labels)  # a model that no app has cannot be unpickled
        except Exception as error:  # __reduce__ and __getstate__ are anybody's code
            raise self._not_cacheable(key, str(error), "store plain data instead") from error
        return PICKLE, body, Packed(body, pickles.loads), labels

    def _json(self, key: str, value: Any) -> tuple[int, bytes, Packed, str]:
        try:
            body = json.dumps(value).encode()
            same = _same(json.loads(body), value)
        except (TypeError, ValueError, RecursionError) as error:
            raise self._not_cacheable(key, str(error), 'use the codec "auto"') from error
        if not same:
            why = "JSON would change the type of something in it (a tuple, a key that is no string, a subclass)"
            raise self._not_cacheable(key, why, 'use the codec "auto"')
        return JSON, body, Packed(body, json.loads), ""

    def _customised(self, key: str, value: Any) -> tuple[int, bytes, Packed, str]:
        cure = "store what this serializer takes"
        try:
            body = self.custom.dumps(value)
        except Exception as error:
            raise self._not_cacheable(key, str(error), cure) from error
        if not isinstance(body, bytes):
            raise self._not_cacheable(key, f"its dumps returned {type(body).__name__}, not bytes", cure)
        return CUSTOM, body, Packed(body, self.custom.loads), ""

    def _not_cacheable(self, key: str, why: str, cure: str) -> NotCacheable:
        name = type(self.custom).__name__ if self.custom is not None else self.name
        return NotCacheable(
            f"CACHES[{self.alias!r}] cannot keep the value of the key {key!r} with the codec {name!r}: {why}. "
            f"Instead: {cure}."
        )

    def _envelope(self, key: str, number: int, body: bytes, labels: str) -> bytes:
        compressor, size = 0, b""
        if self._compressor is not None and len(body) >= self._compress_from:
            smaller = self._compressor.compress(body)
            if len(smaller) <= len(body) * WORTH_IT:
                compressor, size, body = self._compressor.number, _SIZE.pack(len(body)), smaller
        flags = (SIGNED if self.sign or number in self._signed else 0) | (SCHEMA if labels else 0)
        head = _HEAD.pack(MAGIC, FORMAT, number, compressor, flags)
        if labels:
            told = labels.encode()
            head += _LENGTH.pack(len(told)) + told + pickles.fingerprint(labels)
        head += size
        if flags & SIGNED:
            head += _signature(_secrets()[0], key, head, body)
        return head + body

    def _opened(self, key: str, payload: bytes) -> Packed:
        _, form, number, compressor, flags = _HEAD.unpack_from(payload)
        if form != FORMAT or flags & ~KNOWN_FLAGS:
            raise Refused("format")
        at = _HEAD.size
        labels, fingerprint = "", b""
        if flags & SCHEMA:
            (length,) = _LENGTH.unpack_from(payload, at)
            at += _LENGTH.size + length
            labels, fingerprint = payload[at - length : at].decode(), payload[at : at + 4]
            at += 4
        size = None
        if compressor:
            (size,) = _SIZE.unpack_from(payload, at)
            at += _SIZE.size
        if flags & SIGNED:
            head, signature, body = payload[:at], payload[at : at + SIGNATURE], payload[at + SIGNATURE :]
            if not any(hmac.compare_digest(_signature(one, key, head, body), signature) for one in _secrets()):
                raise Refused("tampered")
        elif number in self._signed or self.sign:
            raise Refused("unsigned")
        else:
            body = payload[at:]
        if labels:
            _check_schema(labels, fingerprint)
        return self._packed(number, body if size is None else self._inflated(compressor, body, size))

    def _inflated(self, compressor: int, body: bytes, size: int) -> bytes:
        if size > self.max_bytes:
            raise Refused("too_large")
        if not size:
            raise Refused("corrupt")  # nobody makes nothing smaller
        found = compressors.numbered(compressor)
        if found is None:
            raise Refused("codec")
        try:
            inflated = found.decompress(body, size)
        except Exception as error:  # each library has errors of its own
            raise Refused("corrupt") from error
        if len(inflated) != size:
            raise Refused("corrupt")
        return inflated

    def _packed(self, number: int, body: bytes) -> Packed:
        if number == TEXT:
            return Packed(body.decode("utf-8", "surrogatepass"), None)
        if number == RAW:
            return Packed(body, None)
        if number == JSON:
            return Packed(body, json.loads)
        if number == PLAIN and plain.available():
            return Packed(body, plain.loads)
        if number == PICKLE:
            return Packed(body, pickles.loads)
        if number == CUSTOM and self.custom is not None:
            return Packed(body, self.custom.loads)
        raise Refused("codec")

    def _foreign(self, payload: bytes) -> Packed:
        """Return what somebody else wrote: a number, or a pickle of django-redis's, Django's or django-valkey's."""
        if _BARE.match(payload):
            return Packed(int(payload), None)
        if _BARE_FLOAT.match(payload):
            return Packed(float(payload), None)
        if not (self.trust_pickles or self._harmless):
            raise Refused("unsigned" if payload[:1] == b"\x80" else "format")
        body = _unwrapped(payload, self.max_bytes)
        if self.custom is not None:
            return Packed(body, self.custom.loads)
        if body[:1] != b"\x80":
            raise Refused("format")
        return Packed(body, pickle.loads)


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal in all their types too."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return len(one) == len(other) and all(map(_same, one.items(), other.items()))
    if type(one) in {list, tuple}:
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124  (nan)


def _check_schema(labels: str, fingerprint: bytes) -> None:
    try:
        now = pickles.fingerprint(labels)
    except LookupError:
        now = b""
    if now != fingerprint:
        raise Refused("schema")


def _secrets() -> list[bytes]:
    """Return the keys of signatures: the first signs, each verifies, so that SECRET_KEY can be replaced in use."""
    secrets = (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS)
    return [_derived(one if isinstance(one, bytes) else str(one).encode()) for one in secrets]


@lru_cache(maxsize=16)
def _derived(secret: bytes) -> bytes:
    return hashlib.blake2b(secret, digest_size=32, person=b"noa_perf.cache").digest()


def _signature(secret: bytes, key: str, head: bytes, body: bytes) -> bytes:
    # The key is signed too: an entry that was moved to another key is as wrong as one that was changed.
    signed = hashlib.blake2b(key=secret, digest_size=SIGNATURE)
    named = key.encode("utf-8", "surrogatepass")
    signed.update(_SIZE.pack(len(named)) + named)
    signed.update(head)
    signed.update(body)
    return signed.digest()


def _unwrapped(payload: bytes, most: int) -> bytes:
    """Return what django-redis serialised, whichever of its compressors it used."""
    try:
        return compressors.foreign(payload, most)
    except LookupError:
        return payload
    except Exception as error:  # each library has errors of its own
        raise Refused("format") from error
