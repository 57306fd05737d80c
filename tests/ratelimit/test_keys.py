from __future__ import annotations

import re

from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.ratelimit import keys

# Lone surrogates too: a header decoded as latin-1 or with surrogateescape may hold anything.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200) | st.sampled_from(
    ["", ":", "1:", "1:a", "0:", "#", "*", "a:b", "{", "}", "\0", "\ud800", "é", "e\u0301", " ", "x" * 81]
)
PARTS = st.lists(ANY_TEXT, max_size=6)


@given(PARTS, PARTS)
def test_two_lists_of_parts_never_share_a_text(one, other):
    assert (keys.join(one) == keys.join(other)) == (one == other)


@given(PARTS)
def test_what_is_joined_faked_as_a_part_is_another_client(parts):
    text = keys.join(parts)
    assert keys.join([text]) != text
    assert keys.join([keys.safe(parts[0])] if parts else ["."]) != text or keys.safe(parts[0]) == parts[0]


@given(PARTS)
def test_a_text_stays_inside_its_hash_tag(parts):
    text = keys.join(parts)
    assert re.fullmatch(r"[!-z|~]{1,150}", text)


@given(ANY_TEXT, ANY_TEXT)
def test_a_safe_text_is_fit_for_a_key_and_stays_different(one, other):
    assert re.fullmatch(r"[!-z|~]{0,80}", keys.safe(one))
    assert (keys.safe(one) == keys.safe(other)) == (one == other)


@given(st.lists(st.from_regex(r"[a-z:0-9]{0,8}", fullmatch=True), min_size=1, max_size=5))
def test_plain_parts_are_read_back(parts):
    assert keys.split(keys.join(parts)) == parts


@given(st.lists(st.from_regex(r"[a-z][a-z:0-9]{0,7}", fullmatch=True), min_size=2, max_size=5), ANY_TEXT)
def test_what_is_joined_names_its_parts_and_nobody_else(parts, other):
    text = keys.join(parts)
    nested = keys.join([text, "x"])
    assert all(keys.names(one, part) for one in (text, nested) for part in parts)
    assert keys.names(text, other) == (other in {text, *parts})
    assert not keys.names(keys.safe(other), "nobody") or other == "nobody"


def test_separators_unicode_and_long_parts_never_collide():
    texts = {
        keys.join(parts)
        for parts in (
            ["a", "b"],
            ["ab"],
            ["a:b"],
            ["a", ":b"],
            ["1:a1:b"],
            ["a", "", "b"],
            ["a", "b", ""],
            ["", "a", "b"],
            [],
            [""],
            ["é"],
            ["e\u0301"],
            ["\ud800"],
            ["\udcff"],
            ["\0"],
            ["a\0b"],
            ["{a}"],
            ["a b"],
            ["a\u00a0b"],
            ["x" * 10_000],
            ["x" * 9_999 + "y"],
            ["x" * 10_001],
            ["x" * 5_000, "x" * 5_000],
        )
    }
    assert len(texts) == 23


def test_a_digest_cannot_be_faked():
    digest = keys.join(["x" * 10_000])
    assert keys.join([digest]) != digest
    assert keys.safe(digest) != digest
    whole = keys.join(["y" * 60] * 3)
    assert whole.startswith("*")
    assert keys.join([whole]) != whole


def test_nothing_is_split_that_was_not_joined():
    assert keys.split("user:17") == []
    assert keys.split("9:short") == []
    assert keys.split("1:ab") == []


def test_a_secret_is_hashed_with_the_secret_key():
    with override_settings(SECRET_KEY="one"):
        first = keys.hashed("token")
    with override_settings(SECRET_KEY=b"another " * 20):
        second = keys.hashed("token")
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second
