from __future__ import annotations

import bz2
import collections
import copy
import datetime as dt
import decimal
import functools
import lzma
import math
import pathlib
import pickle
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
import uuid
import zlib
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
import pytest
import zstandard
from django.contrib.auth.models import AbstractUser
from django.db.models import F, Model, Q, QuerySet
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.template import engines
from django.template.response import ContentNotRenderedError, TemplateResponse
from django.test import RequestFactory, override_settings
from django.utils.functional import Promise, SimpleLazyObject
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, ngettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.cache.codecs import codec as codecs
from noa_perf.cache.codecs import compressors, pickles, plain
from noa_perf.cache.codecs.codec import Codec
from noa_perf.cache.exceptions import REASONS, NotCacheable, Refused
from tests.cache import sites
from tests.cache.sites import asking, bare
from tests.library.models import Author, Book, Publisher
from tests.servers import get
from tests.servers.redis import Redis

UTC = dt.UTC
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
MOMENT = dt.datetime(2024, 10, 27, 2, 30, 1, 250, tzinfo=BERLIN)

PLAIN: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "negative": -1,
    "least 64": -(2**63),
    "most 64": 2**63 - 1,
    "unsigned 64": 2**64 - 1,
    "beyond 64": 2**64,
    "huge": 7**9000,
    "minus huge": -(7**9000),
    "float": 1.5,
    "minus zero": -0.0,
    "tiny": 5e-324,
    "inf": math.inf,
    "minus inf": -math.inf,
    "nan": math.nan,
    "empty text": "",
    "text": "Grüße, 世界 \x00 \U0001f600",
    "digits": "42",
    "surrogate": "half \ud83d",
    "two surrogates": "\ud83d\ude00",
    "long text": "schön " * 2000,
    "safe": mark_safe("<b>&amp;</b>"),
    "safe, made": format_html("<b>{}</b>", "<"),
    "bytes": b"\x00\xff\xf5",
    "number in bytes": b"42",
    "magic": b"\xf5\x01\x00\x00\x00",
    "long bytes": bytes(range(256)) * 100,
    "list": [1, [2.5, ["three", None]], []],
    "tuple": (1, (2, [3, (4,)]), ()),
    "set": {1, "a", None, (1, 2), frozenset({3})},
    "frozenset": frozenset({(1, 2), "x"}),
    "dict": {"a": {"b": {"c": [1, (2,)]}}},
    "other keys": {1: "a", None: "b", 2.5: "c", (1, "x"): "d", True + 1: "e", b"f": 1, frozenset({1}): 2},
    "keys of days": {dt.date(2024, 1, 1): 1, uuid.UUID(int=1): 2, decimal.Decimal("1.10"): 3},
    "safe key": {mark_safe("k"): 1},
    "surrogate key": {"\ud800": "\udfff"},
    "naive": dt.datetime(2024, 2, 29, 23, 59, 59, 999999),  # noqa: DTZ001
    "utc": dt.datetime(2024, 1, 1, tzinfo=UTC),
    "fixed": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30, seconds=-7))),
    "zoned": MOMENT,
    "zoned utc": dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
    "least moment": dt.datetime.min,  # noqa: DTZ901
    "most moment": dt.datetime.max,  # noqa: DTZ901
    "date": dt.date(1, 1, 1),
    "time": dt.time(23, 59, 59, 1),
    "span": dt.timedelta(days=-3, seconds=5, microseconds=7),
    "longest span": dt.timedelta.max,
    "decimal": decimal.Decimal("10.50"),
    "decimal, minus zero": decimal.Decimal("-0"),
    "decimal, exponents": [decimal.Decimal("1E+3"), decimal.Decimal("1E-400"), decimal.Decimal("0E+5")],
    "decimal, none": [decimal.Decimal("NaN"), decimal.Decimal("-NaN123"), decimal.Decimal("sNaN")],
    "decimal, without end": [decimal.Decimal("Infinity"), decimal.Decimal("-Infinity")],
    "uuid": uuid.UUID("12345678123456781234567812345678"),
    "session": {"_auth_user_id": "7", "_auth_user_backend": "django.contrib.auth.backends.ModelBackend", "cart": [1]},
    "rows": [{"id": n, "title": f"book {n}", "price": decimal.Decimal(n)} for n in range(200)],
}
"""What MessagePack takes, each type as it is."""

OTHER: dict[str, Any] = {
    "complex": 1 + 2j,
    "range": range(1, 10, 3),
    "slice of bytes": bytearray(b"\x00changeable"),
    "bytearray within": {"a": [(bytearray(b"x"), b"y")]},
    "fold": MOMENT.replace(fold=1),
    "naive fold": dt.datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001
    "named zone": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
    "time with zone": dt.time(1, tzinfo=UTC),
    "time with fold": dt.time(1, fold=1),
    "zone": BERLIN,
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "default": defaultdict(list, {"a": [1]}),
    "counter": Counter("abba"),
    "deque": deque([1, 2], maxlen=3),
    "chain": collections.ChainMap({"a": 1}, {"b": 2}),
    "named tuple": sites.Point(1, 2),
    "older named tuple": [sites.Pair(1, b=(2,))],
    "dataclass": sites.Parcel(1.5, ["a"]),
    "frozen dataclass": (sites.Stamp(1),),
    "enum": sites.Colour.RED,
    "int enum": sites.Weight.HEAVY,
    "flag": sites.Access.READ | sites.Access.WRITE,
    "subclass of str": sites.Text("x"),
    "subclass of dict": sites.Row(a=1),
    "subclass of list": sites.Many([1]),
    "subclass of int": sites.Whole(5),
    "subclass as key": {sites.Text("k"): 1},
    "subclass within": {"a": [sites.Whole(5)]},
    "function": sites.a_function,
    "builtin": len,
    "class": sites.Parcel,
    "model": Book,
    "model of all": Model,
    "abstract model": AbstractUser,
    "partial": functools.partial(sites.a_function),
    "path": pathlib.PurePosixPath("/a/b"),
    "pattern": re.compile(r"a+", re.IGNORECASE),
    "exception": ValueError("no", 1),
    "not implemented": NotImplemented,
    "ellipsis": ...,
    "context": Q(a=1) | ~Q(b=F("c")),
}
"""What only a pickle keeps."""

NEVER: dict[str, Callable[[], Any]] = {
    "lambda": lambda: lambda: None,
    "lambda within": lambda: {"a": [lambda: None]},
    "nested function": lambda: sites.returning(1),
    "generator": lambda: (n for n in range(3)),
    "generator within": lambda: [1, (n for n in range(3))],
    "open file": lambda: sys.__stderr__,
    "memoryview": lambda: memoryview(b"abc"),
    "memoryview within": lambda: {"a": [memoryview(b"abc")]},
    "module": lambda: math,
    "local class": type("Local", (), {}),
    "lock": threading.Lock,
    "far too deep": lambda: wrapped(lambda inner: [inner], 100_000),
    "far too deep, of dicts": lambda: wrapped(lambda inner: {"a": inner}, 100_000),
    "far too deep, of tuples": lambda: wrapped(lambda inner: (inner,), 100_000),
}
"""What nobody can keep."""


def wrapped(wrap: Callable[[Any], Any], depth: int) -> Any:
    """Return 1, wrapped so many times."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


MODES = ("none", "auto", "lz4", "zstd", "zlib")
NAMES = ("auto", "msgpack", "pickle", "json")


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal in all their types too."""
    if isinstance(one, Promise) or isinstance(other, Promise):
        return isinstance(one, Promise) and isinstance(other, Promise) and str(one) == str(other)
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and one == other:
        return math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, dt.datetime):
        return repr(one) == repr(other) and one.fold == other.fold
    if isinstance(one, (decimal.Decimal, float)):
        return repr(one) == repr(other)
    if isinstance(one, (list, tuple, deque)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(map(same, one.items(), other.items()))
    if isinstance(one, (BaseException, functools.partial)):
        return repr(one) == repr(other)
    return bool(one == other)


def back(codec: Codec, value: Any, key: str = "k") -> Any:
    """Return what comes back of ``value``, by way of Redis; what memory keeps has to be the same."""
    encoded = codec.encode(key, value)
    assert same(codec.load(codec.decode(key, encoded.payload)), codec.load(encoded.packed))
    return codec.load(codec.decode(key, encoded.payload))


def refused(codec: Codec, payload: bytes, key: str = "k") -> str:
    """Return why an entry is of no use; fail if it is of use."""
    with pytest.raises(Refused) as caught:
        codec.load(codec.decode(key, payload))
    assert caught.value.reason in REASONS
    return caught.value.reason


@pytest.fixture(params=["msgpack is there", "without msgpack"])
def auto(request, monkeypatch) -> Codec:
    """The codec that sites have, with and without MessagePack."""
    if request.param == "without msgpack":
        monkeypatch.setattr(plain, "_msgpack", lambda: None)
    return Codec()


@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
def test_auto_gives_back_whatever_can_be_pickled_equal_and_of_its_type(auto, name):
    value = {**PLAIN, **OTHER}[name]
    assert same(back(auto, value), value)
    assert same(back(auto, [value]), [value])
    assert same(back(auto, {"a": (value,)}), {"a": (value,)})


@pytest.mark.parametrize("name", PLAIN)
def test_msgpack_gives_back_what_is_plain(name):
    codec = Codec(name="msgpack")
    assert same(back(codec, PLAIN[name]), PLAIN[name])
    assert codec.encode("k", {"a": [PLAIN[name]]}).payload[2] == codecs.PLAIN


@pytest.mark.parametrize("name", OTHER)
def test_msgpack_refuses_the_rest_at_once(name):
    with pytest.raises(NotCacheable, match=r"CACHES\['shop'\] .* 'the key' with the codec 'msgpack'"):
        Codec("shop", "msgpack").encode("the key", {"a": [OTHER[name]]})


def test_msgpack_that_is_not_installed_never_becomes_pickle(monkeypatch):
    monkeypatch.setattr(plain, "_msgpack", lambda: None)
    codec = Codec(name="msgpack")
    assert back(codec, "text") == "text"
    with pytest.raises(NotCacheable, match="msgpack is not installed"):
        codec.encode("k", [1])


@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
def test_json_gives_it_back_as_it_was_or_refuses_at_once(name):
    codec = Codec("shop", "json")
    value = {**PLAIN, **OTHER}[name]
    try:
        found = back(codec, value)
    except NotCacheable as error:
        assert re.search(r"CACHES\['shop'\] .*'k'.*'json'", str(error))  # noqa: PT017 -- not every one is refused
    else:
        assert same(found, value)


def test_json_takes_what_json_has():
    codec = Codec(name="json")
    for name in ("none", "true", "most 64", "float", "nan", "text", "surrogate", "list", "session"):
        assert same(back(codec, PLAIN[name]), PLAIN[name])
        assert not codec.encode("k", [PLAIN[name]]).payload[4] & codecs.SIGNED
    for value in (
        (1,),
        {1: 2},
        {mark_safe("a"): 1},
        {sites.Text("a"): 1},
        b"x",
        {1},
        mark_safe("x"),
        sites.Weight.HEAVY,
    ):
        with pytest.raises(NotCacheable):
            codec.encode("k", [value])


@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
def test_pickle_gives_back_all_of_it(name):
    value = {**PLAIN, **OTHER}[name]
    assert same(back(Codec(name="pickle"), value), value)


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize("name", NEVER)
def test_what_cannot_be_kept_is_refused_by_name(name, codec):
    with pytest.raises(NotCacheable) as caught:
        Codec("shop", codec).encode("the key", NEVER[name]())
    for told in ("'shop'", "'the key'", repr(codec), "Instead: "):
        assert told in str(caught.value)


@pytest.mark.parametrize("name", NEVER)
def test_memory_alone_refuses_it_by_name_too(name):
    cache = sites.made()
    with pytest.raises(NotCacheable, match=r"CACHES\['default'\] .*'menu'"):
        cache.set("menu", NEVER[name]())
    assert cache.get("menu") is None


def test_memory_that_is_shared_keeps_anything():
    cache = sites.made(memory={"isolation": "shared"})
    for make in NEVER.values():
        value = make()
        cache.set("menu", value)
        assert cache.get("menu") is value


def test_what_nests_deeply_comes_back_or_is_refused():
    for wrap in (lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,)):
        for depth in (50, 150, 300, 450, 512, 700, 900, 2000, 20_000):
            value = wrapped(wrap, depth)
            for name in NAMES:
                codec = Codec(name=name)
                try:
                    entry = codec.encode("k", value)
                except NotCacheable:
                    assert depth >= 150 or (name == "json" and type(value) is tuple)
                else:
                    found = codec.load(codec.decode("k", entry.payload))
                    for _ in range(depth):
                        assert type(found) is type(value)
                        found = found["a"] if isinstance(found, dict) else found[0]
                    assert found == 1


def test_what_holds_itself_comes_back_holding_itself():
    value: list[Any] = [1]
    value.append(value)
    for codec in (Codec(), Codec(name="pickle")):
        found = codec.load(codec.decode("k", codec.encode("k", value).payload))
        assert found[1] is found
    for name in ("json", "msgpack"):
        with pytest.raises(NotCacheable):
            Codec(name=name).encode("k", value)


def test_lazy_text_stays_lazy():
    for value in (gettext_lazy("Cache"), [gettext_lazy("Cache")], ngettext_lazy("%d book", "%d books") % 2):
        assert same(back(Codec(), value), value)
    assert back(Codec(), SimpleLazyObject(lambda: [1, 2])) == [1, 2]


# Django's own


def test_models_come_back_with_their_state(auto):
    author = Author(name="Ann")
    found = back_model(auto, author)
    assert (found.name, found.pk, found._state.adding) == ("Ann", None, True)


def back_model(codec: Codec, value: Any) -> Any:
    encoded = codec.encode("k", value)
    assert encoded.payload[4] & codecs.SIGNED
    return codec.load(codec.decode("k", encoded.payload))


@pytest.mark.django_db
def test_saved_models_relations_and_querysets(auto, django_assert_num_queries):
    author = Author.objects.create(name="Ann")
    book = Book.objects.create(title="A", author=author, price=decimal.Decimal("9.50"))
    deferred = Book.objects.defer("blurb").get()
    only = Book.objects.only("title").get()
    joined = Book.objects.select_related("author", "publisher").prefetch_related("tags").get()
    listed = Book.objects.filter(title="A").order_by("pk")
    rows = Book.objects.values("title", "price")
    pairs = Book.objects.values_list("title", "pk")
    absent = Book.objects.filter(title="nobody's")
    kept = {name: back_model(auto, value) for name, value in {
        "saved": book, "deferred": deferred, "only": only, "joined": joined, "listed": listed, "rows": rows,
        "pairs": pairs, "absent": absent,
    }.items()}  # fmt: skip
    with django_assert_num_queries(0):
        assert kept["saved"] == book
        assert (kept["saved"].price, kept["saved"]._state.adding, kept["saved"]._state.db) == (
            book.price,
            False,
            "default",
        )
        assert kept["deferred"].get_deferred_fields() == {"blurb"}
        assert kept["only"].get_deferred_fields() == only.get_deferred_fields()
        assert kept["joined"].author == author
        assert kept["joined"].publisher is None
        assert list(kept["joined"].tags.all()) == []
        assert type(kept["listed"]) is QuerySet
        assert list(kept["listed"]) == [book]
        assert list(kept["rows"]) == [{"title": "A", "price": decimal.Decimal("9.50")}]
        assert list(kept["pairs"]) == [("A", book.pk)]
        assert list(kept["absent"]) == []
    assert kept["deferred"].blurb == ""
    assert kept["listed"].filter(pk=book.pk).get() == book


def test_a_queryset_that_found_nothing_knows_its_model():
    value = Publisher.objects.none()
    bool(value)
    assert b"library.publisher" in Codec().encode("k", value).payload


def test_responses_come_back_as_cache_page_stores_them(auto):
    response = HttpResponse("x" * 3000, content_type="text/plain", status=203, headers={"Vary": "Cookie"})
    response.set_cookie("a", "b", max_age=5)
    found = auto.load(auto.decode("k", auto.encode("k", response).payload))
    assert (found.content, found.status_code, found.headers.items()) == (
        response.content, 203, response.headers.items(),
    )  # fmt: skip
    assert found.cookies["a"].OutputString() == response.cookies["a"].OutputString()
    for value in (JsonResponse({"a": 1}), HttpResponseRedirect("/x")):
        found = auto.load(auto.decode("k", auto.encode("k", value).payload))
        assert type(found) is type(value)
        assert found.serialize() == value.serialize()


def test_a_template_response_is_kept_once_it_is_rendered(auto):
    template = engines["django"].from_string("Hello {{ name }}")
    response = TemplateResponse(RequestFactory().get("/"), template, {"name": "Ann"})
    with pytest.raises(NotCacheable, match="rendered") as caught:
        auto.encode("k", response)
    assert isinstance(caught.value.__cause__, ContentNotRenderedError)
    found = auto.load(auto.decode("k", auto.encode("k", response.render()).payload))
    assert found.content == b"Hello Ann"


def test_a_model_whose_fields_changed_misses(monkeypatch):
    for value in (Author(name="Ann"), [{"a": (Author(name="Ann"),)}], Author.objects.none()):
        bool(value)
        payload = Codec().encode("k", value).payload
        assert Codec().load(Codec().decode("k", payload)) is not None
        with monkeypatch.context() as patched:
            patched.setattr(pickles, "fingerprint", lambda labels: b"\x00" * 4)
            assert refused(Codec(), payload) == "schema"


def test_what_makes_a_schema():
    pickles.fingerprint.cache_clear()
    before = pickles.fingerprint("library.author")
    pickles.fingerprint.cache_clear()
    field = Author._meta.get_field("name")
    field.attname = "title"
    try:
        assert pickles.fingerprint("library.author") != before
    finally:
        field.attname = "name"
        pickles.fingerprint.cache_clear()
    assert pickles.fingerprint("library.author") == before


def test_a_model_that_is_gone_misses(monkeypatch):
    payload = Codec().encode("k", Author(name="Ann")).payload

    def gone(labels: str) -> bytes:
        raise LookupError

    monkeypatch.setattr(pickles, "fingerprint", gone)
    assert refused(Codec(), payload) == "schema"
    with pytest.raises(NotCacheable):
        Codec().encode("k", Author(name="Ann"))


# Compression


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_each_codec_with_each_compressor(name, mode):
    codec = Codec(name=name, compress=mode)
    value = {"rows": [["some text that repeats", n % 7] for n in range(500)]}
    entry = codec.encode("k", value).payload
    assert back(codec, value) == value
    assert entry[3] == {"none": 0, "auto": 2, "lz4": 2, "zstd": 3, "zlib": 1}[mode]
    for other in MODES:
        assert Codec(name=name, compress=other).load(codec.decode("k", entry)) == value


def test_small_and_random_values_are_not_compressed():
    codec = Codec(compress="zstd")
    assert codec.encode("k", "x" * (codecs.COMPRESS_FROM - 1)).payload[3] == 0
    assert codec.encode("k", "x" * codecs.COMPRESS_FROM).payload[3] == 3
    noise = uuid.uuid4().bytes + bytes(hash(str(n)) % 256 for n in range(2000))
    assert len(codec.encode("k", noise).payload) <= len(noise) + 5


def test_a_compressor_that_is_not_installed_misses(monkeypatch):
    payload = Codec(compress="zstd").encode("k", "x" * 2000).payload
    monkeypatch.setattr(compressors, "numbered", lambda number: None)
    assert refused(Codec(), payload) == "codec"


# Bombs

MOST = 1 * 2**20


ZEROS = bytes(64 * MOST)


def deflated(bits: int) -> bytes:
    worker = zlib.compressobj(1, wbits=bits)
    return worker.compress(ZEROS) + worker.flush()


def ours(name: str, says: int) -> bytes:
    found = compressors.named(name)
    assert found is not None
    return struct.pack("!BBBBBI", 0xF5, 1, codecs.RAW, found.number, 0, says) + shrunk(name)


@functools.cache
def shrunk(name: str) -> bytes:
    found = compressors.named(name)
    assert found is not None
    return found.compress(ZEROS)


BOMBS: dict[str, Callable[[], bytes]] = {
    **{
        f"{name} that says {says}": functools.partial(ours, name, says)
        for name in ("zlib", "lz4", "zstd")
        for says in (len(ZEROS), MOST, 10, 0, 2**32 - 1)
    },
    "zlib of another": lambda: deflated(15),
    "gzip of another": lambda: deflated(31),
    "xz of another": lambda: lzma.compress(ZEROS, preset=0),
    "bz2 of another": lambda: bz2.compress(ZEROS[: 8 * MOST], 1),
    "lz4 of another": lambda: lz4.frame.compress(ZEROS, store_size=False),
    "lz4 of another that says its size": lambda: lz4.frame.compress(ZEROS),
    "zstd of another": lambda: zstandard.ZstdCompressor().compress(ZEROS),
    "zstd of another without its size": lambda: zstandard.ZstdCompressor(write_content_size=False).compress(ZEROS),
}
"""Entries of some kilobytes that come to 64 MiB, whether they say so or not."""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(name):
    bomb = BOMBS[name]()
    codec = Codec(max_bytes=MOST, trust_pickles=True)
    tracemalloc.start()
    try:
        assert refused(codec, bomb) in {"too_large", "corrupt", "format"}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MOST


CHILD = """
import resource
import sys
from django.conf import settings
settings.configure(SECRET_KEY="x")
import lzma, zlib, zstandard
from noa_perf.cache.codecs.codec import Codec
from noa_perf.cache.exceptions import Refused
codec = Codec(max_bytes=2**20, trust_pickles=True)
if sys.argv[1] == "xz":
    made = bytearray(lzma.compress(b"x" * 100, preset=0))
    end = 12 + (made[12] + 1) * 4 - 4
    made[16] = 38  # a dictionary of 2 GiB
    made[end:end + 4] = zlib.crc32(made[12:end]).to_bytes(4, "little")
    bomb = bytes(made)
else:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
    worker = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    bomb = worker.compress(bytes(2**21)) + worker.flush()
room = 192 * 2**20
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
try:
    codec.load(codec.decode("k", bomb))
except Refused as error:
    print(error.reason, error.__cause__ and type(error.__cause__).__name__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xz", "zstd"])
def test_a_frame_that_asks_for_a_large_window_does_not_get_it(name):
    done = subprocess.run([sys.executable, "-c", CHILD, name], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() in (["format", "LZMAError"], ["format", "ZstdError"])


def test_entries_of_limited_size_are_read_at_their_limit():
    codec = Codec(max_bytes=MOST, trust_pickles=True)
    assert len(back(codec, "x" * MOST)) == MOST
    with pytest.raises(NotCacheable, match=r"max_value_bytes"):
        codec.encode("k", "x" * (MOST + 1))


# Signatures


def test_pickles_are_signed_and_what_is_changed_anywhere_misses():
    codec = Codec(compress="none")
    payload = codec.encode("k", Author(name="Ann")).payload
    assert payload[4] == codecs.SIGNED | codecs.SCHEMA
    assert refused(codec, payload, key="other") == "tampered"
    for at in range(len(payload)):
        for change in (1, 0x80, 0xFF):
            changed = payload[:at] + bytes([payload[at] ^ change]) + payload[at + 1 :]
            refused(codec, changed)
            refused(Codec(trust_pickles=True), changed)


@given(data=st.data())
def test_nothing_passes_a_signature(data):
    codec = Codec(name=data.draw(st.sampled_from(NAMES)), sign=True, compress=data.draw(st.sampled_from(MODES)))
    payload = codec.encode("k", [data.draw(st.text()), "x" * 2000]).payload
    at = data.draw(st.integers(0, len(payload) - 1))
    kind = data.draw(st.sampled_from(["change", "cut", "insert", "append"]))
    byte = bytes([data.draw(st.integers(0, 255))])
    changed = {
        "change": payload[:at] + byte + payload[at + 1 :],
        "cut": payload[:at],
        "insert": payload[:at] + byte + payload[at:],
        "append": payload + byte,
    }[kind]
    if changed != payload:
        refused(codec, changed)
    assert codec.load(codec.decode("k", payload))


def test_all_is_signed_where_that_is_asked_for_but_numbers():
    codec = Codec(sign=True)
    for value in ("text", b"bytes", [1], 1.5, None, sites.Stamp(1)):
        assert codec.encode("k", value).payload[4] & codecs.SIGNED
        assert same(back(codec, value), value)
        if not isinstance(value, sites.Stamp):
            assert refused(codec, Codec(name="msgpack").encode("k", value).payload) == "unsigned"
    assert codec.encode("k", 5).payload == b"5"


def test_secret_key_may_be_replaced_in_use():
    with override_settings(SECRET_KEY="old"):
        payload = Codec().encode("k", sites.Stamp(1)).payload
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["older", "old"]):
        assert Codec().load(Codec().decode("k", payload)) == sites.Stamp(1)
        renewed = Codec().encode("k", sites.Stamp(1)).payload
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[]):
        assert refused(Codec(), payload) == "tampered"
        assert Codec().load(Codec().decode("k", renewed)) == sites.Stamp(1)
    with override_settings(SECRET_KEY=b"bytes \xff"):
        assert same(back(Codec(), sites.Stamp(1)), sites.Stamp(1))


def test_pickles_of_others_are_read_only_where_they_are_trusted():
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        theirs = pickle.dumps({"a": (1,)}, protocol)
        assert refused(Codec(), theirs) == "unsigned"
        assert Codec(trust_pickles=True).load(Codec(trust_pickles=True).decode("k", theirs)) == {"a": (1,)}


def test_trust_is_for_what_others_wrote_and_not_for_ours():
    payload = Codec(compress="none").encode("k", sites.Stamp(1)).payload
    stripped = payload[:4] + b"\x00" + payload[5 + codecs.SIGNATURE :]
    assert refused(Codec(trust_pickles=True), stripped) == "unsigned"


def test_nothing_is_run_before_it_is_trusted(tmp_path):
    class Trap:
        def __reduce__(self) -> Any:
            return pathlib.Path.touch, (tmp_path / "sprung",)

    body = pickle.dumps(Trap())
    head = struct.pack("!BBBBB", 0xF5, 1, codecs.PICKLE, 0, 0)
    signed = struct.pack("!BBBBB", 0xF5, 1, codecs.PICKLE, 0, codecs.SIGNED) + bytes(16)
    for payload in (body, zlib.compress(body), head + body, signed + body):
        refused(Codec(), payload)
    for payload in (head + body, signed + body):
        refused(Codec(trust_pickles=True), payload)
    assert not (tmp_path / "sprung").exists()


# Formats


def test_other_formats_and_flags_miss():
    payload = Codec(compress="none").encode("k", [1]).payload
    for form in (0, 2, 255):
        assert refused(Codec(), payload[:1] + bytes([form]) + payload[2:]) == "format"
    for flags in (4, 8, 128, 255):
        assert refused(Codec(), payload[:4] + bytes([flags]) + payload[5:]) == "format"
    for number in (6, 77, 255):
        assert refused(Codec(), payload[:2] + bytes([number]) + payload[3:]) == "codec"
    for number in (4, 255):
        assert refused(Codec(), payload[:3] + bytes([number]) + payload[4:]) in {"codec", "too_large", "corrupt"}
    assert refused(Codec(), b"") == "format"


def test_a_format_of_today_is_read_for_ever():
    """Entries as the first release wrote them: if one of these misses, FORMAT has to be raised."""
    for entry, value in {
        b"5": 5,
        b"-17": -17,
        b"\xf5\x01\x00\x00\x00raw": b"raw",
        b"\xf5\x01\x01\x00\x00te\xc3\xa4xt": "teäxt",
        b"\xf5\x01\x02\x00\x00null": None,
        b"\xf5\x01\x02\x00\x001.5": 1.5,
        b"\xf5\x01\x03\x00\x00\x92\x01\xc7\x03\x01\x92\x02\x03": [1, (2, 3)],
        b"\xf5\x01\x03\x00\x00\xc7\x05\x0810.50": decimal.Decimal("10.50"),
        b"\xf5\x01\x01\x01\x00\x00\x00\x00\x04" + zlib.compress(b"text"): "text",
    }.items():
        assert same(Codec().load(Codec().decode("k", entry)), value)


@pytest.mark.parametrize("codec", [
    *(Codec(name=name, trust_pickles=trust) for name in NAMES for trust in (False, True)),
    Codec(custom=sites.Shouting()),
], ids=lambda codec: f"{codec.name}{'-trusting' * codec.trust_pickles}{'-custom' * bool(codec.custom)}")  # fmt: skip
@given(data=st.data())
def test_garbage_never_raises_anything_else(codec, data):
    head = st.builds(
        lambda *numbers: bytes([0xF5, *numbers]),
        st.sampled_from([1, 1, 1, 2]), st.integers(0, 6), st.integers(0, 4), st.integers(0, 4),
    )  # fmt: skip
    start = data.draw(st.one_of(st.just(b""), head, st.sampled_from(FOREIGN)))
    payload = start + data.draw(st.binary(max_size=200))
    if payload[:1] == b"\x80" and codec.trust_pickles:
        return
    assert reason(codec, payload) in {"", *REASONS}


FOREIGN = [b"\x78\x9c", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\xfd7zXZ\x00", b"BZh9"]


def reason(codec: Codec, payload: bytes) -> str:
    """Return why an entry is of no use, or nothing if it is of use; nothing else may be raised."""
    try:
        codec.load(codec.decode("k", payload))
    except Refused as error:
        return error.reason
    return ""


@given(data=st.data())
def test_what_was_cut_or_changed_never_raises_anything_else(data):
    value = data.draw(st.sampled_from([PLAIN["rows"], PLAIN["other keys"], "x" * 1000, MOMENT, 1.5, sites.Stamp(1)]))
    codec = Codec(name="auto", compress=data.draw(st.sampled_from(MODES)))
    payload = bytearray(codec.encode("k", value).payload)
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))
    for changed in (bytes(payload), bytes(payload[:cut])):
        assert reason(codec, changed) in {"", *REASONS}


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=40),
    st.text(st.characters(), max_size=40),
    st.decimals(), st.uuids(), st.dates(), st.times(), st.timedeltas(),
    st.datetimes(), st.datetimes(timezones=st.timezones()), st.datetimes(timezones=st.just(UTC)),
)  # fmt: skip
KEYS = st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.none(), st.binary(max_size=4), st.uuids(),
                 st.tuples(st.integers(), st.text(max_size=3)))  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(KEYS, inner, max_size=5),
        st.sets(KEYS, max_size=4),
        st.frozensets(KEYS, max_size=4),
        st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict),
        st.binary(max_size=9).map(bytearray),
        st.text(max_size=9).map(mark_safe),
    ),
    max_leaves=20,
)


@given(value=VALUES, mode=st.sampled_from(MODES), sign=st.booleans())
def test_any_value_comes_back_as_it_was(value, mode, sign):
    before = copy.deepcopy(value)
    for name in NAMES:
        codec = Codec(name=name, compress=mode, compress_from=16, sign=sign)
        try:
            found = back(codec, value)
        except NotCacheable:
            assert name in {"json", "msgpack"}
        else:
            assert same(found, value)
    assert same(value, before)


# A serializer of the site's own


def test_a_serializer_of_the_sites_own():
    codec = Codec("shop", custom=sites.Shouting())
    assert back(codec, ["a"]) == "['A']"
    assert codec.encode("k", 5).payload == b"5"
    assert back(codec, 5) == 5
    payload = codec.encode("k", ["a"]).payload
    assert refused(Codec(), payload) == "codec"
    assert refused(codec, payload[:-3] + b"xxx") == "tampered"


def test_what_a_serializer_of_the_sites_own_does_wrong_is_told():
    with pytest.raises(NotCacheable, match=r"'k' with the codec 'Sloppy': .*str.*bytes"):
        Codec(custom=sites.Sloppy()).encode("k", [1])

    class Failing(sites.Shouting):
        def dumps(self, value: Any) -> bytes:
            raise RuntimeError("no ink")

        def loads(self, data: bytes) -> Any:
            raise RuntimeError("no glasses")

    with pytest.raises(NotCacheable, match=r"'k' with the codec 'Failing': no ink"):
        Codec(custom=Failing()).encode("k", [1])
    payload = Codec(custom=sites.Shouting()).encode("k", [1]).payload
    assert refused(Codec(custom=Failing()), payload) == "corrupt"


# Through the cache


@pytest.fixture
def url() -> Iterator[str]:
    server = get(Redis)
    yield server.urls()["primary"]
    sites.forget()


def named(values: dict[str, Any]) -> dict[str, Any]:
    """Name them as keys are named."""
    return {name.replace(" ", "-"): value for name, value in values.items()}


@pytest.mark.server
@pytest.mark.parametrize("mode", ["none", "auto"])
@pytest.mark.parametrize("codec", ["auto", "pickle"])
def test_all_of_it_through_redis(url, codec, mode):
    cache = asking(url, codec=codec, compress=mode)
    values = named({**PLAIN, **OTHER})
    assert cache.set_many(values) == []
    found = cache.get_many(values)
    for name, value in values.items():
        assert same(found[name], value), name
        assert same(cache.get(name), value), name
    assert cache.stack.refused == {}


@pytest.mark.server
async def test_all_of_it_through_redis_on_a_loop(url):
    cache = asking(url)
    values = named({**PLAIN, **OTHER})
    assert await cache.aset_many(values) == []
    found = await cache.aget_many(values)
    for name, value in values.items():
        assert same(found[name], value), name
        assert same(await cache.aget(name), value), name


@pytest.mark.server
@pytest.mark.parametrize("name", NEVER)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(url, name):
    cache = asking(url)
    cache.set("k", "before")
    with pytest.raises(NotCacheable):
        cache.set("k", NEVER[name]())
    with pytest.raises(NotCacheable):
        cache.set_many({"a": 1, "k": NEVER[name]()})
    assert cache.get_many(["a", "k"]) == {"k": "before"}


@pytest.mark.server
def test_the_key_of_an_error_is_the_one_in_redis(url):
    cache = asking(url, KEY_PREFIX="shop")
    with pytest.raises(NotCacheable, match="'shop:1:menu'"):
        cache.set("menu", lambda: None)


@pytest.mark.server
def test_what_was_changed_in_redis_misses_and_is_counted(url):
    cache = asking(url)
    client = bare(cache)
    cache.set("k", sites.Stamp(1))
    made = cache.make_key("k")
    payload = client.get(made)
    client.set(made, payload[:-1] + bytes([payload[-1] ^ 1]))
    assert cache.get("k", "missed") == "missed"
    client.set(cache.make_key("moved"), payload)
    assert cache.get_many(["moved"]) == {}
    client.set(made, pickle.dumps({"a": 1}))
    assert cache.get("k") is None
    client.set(made, b"\xf5\x02newer")
    assert cache.get("k") is None
    assert cache.stack.refused == {"tampered": 2, "unsigned": 1, "format": 1}


@pytest.mark.server
def test_numbers_stay_numbers_that_redis_can_add_to(url):
    cache = asking(url)
    client = bare(cache)
    cache.set("n", 5)
    assert client.get(cache.make_key("n")) == b"5"
    assert cache.incr("n") == 6
    assert client.incrby(cache.make_key("n"), 4) == 10
    assert cache.get("n") == 10
    assert type(cache.get("n")) is int
    cache.set("n", 2**63 - 1)
    assert cache.incr("n") == 2**63
    assert cache.incr("n", -1) == 2**63 - 1
    for value in (True, 1.5):
        cache.set("n", value)
        assert not client.get(cache.make_key("n")).isdigit()
        assert cache.get("n") is value or cache.get("n") == value
        assert type(cache.get("n")) is type(value)


@pytest.mark.parametrize("where", ["memory", "redis"])
def test_what_can_be_pickled_and_not_unpickled_is_a_miss_and_no_error(where, request):
    location = get(Redis).urls()["primary"] if where == "redis" else ""
    cache = sites.made(location)
    cache.set("k", sites.Fussy("a", "b"))
    assert cache.get("k", "missed") == "missed"
    cache.set_many({"k": sites.Fussy("a", "b"), "n": 1})
    assert cache.get_many(["k", "n"]) == {"n": 1}
    assert cache.stack.refused["corrupt"] >= 2
