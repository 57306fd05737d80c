from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.cache import journal as journals
from noa_perf.cache.journal import Journal


class Replayer:
    """Replays as a server would, when it is there."""

    def __init__(self) -> None:
        self.there = False
        self.deleted: list[str] = []
        self.tried = 0
        self.between: Callable[[], None] = lambda: None

    def __call__(self, journal: Journal) -> bool:
        self.tried += 1
        if not self.there:
            return False
        keys, clears = journal.pending()
        self.deleted += [key for key, _ in keys] + [pattern for pattern, _ in clears]
        self.between()
        journal.done(keys, clears)
        return True


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(journals, "PATIENCE", (0.002, 0.01))


@pytest.fixture
def replayer() -> Replayer:
    return Replayer()


def until(ready: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name == "noa-perf-cache-journal"}


def test_what_is_noted_is_held_until_it_was_replayed(replayer):
    journal = Journal(replayer)
    assert not journal.holds("a")
    assert journal.replay()
    journal.note(["a", "b"], "p:*")
    assert len(journal) == 2
    assert journal.holds("a")
    assert not journal.holds("c")
    until(lambda: replayer.tried > 3)
    assert journal.holds("b")
    replayer.there = True
    until(lambda: not len(journal))
    assert sorted(replayer.deleted) == ["a", "b"]
    assert journal.replayed == 2
    assert not journal.holds("a")


def test_a_pattern_holds_all_it_matches(replayer):
    journal = Journal(replayer)
    journal.note_clear("p:[0-9]*:*")
    assert journal.holds("p:1:k")
    assert journal.holds("p:12:k\nl")
    assert not journal.holds("q:1:k")
    journal.note_clear("q:1:[ab]?")
    assert journal.holds("q:1:a7")
    assert not journal.holds("q:1:c7")
    replayer.there = True
    until(lambda: not len(journal))
    assert replayer.deleted == ["p:[0-9]*:*", "q:1:[ab]?"]


def test_what_was_written_since_is_held_no_more(replayer):
    journal = Journal(replayer)
    journal.note(["a", "b"], "p:*")
    journal.written("a", journal.serial)
    journal.written("unknown", journal.serial)
    assert not journal.holds("a")
    assert journal.holds("b")


def test_too_many_keys_become_their_pattern(replayer):
    journal = Journal(replayer, most=3)
    journal.note(["p:1", "p:2", "q:1"], "p:*")
    journal.note(["p:3"], "p:*")
    assert journal.overflowed == 1
    assert len(journal) == 2  # the pattern, and the key that it does not match
    assert all(map(journal.holds, ["p:1", "p:99", "q:1"]))
    journal.note(["p:4"], "p:*")
    assert len(journal) == 2
    journal.note([f"x:{n}" for n in range(9)], "")
    assert journal.holds("x:8")


def test_what_is_noted_again_while_it_is_replayed_stays(replayer):
    journal = Journal(replayer)

    def note() -> None:
        journal.note(["a"], "p:*")
        journal.note_clear("q:*")

    replayer.between = note
    journal.note(["a", "b"], "p:*")
    journal.note_clear("q:*")
    replayer.there = True
    until(lambda: replayer.deleted)
    assert journal.holds("a")
    assert journal.holds("q:1")
    replayer.between = lambda: None
    until(lambda: not len(journal))
    assert replayer.deleted.count("a") >= 2
    assert replayer.deleted.count("b") == 1


def test_one_thread_works_and_goes_when_all_is_done(replayer):
    before = threads()
    journal = Journal(replayer)
    for number in range(50):
        journal.note([f"k{number}"], "")
    assert len(threads() - before) == 1
    assert all(thread.daemon for thread in threads())
    replayer.there = True
    until(lambda: not len(journal))
    until(lambda: not threads() - before)
    replayer.there = False
    journal.note(["again"], "")
    assert len(threads() - before) == 1
    replayer.there = True
    until(lambda: not len(journal))


def test_a_journal_that_nobody_needs_is_let_go(replayer):
    journal = Journal(replayer)
    journal.note(["a"], "")
    held = weakref.ref(journal)
    del journal

    def gone() -> bool:
        gc.collect()
        return held() is None

    until(gone)


def test_threads_that_note_at_once_lose_nothing(replayer):
    journal = Journal(replayer)
    replayer.there = True

    def note(number: int) -> None:
        for i in range(200):
            journal.note([f"{number}:{i}"], "")

    noted = [threading.Thread(target=note, args=(number,)) for number in range(8)]
    for thread in noted:
        thread.start()
    for thread in noted:
        thread.join()
    until(lambda: not len(journal))
    assert {*replayer.deleted} == {f"{n}:{i}" for n in range(8) for i in range(200)}


def test_a_child_goes_on_with_a_thread_of_its_own(replayer):
    journal = Journal(replayer)
    journal.note(["a"], "")
    child = os.fork()
    if not child:
        replayer.there = True
        assert journal.holds("a")
        deadline = time.monotonic() + 5
        while len(journal) and time.monotonic() < deadline:
            time.sleep(0.005)
        os._exit(len(journal))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert journal.holds("a")


def test_it_tries_once_more_at_the_end(replayer):
    journal = Journal(replayer)
    journal.note(["a"], "")
    replayer.there = True
    journals._farewell()
    assert replayer.deleted == ["a"]
    assert not len(journal)


@given(
    st.lists(st.tuples(st.sampled_from(["note", "clear", "written", "replay"]), st.sampled_from("abc")), max_size=20)
)
def test_whatever_happens_what_redis_missed_is_held_or_was_deleted(steps):
    """A model: a key is older in Redis from when it was noted until it was deleted there or written anew."""
    server = Replayer()
    server.there = True
    journal = Journal(lambda journal: False)
    older: set[str] = set()
    for step, key in steps:
        if step == "note":
            journal.note([f"{key}:1"], f"{key}:*")
            older.add(f"{key}:1")
        elif step == "clear":
            journal.note_clear(f"{key}:*")
            older.add(f"{key}:1")
        elif step == "written":
            journal.written(f"{key}:1", journal.serial)
            older.discard(f"{key}:1")
        else:
            server(journal)
            older.clear()
        assert all(map(journal.holds, older))
    server(journal)
    assert not len(journal)
