"""The errors of the cache; none but those of bad input ever reaches a view."""

from __future__ import annotations

import pickle

from noa_perf.core.exceptions import NoaPerfError
from noa_perf.core.redis import LOCK_ERROR


class CacheError(NoaPerfError):
    """Base of the cache's errors."""


class NotCacheable(CacheError, pickle.PicklingError):
    """A value cannot be put into this cache: the message names the alias, the key, the codec and the cure."""


class LockNotTaken(CacheError, LOCK_ERROR):  # type: ignore[misc, valid-type]
    """A lock could not be had in time, or was given back by who does not hold it; redis-py's LockError too."""


class Refused(CacheError):
    """An entry that lies in Redis is not to be used: it counts as a miss; ``reason`` is one of :data:`REASONS`."""

    def __init__(self, reason: str) -> None:
        """Say why."""
        super().__init__(reason)
        self.reason = reason


REASONS = ("format", "schema", "tampered", "unsigned", "too_large", "corrupt", "codec")
"""Another release's format; a model that has changed; a wrong signature; a pickle without one; larger than
``max_value_bytes``; bytes that cannot be read; a codec or compressor that is not installed here."""
