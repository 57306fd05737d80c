from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.cache.patterns import escaped, matcher
from tests.servers import get
from tests.servers.redis import Redis


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("", [""], ["a"]),
        ("*", ["", "a", "a\nb", "ü"], []),
        ("a*c", ["ac", "abc", "ab\nc"], ["abcd", "xac"]),
        ("a?c", ["abc"], ["ac", "abbc"]),
        ("h[ae]llo", ["hello", "hallo"], ["hillo", "hllo"]),
        ("h[^e]llo", ["hallo"], ["hello"]),
        ("h[a-c]llo", ["hbllo"], ["hdllo"]),
        ("h[c-a]llo", ["hbllo"], ["hdllo"]),
        (r"h[\]x]", ["h]", "hx"], ["h"]),
        ("h[ab", ["ha", "hb"], ["hc", "h[ab"]),
        ("h[]x", [], ["hx", "h]x"]),
        (r"a\*b", ["a*b"], ["axb"]),
        ("a.b+", ["a.b+"], ["axbb"]),
        (r"a\[0-9\]", ["a[0-9]"], ["a5"]),
        ("??", ["é", "ab"], ["a"]),  # bytes
        ("*é?", ["éa", "xéy"], ["é"]),
        ("p:[0-9]*:*", ["p:1:k", "p:12:k:l"], ["p::k", "q:1:k"]),
    ],
)
def test_what_a_pattern_matches(pattern, matches, others):
    assert all(map(matcher(pattern), matches))
    assert not any(map(matcher(pattern), others))


@given(text=st.text(), other=st.text())
def test_escaped_text_matches_itself_alone(text, other):
    assert matcher(escaped(text))(text)
    assert matcher(escaped(text))(other) == (text == other)


LETTERS = "ab[]^-*?\\"
"""Of one byte each: how bytes beyond those compare in a range depends on the server's machine."""


@pytest.mark.server
@given(st.text(LETTERS, max_size=7), st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=6, unique=True))
def test_matches_as_the_server_does(pattern, keys):
    server = get(Redis)
    server.query("primary", "FLUSHDB", db=9)
    for key in keys:
        server.query("primary", "SET", key, "x", db=9)
    _, found = server.query("primary", "SCAN", 0, "MATCH", pattern, "COUNT", 1000, db=9)
    assert sorted(found) == sorted(filter(matcher(pattern), keys))
