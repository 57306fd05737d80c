from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.core.histogram import bucket, percentile


@pytest.mark.parametrize(("seconds", "index"), [(0, 0), (0.000_001, 1), (0.000_003, 2), (0.001, 10), (1.0, 20)])
def test_bucket_ends_above_the_duration(seconds, index):
    assert bucket(seconds) == index
    assert seconds * 1_000_000 < 1 << index


@given(st.lists(st.floats(0.000_001, 100), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_percentile_is_within_a_factor_of_two(durations, share):
    buckets: dict[int, int] = {}
    for seconds in durations:
        buckets[bucket(seconds)] = buckets.get(bucket(seconds), 0) + 1

    true = sorted(durations)[min(len(durations) - 1, int(share * len(durations) - 1e-9))]

    assert true / 2.01 <= percentile(buckets, share) <= true * 2.01


def test_of_nothing_it_is_zero():
    assert percentile({}, 0.5) == percentile({3: 0, 4: -1}, 0.5) == 0.0
