"""What a process found out reaches the rollup once, a little at a time, and without a value in it."""

from __future__ import annotations

import pytest

from noa_perf import optimizer
from noa_perf.core.clock import ManualClock
from noa_perf.metrics import recorder
from noa_perf.metrics.recorder import Tally
from noa_perf.optimizer import capture, noting, parameters, report
from noa_perf.optimizer.collector import collector
from noa_perf.optimizer.fingerprint import statement
from noa_perf.optimizer.noting import Noter
from noa_perf.optimizer.plans.advise import Asked
from noa_perf.optimizer.plans.explainer import explainer
from noa_perf.optimizer.sightings import Shape
from tests.library.fill import fill
from tests.library.models import Author, Book

pytestmark = pytest.mark.django_db


@pytest.fixture
def tally():
    collector.reset()
    explainer._begin()
    mine = Tally()
    before = recorder.use(mine)
    yield mine
    recorder.use(before)
    collector.reset()


def read_books():
    with optimizer.scope("reading"):
        for book in Book.objects.all():
            assert book.author.name


def test_a_statement_is_told_without_its_literals_whatever_its_database_takes_for_one():
    ran = statement('SELECT id FROM library_book WHERE title = "secret"', "mysql")
    shape = Shape("default", ran.sql, ran.folded, ran.digest, count=1, slow=1, seconds=9.0, longest=9.0)
    shape.buckets.update({23: 1})

    (found,) = [one for one in report.findings([], [shape]) if one.kind == "slow_query"]

    assert "secret" not in found.sql


def test_an_n_plus_one_is_noted_with_line_and_cure(tally):
    fill()
    read_books()

    Noter(collector).note()
    notes = {labels: facts for (kind, labels), facts in tally.drain_notes().items() if kind == "n_plus_one"}

    ((labels, facts),) = notes.items()
    (found,) = facts["findings"]
    assert labels[0] == "Book.author"
    assert labels[2] == "reading"
    assert found["code"] == '.select_related("author")'
    assert found["change"]["file"].endswith("test_noting.py")
    assert ("n_plus_one", labels) in tally.drain_series()


def test_what_was_noted_is_not_noted_again_until_more_is_known(tally):
    fill()
    noter = Noter(collector)
    noted = []
    for _ in range(2):
        read_books()
        noter.note()
        noted.append(len(tally.drain_notes()))
    assert noted == [3, 0]

    with optimizer.scope("elsewhere"):
        list(Book.objects.all())
    noter.note()
    ((_, labels),) = tally.drain_notes()
    assert "library_book" in labels[2]


def test_what_takes_too_long_waits_for_the_next_flush(tally, monkeypatch):
    fill()
    read_books()
    clock = ManualClock()
    made = report.findings

    def slowly(*args, **kwargs):
        clock.advance(noting.BUDGET)
        return made(*args, **kwargs)

    monkeypatch.setattr(report, "findings", slowly)
    noter = Noter(collector, clock)
    counts = []
    for _ in range(4):
        noter.note()
        counts.append(len(tally.drain_notes()))

    assert counts == [1, 1, 1, 0]


def test_a_plan_that_was_read_is_noted(tally):
    with optimizer.scope("block"):
        list(Author.objects.filter(name="secret"))
    shape = next(shape for shape in collector.seen()[1] if "library_author" in shape.sql)
    noter = Noter(collector)
    noter.note()
    before = tally.drain_notes()
    explainer._explain((shape.alias, shape.sql), Asked.of(shape), ("secret",))
    noter.note()
    after = tally.drain_notes()

    (key,) = after
    assert "plan" not in before[key]
    assert "library_author" in str(after[key]["plan"])
    assert "secret" not in str(after)


class Unspeakable:
    """A value whose text cannot be had."""

    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("params", "masked", "shown"),
    [
        (None, (), ()),
        ({"a": "secret"}, ("str of 6",), ("'secret'",)),
        ([None, 1, b"abc", ["x"] * 2_000], ("NULL", "int", "bytes of 3", "list of 2,000"), None),
        ([Unspeakable()], ("Unspeakable",), ("Unspeakable",)),
        (range(40), ("int",) * 30 + ("and 10 more",), (*map(str, range(30)), "and 10 more")),
    ],
)
def test_parameters_by_type_and_size(params, masked, shown):
    assert parameters.masked(params) == masked
    if shown is not None:
        assert parameters.shown(params) == shown


def test_a_long_value_is_cut():
    (text,) = parameters.shown(["x" * 10_000])

    assert len(text) == parameters.MAX_CHARACTERS + 1


def test_one_that_cannot_be_told_of_keeps_no_other_waiting(tally, monkeypatch):
    fill()
    read_books()
    monkeypatch.setattr(Noter, "_of_n_plus_one", lambda self, sighting, among: 1 / 0)
    faults = capture.faults.total

    noter = Noter(collector)
    noter.note()
    noter.note()

    assert {kind for kind, _ in tally.drain_notes()} == {"query"}
    assert capture.faults.total == faults + 1


def test_all_is_noted_again_after_an_hour(tally):
    fill()
    read_books()
    clock = ManualClock()
    noter = Noter(collector, clock)
    noter.note()
    first = len(tally.drain_notes())

    clock.advance(noting.AGAIN + 1)
    noter.note()

    assert len(tally.drain_notes()) == first


def test_what_found_no_room_is_noted_the_next_time(tally):
    fill()
    read_books()
    tally.max_series = 1
    noter = Noter(collector)
    counts = []
    for _ in range(4):
        noter.note()
        counts.append(len(tally.drain_notes()))

    assert counts == [1, 1, 1, 0]
