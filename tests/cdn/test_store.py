from __future__ import annotations

import pytest

from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.manifest import Blob
from noa_perf.cdn.store import Store, blob_of


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cdn")


def test_bytes_come_back(store):
    blob = store.put(b"hello")
    assert blob == Blob(
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "5d41402abc4b2a76b9719d911017c592", 5
    )
    assert store.get(blob) == b"hello"
    assert store.has(blob)
    assert not store.has(blob_of(b"other"))


def test_damaged_bytes_are_never_given_out(store):
    blob = store.put(b"hello")
    store.path(blob).write_bytes(b"hellO")
    with pytest.raises(BuildError, match="damaged"):
        store.get(blob)
    with pytest.raises(BuildError, match="gone"):
        store.get(blob)
    assert store.put(b"hello") == blob
    assert store.get(blob) == b"hello"


def test_a_step_runs_once_for_what_goes_into_it(store):
    ran = []

    def make():
        ran.append(1)
        return b"small"

    first = store.transformed(make, "js", "esbuild 1", {"b": 1, "a": 2}, "input")
    assert store.transformed(make, "js", "esbuild 1", {"a": 2, "b": 1}, "input") == first
    assert len(ran) == 1
    store.transformed(make, "js", "esbuild 2", {"a": 2, "b": 1}, "input")
    assert len(ran) == 2


def test_that_a_step_made_nothing_is_remembered_too(store):
    assert store.transformed(lambda: None, "br", "x") is None
    assert store.transformed(lambda: b"never asked", "br", "x") is None


def test_a_result_whose_bytes_were_deleted_is_made_again(store):
    blob = store.transformed(lambda: b"made", "js", "x")
    store.path(blob).unlink()
    assert store.transformed(lambda: b"made", "js", "x") == blob
    assert store.get(blob) == b"made"


def test_a_note_that_cannot_be_read_is_none(store):
    store.remember([1], "js", "x")
    next(store.folder.glob("notes/*/*")).write_bytes(b"{")
    assert store.recall("js", "x") is None


@pytest.mark.parametrize("strange", [b"[1]", b'{"a": 1}', b"5", b"\xff\xfe", b"\n[]", b"", b"null"])
def test_a_note_that_somebody_else_wrote_is_none(store, strange):
    blob = store.transformed(lambda: b"made", "js", "x")
    note = next(store.folder.glob("notes/*/*"))
    note.write_bytes(strange)
    assert store.recall("js", "x") is None
    assert store.transformed(lambda: b"made", "js", "x") == blob
    assert store.recall("js", "x") == [blob.sha256, blob.md5, blob.size]


def test_a_folder_in_a_notes_place_is_no_note(store):
    store.remember([1], "js", "x")
    note = next(store.folder.glob("notes/*/*"))
    note.unlink()
    note.mkdir()
    assert store.recall("js", "x") is None
    with pytest.raises(BuildError, match=r"written.*BUILD_DIR"):
        store.remember([1], "js", "x")


def test_what_may_not_be_read_is_an_error_that_names_the_setting(store, monkeypatch):
    blob = store.put(b"hello")

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    for use, needs in ((store.get, "read_bytes"), (store.has, "stat"), (lambda _: store.put(b"hello"), "exists")):
        with monkeypatch.context() as patch:
            patch.setattr(f"pathlib.Path.{needs}", denied)
            with pytest.raises(BuildError, match=r"read \(Permission denied\).*BUILD_DIR"):
                use(blob)
    store.path(blob).write_bytes(b"hellO")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", denied)
        with pytest.raises(BuildError, match=r"deleted \(Permission denied\).*BUILD_DIR"):
            store.get(blob)
    store.remember([1], "js", "x")
    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    assert store.recall("js", "x") is None


def test_no_room_is_an_error_that_names_the_setting(tmp_path):
    (tmp_path / "cdn").write_bytes(b"a file")
    with pytest.raises(BuildError, match="BUILD_DIR"):
        Store(tmp_path / "cdn").put(b"x")
