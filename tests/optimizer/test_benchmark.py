"""What the benchmark makes of its figures: bars, an exit code, and a word for each peer that is missing."""

from __future__ import annotations

import json

import pytest

from benchmarks import _verdict, optimizer
from benchmarks._optimizer_subjects import Subject
from benchmarks._verdict import Bar

SPEED = {"loop": 1.0, "deep": 1.0, "template": 1.0, "raw": 10.0}
TOLD = {"found": ["a"], "missed": [], "false": [], "silent": [], "broken": []}


@pytest.mark.parametrize(("cost", "code"), [(1.0, 0), (1.2, 1)])
def test_a_bar_that_does_not_hold_ends_with_1(capsys, monkeypatch, cost, code):
    monkeypatch.setattr(optimizer, "version", lambda package: "1.0")
    results = {"bare Django": [SPEED], "noa_perf": [{**SPEED, "loop": cost}]}
    bars = optimizer.bars(results, {"noa_perf": TOLD})

    assert _verdict.end("json", "", optimizer.rows(results, {"noa_perf": TOLD}), bars) == code
    printed = json.loads(capsys.readouterr().out)
    assert printed["bars"][0]["holds"] is (code == 0)
    assert [one["subject"] for one in printed["rows"]] == ["bare Django", "noa_perf"]


def test_a_bar_may_be_a_least():
    assert not Bar("x", 1, 2, at_least=True).holds
    assert "MISSED: x: 1, at least 2" in str(Bar("x", 1, 2, at_least=True))


@pytest.mark.parametrize(
    ("subject", "why"),
    [(Subject("x", "no-such-package"), "not installed"), (Subject("no such subject"), "StopIteration")],
)
def test_a_peer_that_cannot_be_measured_is_named_and_the_rest_goes_on(monkeypatch, subject, why):
    monkeypatch.setattr(optimizer, "SUBJECTS", (subject,))
    missing: dict[str, str] = {}

    assert optimizer.rounds(1, missing) == {}
    assert why in missing[subject.name]
    results = {"bare Django": [SPEED], "noa_perf": [SPEED]}
    assert f"Missing: {subject.name} ({why}" in optimizer.page(results, {}, missing)
