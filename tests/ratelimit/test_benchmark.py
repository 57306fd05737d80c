"""What the benchmark makes of its figures: bars, an exit code, and a word for each peer that is missing."""

from __future__ import annotations

import json

import pytest

from benchmarks import _verdict, ratelimit
from benchmarks._ratelimit_subjects import OURS, Subject, _noa_perf
from benchmarks._ratelimit_worker import FIRE
from tests.servers import get
from tests.servers.redis import Redis

MEMORY = {"hot": 1.0, "many": 1.0, "refused": 1.0, "threads": 1.0}
PEER = dict.fromkeys(MEMORY, 3.5)
FLOOR = {"one": 100.0, "three": 120.0, "bare": 99.0, "shortest": 80.0}
ASYNCIO = {"ours, 1": 2.0, "bare, 1": 2.0, "ours, 50": 2.0, "bare, 50": 2.0}
WELL = {
    (OURS, "memory"): [MEMORY],
    (OURS, "redis"): [{"check": 100.0}],
    (OURS, "floor"): [FLOOR],
    (OURS, "asyncio"): [ASYNCIO],
    ("peer", "memory"): [PEER],
}


def never(url, limit):
    raise AssertionError


@pytest.fixture(autouse=True)
def subjects(monkeypatch):
    made = (
        Subject(OURS, "noa_perf", "memory", never),
        Subject(OURS, "noa_perf", "redis", never),
        Subject("peer", "django", "memory", never),
    )
    monkeypatch.setattr(ratelimit, "SUBJECTS", made)


@pytest.mark.parametrize(
    ("spoilt", "admitted", "missed"),
    [
        ({}, 1.0, []),
        ({("peer", "memory"): [PEER | {"many": 2.9}]}, 1.0, ["many"]),
        ({(OURS, "floor"): [FLOOR | {"bare": 80.0}]}, 1.0, ["EVALSHA"]),
        ({(OURS, "floor"): [FLOOR | {"three": 140.0}]}, 1.0, ["three"]),
        ({}, 1.001, ["admits most"]),
        ({}, 0.999, ["admits least"]),
    ],
)
def test_a_bar_that_does_not_hold_ends_with_1(capsys, spoilt, admitted, missed):
    results, passed = WELL | spoilt, {OURS: admitted, "peer": 4.0}
    bars = ratelimit.bars(results, passed)

    assert _verdict.end("json", "", ratelimit.rows(results, passed), bars) == bool(missed)
    printed = json.loads(capsys.readouterr().out)
    names = [one["name"] for one in printed["bars"] if not one["holds"]]
    assert len(names) == len(missed)
    assert all(part in name for part, name in zip(missed, names, strict=True))
    assert {"subject": "peer", "kind": "fire", "admitted": 4.0} in printed["rows"]


def test_a_bar_is_held_against_the_best_round_of_the_quickest_peer():
    results = WELL | {("peer", "memory"): [PEER, PEER | {"hot": 2.0}, PEER]}
    first = ratelimit.bars(results, {OURS: 1.0})[0]
    assert (first.value, first.holds) == (2.0, False)
    assert "peer" in first.name


def test_a_peer_that_cannot_be_measured_is_named_and_the_rest_goes_on(monkeypatch):
    strange = Subject("stranger", "no-such-package", "memory", never)
    broken = Subject("no such subject", "django", "memory", never)
    monkeypatch.setattr(ratelimit, "SUBJECTS", (strange, broken))
    monkeypatch.setattr(ratelimit, "tasks", lambda: [(broken.name, broken.kind)])
    missing: dict[tuple[str, str], str] = {}

    assert ratelimit.rounds(1, "", missing) == {}
    assert missing["stranger", "memory"] == "not installed"
    assert "StopIteration" in missing["no such subject", "memory"]
    page = ratelimit.page(WELL, {OURS: 1.0}, missing)
    assert "Missing: stranger, memory (not installed)." in page


def test_nothing_is_said_without_what_noa_perf_did():
    assert ratelimit.lost({("peer", "memory"): "x"}) == []
    assert ratelimit.lost({(OURS, "fire"): "x"}) == [(OURS, "fire")]
    assert ratelimit.lost({(OURS, "floor"): "x"}) == [(OURS, "floor")]


@pytest.mark.server
@pytest.mark.slow
def test_eight_processes_are_released_together_and_counted():
    url = get(Redis).urls()["primary"]
    assert ratelimit.hammer(OURS, url) == {"admitted": FIRE}


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "redis", "floor", "asyncio"])
def test_noa_perf_itself_is_measured(kind):
    found = ratelimit.measure(OURS, kind, "" if kind == "memory" else get(Redis).urls()["primary"])
    assert found
    assert all(figure > 0 for figure in found.values())


def test_a_subject_asks_once_for_each_key():
    ask = _noa_perf(algorithm="leaky_bucket")("", 2)
    assert ask(["x:1", "x:1", "x:2", "x:1"]) == 3
