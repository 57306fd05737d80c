from __future__ import annotations

import ipaddress
import random
from functools import cache
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.ratelimit import addresses, keys
from noa_perf.ratelimit.addresses import Address, Networks, client_network, mask, parse_address
from noa_perf.ratelimit.conf import RateLimitSettings
from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.identity import Reader

PROXY = "10.0.0.1"
TRUSTED = ("10.0.0.0/8", "2001:db8:ffff::/48")
NOBODY = ()
HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP")
# What looks a little like what is read: plain random text never comes near it.
LOOKS = st.text(st.sampled_from('0123456789abcdf.:,;=[]%"\\ for_unkw\t\u0661\ud800'), max_size=80)
ADDRESSES = st.ip_addresses()


@cache
def reader(header: str, trusted: tuple[str, ...]) -> Reader:
    return Reader(RateLimitSettings(trusted_proxies=trusted, client_ip_header=header))


def forwarded_client(peer: str, header: str, value: str | None, trusted: tuple[str, ...]) -> Address | None:
    """Return whom a request is from that ``peer`` sends with ``value`` in the header that proxies write."""
    meta = {"REMOTE_ADDR": peer, "HTTP_" + header.upper().replace("-", "_"): value}
    return reader(header, trusted).seen(meta).address


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:80", "203.0.113.7"),
        (" 203.0.113.7\t", "203.0.113.7"),
        ('"203.0.113.7:80"', "203.0.113.7"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:80", "::1"),
        ('"[2001:db8::17]:4711"', "2001:db8::17"),
        ("[2001:db8::17]:_hidden", "2001:db8::17"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("2001:DB8::A", "2001:db8::a"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("[::ffff:102:304]:443", "1.2.3.4"),
    ],
)
def test_an_address_is_read_however_it_is_written(text, meant):
    assert parse_address(text) == ip_address(meant)


@pytest.mark.parametrize(
    "text",
    [
        None, "", " ", "unknown", "_hidden", "localhost", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4/32", "256.1.1.1",
        "1.2.3.4:", "1.2.3.4:http", "1.2.3.4:123456", "[1.2.3.4]", "[::1", "::1]", "[::1]80", "1.2.3.4%eth0", "::1%",
        '"1.2.3.4', "1.2.3.4, 5.6.7.8", "\u0661.2.3.4", "1.2.3.4\n", "\0", "3232235777", ":" * 101, "1" * 200,
    ],
)  # fmt: skip
def test_garbage_is_no_address(text):
    assert parse_address(text) is None


@given(st.text() | LOOKS)
def test_reading_an_address_never_raises(text):
    found = parse_address(text)
    assert found is None or isinstance(found, (ipaddress.IPv4Address, ipaddress.IPv6Address))


@given(ADDRESSES)
def test_every_address_is_read(address):
    meant = getattr(address, "ipv4_mapped", None) or address
    written = f"[{address}]:443" if address.version == 6 else f"{address}:443"
    assert parse_address(str(address)) == parse_address(written) == meant


def test_a_client_is_a_network():
    assert client_network(ip_address("203.0.113.7"), 32, 64) == "203.0.113.7"
    assert client_network(ip_address("203.0.113.7"), 24, 64) == "203.0.113.0/24"
    assert client_network(ip_address("2001:db8:1:2::5"), 32, 64) == "2001:db8:1:2::/64"
    assert client_network(ip_address("2001:db8:1:2::5"), 32, 128) == "2001:db8:1:2::5"


def test_two_addresses_of_one_64_are_one_client():
    one, other, away = map(ip_address, ("2001:db8:1:2::5", "2001:db8:1:2:ffff::9", "2001:db8:1:3::5"))
    assert client_network(one) == client_network(other) != client_network(away)


@given(
    st.sampled_from(HEADERS), st.text() | LOOKS | ADDRESSES.map(str), st.sampled_from(["203.0.113.7", "2001:db8::7"])
)
def test_from_an_untrusted_peer_no_header_changes_anything(header, value, peer):
    for trusted in (TRUSTED, NOBODY):
        assert forwarded_client(peer, header, value, trusted) == ip_address(peer)


@given(st.sampled_from(HEADERS), st.text() | LOOKS, st.text() | st.just(PROXY))
def test_reading_a_header_never_raises(header, value, peer):
    found = forwarded_client(peer, header, value, TRUSTED)
    assert found is not None or parse_address(peer) is None


@given(st.sampled_from(HEADERS[:2]), LOOKS | st.text() | st.text(min_size=5000, max_size=6000), ADDRESSES)
def test_what_a_client_writes_before_the_proxys_word_changes_nothing(header, written, address):
    client = parse_address(str(address))
    if client is None or client in Networks(TRUSTED):
        return
    hop = (
        str(address)
        if header == "X-Forwarded-For"
        else f'for="[{address}]"'
        if address.version == 6
        else f"for={address}"
    )
    assert forwarded_client(PROXY, header, f"{written}, {hop}", TRUSTED) == client


def behind(header: str, value: str | None) -> str:
    return str(forwarded_client(PROXY, header, value, TRUSTED))


def test_x_forwarded_for_is_read_from_the_right_past_trusted_hops():
    assert behind("X-Forwarded-For", "203.0.113.7") == "203.0.113.7"
    assert behind("X-Forwarded-For", "6.6.6.6, 203.0.113.7") == "203.0.113.7"
    assert behind("x-forwarded-for", "6.6.6.6,203.0.113.7,10.1.1.1 , 10.2.2.2:80") == "203.0.113.7"
    assert behind("X-Forwarded-For", "10.9.9.9, 10.1.1.1") == "10.9.9.9"
    assert behind("X-Forwarded-For", "6.6.6.6, 2001:db8::7, [2001:db8:ffff::1]:443") == "2001:db8::7"
    assert behind("X-Forwarded-For", "::ffff:203.0.113.7, ::ffff:10.0.0.9") == "203.0.113.7"


@pytest.mark.parametrize("value", [None, "", ",", "203.0.113.7,", "203.0.113.7, unknown", "203.0.113.7, , 10.0.0.2"])
def test_what_is_malformed_on_the_way_falls_back_to_the_peer(value):
    assert behind("X-Forwarded-For", value) == PROXY


def test_only_so_much_of_a_header_is_looked_at():
    assert behind("X-Forwarded-For", "6.6.6.6, " * 2000 + "203.0.113.7") == "203.0.113.7"
    assert behind("X-Forwarded-For", "203.0.113.7" + ", 10.0.0.2" * 49) == "203.0.113.7"
    assert behind("X-Forwarded-For", "203.0.113.7" + ", 10.0.0.2" * 50) == PROXY
    assert behind("X-Forwarded-For", "203.0.113.7" + " " * 5000 + ", 10.0.0.2") == PROXY
    # Never half an address: this one would be cut to 3.0.113.7.
    assert behind("X-Forwarded-For", "203.0.113.7" + "," + " " * 4076 + "10.0.0.222") == PROXY


@pytest.mark.parametrize("header", HEADERS[2:])
def test_a_header_of_one_address_has_one(header):
    assert behind(header, "203.0.113.7") == "203.0.113.7"
    assert behind(header, "203.0.113.7, 6.6.6.6") == PROXY
    assert behind(header, "6.6.6.6,203.0.113.7") == PROXY
    assert behind(header, "garbage") == PROXY
    assert behind(header, "1" * 9000) == PROXY


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ("For=203.0.113.7;proto=https;by=10.0.0.1", "203.0.113.7"),
        ('proto=https; FOR="203.0.113.7:4711"', "203.0.113.7"),
        ('for="[2001:db8::7]:4711"', "2001:db8::7"),
        ("for=6.6.6.6, for=203.0.113.7, for=10.1.1.1", "203.0.113.7"),
        ('for=203.0.113.7;host="a,b;for=6.6.6.6"', "203.0.113.7"),
        ('for="evil, for=203.0.113.7', "203.0.113.7"),
        ("for=unknown, for=203.0.113.7", "203.0.113.7"),
        ("for=unknown", PROXY),
        ("for=203.0.113.7, for=_hidden", PROXY),
        ('for="_hidden:80"', PROXY),
        ("proto=https", PROXY),
        ("for=203.0.113.7;for=6.6.6.6", PROXY),
        ("203.0.113.7", PROXY),
        ("for=203.0.113.7 6.6.6.6", PROXY),
        ('for="203.0.113.7', PROXY),
        (r'for="203.0.113\.7"', PROXY),
        ("for=", PROXY),
        ("for=203.0.113.7,", PROXY),
    ],
)
def test_forwarded_is_read_as_rfc_7239_has_it(value, client):
    assert behind("Forwarded", value) == client


def test_a_peer_without_an_address_has_no_client():
    assert forwarded_client("", "X-Forwarded-For", "203.0.113.7", TRUSTED) is None


def test_the_longest_prefix_decides():
    table = Networks([("0.0.0.0/0", "all"), ("10.0.0.0/8", "ten"), ("10.1.0.0/16", "one"), ("10.1.2.3", "host")])
    assert [table.find(ip_address(a)) for a in ("9.9.9.9", "10.9.9.9", "10.1.9.9", "10.1.2.3")] == [
        "all",
        "ten",
        "one",
        "host",
    ]
    assert table.find(ip_address("::1")) is None
    assert table.find(ip_address("::ffff:10.1.2.3")) == "host"
    assert len(table) == 4
    assert not Networks()


def test_a_mapped_network_is_the_network_of_ipv4():
    assert Networks([("::ffff:10.0.0.0/104", "ten")]).find(ip_address("10.2.3.4")) == "ten"
    assert ip_address("1.2.3.4") in Networks(["::ffff:1.2.3.4"])


@pytest.mark.parametrize(
    ("cidr", "cure"),
    [
        ("10.0.0.1/8", '"10.0.0.0/8"'),
        ("2001:db8::1/32", '"2001:db8::/32"'),
        ("10.0.0.0/33", "is not a network"),
        ("10.0.0.0/255.0.0.0", "is not a network"),
        ("10.0.0.0/", "is not a network"),
        ("10.0.0.0/-1", "is not a network"),
        ("10.0.0.0/\u0668", "is not a network"),
        ("proxy.example", "is not a network"),
        ("", "is not a network"),
        (7, "is not a network"),
    ],
)
def test_what_is_no_network_is_told_with_the_cure(cidr, cure):
    with pytest.raises(BadPolicy, match=cure):
        Networks([(cidr, True)])
    assert cure in addresses.problems_of([cidr, "10.0.0.0/8"])[cidr]


def test_200_000_networks_are_looked_up_like_few():
    chance = random.Random(7)
    many = {f"{ip_address(chance.getrandbits(24) << 8)}/24": n for n in range(200_000)}
    table = Networks(many.items())
    assert len(table) == len(many)
    for cidr in list(many)[:1000]:
        assert table.find(ip_network(cidr)[99]) == many[cidr]


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        ("203.0.113.7", "203.0.113.…"),
        ("ip:203.0.113.7", "ip:203.0.113.…"),
        ("ip:203.0.0.0/16", "ip:203.0.0.0/16"),
        ("ip:203.0.113.128/25", "ip:203.0.113.…"),
        ("2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("ip:2001:db8:1:2::5", "ip:2001:db8:1::/48"),
        ("ip:unknown", "ip:unknown"),
        ("user:17", "user:1…"),
        ("user:1234567890", "user:1234…"),
        ("key:ab12cd34ef567890", "key:ab12…"),
        ("header:x-device:abcdefgh", "header:x-device:abcd…"),
        ("endpoint:4:shop5:shop/", "endpoint:4:shop5:shop/"),
        ("method:GET", "method:GET"),
        (keys.join(["ip:203.0.113.7", "user:17"]), "ip:203.0.113.… + user:1…"),
        ("someone@example.org", "some…"),
        ("", "…"),
    ],
)
def test_a_client_is_shown_masked(client, shown):
    assert mask(client) == shown


@given(st.text() | LOOKS)
def test_masking_never_raises(text):
    mask(text)
    mask(keys.join([text]))
