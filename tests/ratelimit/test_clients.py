"""Who is meant, in one form each."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from noa_perf.ratelimit.clients import Client, within
from noa_perf.ratelimit.exceptions import BadPolicy


@pytest.mark.parametrize(
    ("written", "value", "text"),
    [
        ("203.0.113.7", "203.0.113.7/32", "ip:203.0.113.7"),
        (" 203.0.113.0/24 ", "203.0.113.0/24", "ip:203.0.113.0/24"),
        ("ip:203.0.113.7", "203.0.113.7/32", "ip:203.0.113.7"),
        ("2001:DB8::1", "2001:db8::1/128", "ip:2001:db8::1"),
        ("ip:2001:db8:0::/48", "2001:db8::/48", "ip:2001:db8::/48"),
        ("::ffff:203.0.113.7", "203.0.113.7/32", "ip:203.0.113.7"),
        ("user:17", "17", "user:17"),
        ("key:ab12", "ab12", "key:ab12"),
    ],
)
def test_each_has_one_form(written, value, text):
    client = Client.parse(written)

    assert (client.value, client.text) == (value, text)
    assert Client.parse(client.text) == client


@pytest.mark.parametrize(
    "written",
    ["", "203.0.113.7/24", "203.0.113.0/33", "host.example", "user:", "user:a b", "ip:x", "fe80::1%a b", "fe80::%1/64"],
)
def test_what_means_nobody_is_refused_with_the_cure(written):
    with pytest.raises(BadPolicy, match="Write"):
        Client.parse(written)


@given(st.ip_addresses(), st.integers(8, 31), st.integers(16, 127))
def test_the_network_around_an_address_has_it(address, four, six):
    assume(getattr(address, "ipv4_mapped", None) is None)
    network = within(f"ip:{address}", four, six)

    found = Client.parse(network).network
    assert found is not None
    first, bits = found
    assert int(address) >> (address.max_prefixlen - bits) == int(first) >> (first.max_prefixlen - bits)


def test_there_is_none_around_a_larger_network_or_a_user():
    assert within("ip:203.0.0.0/16", 24, 48) == ""
    assert within("ip:2001:db8::/48", 24, 48) == ""
    assert within("user:17", 24, 48) == ""
