from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.cache.groups import LONGEST_WORD, MAX_GROUPS, Groups, group_of
from noa_perf.core.told import Told
from noa_perf.metrics.recorder import OTHER


@pytest.mark.parametrize(
    ("key", "group"),
    [
        ("product:7:detail", "product"),
        ("product_7", "product"),
        ("_7", OTHER),
        ("user_ann7", OTHER),
        ("menu", OTHER),
        ("template.cache.menu.d41d8cd98f00b204e9800998ecf8427e", "template.cache.menu"),
        ("views.decorators.cache.cache_page..GET.abc", "views.decorators.cache.cache_page"),
        ("django.contrib.sessions.cacheabcdefghijklmnopqrstuvwxyz012345", "django.contrib.sessions"),
        ("django.contrib.sessions.cached_db7xk2", "django.contrib.sessions"),
        ("ann@example.org", OTHER),
        ("7", OTHER),
        ("", OTHER),
        (":1:x", OTHER),
        ("d41d8cd98f00b204", OTHER),
        ("a" * (LONGEST_WORD + 1), OTHER),
        ("über", OTHER),
    ],
)
def test_a_group_is_the_first_words_and_no_identifier(key, group):
    assert group_of(key) == group


@given(st.text(), st.integers(0, 10**12))
def test_no_number_of_a_key_gets_into_its_group(text, number):
    assert str(number) not in group_of(f"{text}{number}x") or number < 10
    assert not any(letter.isdigit() for letter in group_of(f"{text}:{number}"))


def test_groups_are_bounded():
    groups = Groups()
    names = [f"{one}{other}" for one in "abcdefghijklmnopqrst" for other in "abcdefghijklmnopqrst"]
    for name in names:
        groups.of(f"{name}:1").misses += 1
    drained = groups.drain()
    assert len(drained) == MAX_GROUPS + 1
    assert drained[OTHER].misses == len(names) - MAX_GROUPS
    assert sum(counts.misses for counts in drained.values()) == len(names)
    assert groups.drain() == {}


def test_what_has_grown_is_told_once():
    told, counts = Told(), {"a": 2, "b": 0}
    assert told.since("refused", counts) == {"a": 2}
    assert told.since("refused", counts) == {}
    counts |= {"a": 5, "b": 1}
    assert told.since("other", {"a": 1}) == {"a": 1}
    assert told.since("refused", counts) == {"a": 3, "b": 1}
