"""Durations counted in powers of two: bucket ``n`` holds what took less than ``2**n`` microseconds."""

from __future__ import annotations

from collections.abc import Mapping


def bucket(seconds: float) -> int:
    """Return the index of the bucket of a duration."""
    return int(seconds * 1_000_000).bit_length()


def percentile(buckets: Mapping[int, int], share: float) -> float:
    """Return about the seconds within which ``share`` (0 to 1) of the runs ended, interpolated within the bucket."""
    wanted = share * sum(count for count in buckets.values() if count > 0)
    reached = 0
    for index in sorted(buckets):
        count = buckets[index]
        if count > 0 and reached + count >= wanted:
            low = (1 << index) / 2_000_000
            return low + low * (wanted - reached) / count
        reached += max(0, count)
    return 0.0
