"""Where built bytes lie, by what they hash to, and what each step made of which: a build cache that can be deleted."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from noa_perf.cdn.exceptions import BuildError
from noa_perf.cdn.manifest import Blob

TEMPORARY = ".tmp-"
"""How files begin that are not yet whole: what was killed may leave one."""


class Store:
    """A folder of blobs, and of notes that remember a step's result by what went into it.

    Every file is written beside its place and renamed into it, so that what is there is whole; two builds at once
    write the same bytes under the same names.
    """

    def __init__(self, folder: Path) -> None:
        """Keep everything below ``folder``, which is made when it is needed."""
        self.folder = folder

    def put(self, data: bytes) -> Blob:
        """Keep ``data`` and return what it hashes to."""
        blob = blob_of(data)
        if not self._exists(blob):
            self._write(self.path(blob), data)
        return blob

    def _exists(self, blob: Blob) -> bool:
        with _usable(self.path(blob), "read"):
            return self.path(blob).exists()

    def get(self, blob: Blob) -> bytes:
        """Return a blob's bytes; raise :class:`~noa_perf.cdn.exceptions.BuildError` where they are gone or damaged."""
        path = self.path(blob)
        try:
            with _usable(path, "read"):
                data = path.read_bytes()
        except FileNotFoundError as error:
            raise BuildError(f"{path} is gone. Run cdn_build again.") from error
        if hashlib.sha256(data).hexdigest() != blob.sha256:
            with _usable(path, "deleted"):
                path.unlink(missing_ok=True)
            raise BuildError(f"{self.path(blob)} was damaged, and is deleted now. Run cdn_build again.")
        return data

    def has(self, blob: Blob) -> bool:
        """Tell whether a blob is there, with as many bytes as it has."""
        try:
            with _usable(self.path(blob), "read"):
                return self.path(blob).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def path(self, blob: Blob) -> Path:
        """Return where a blob lies, or would."""
        return self.folder / "blobs" / blob.sha256[:2] / blob.sha256[2:]

    def recall(self, step: str, *ingredients: Any) -> Any:
        """Return what was remembered of a step with these ingredients; None if nothing was, or it cannot be read."""
        try:
            digest, _, result = self._note(step, ingredients).read_bytes().partition(b"\n")
        except OSError:
            return None
        # Whatever else somebody wrote there was remembered by nobody.
        return json.loads(result) if digest == _digest(result) else None

    def remember(self, result: Any, step: str, *ingredients: Any) -> None:
        """Note a step's ``result`` (JSON) by all that it depends on: the tool, its version, its options, its input."""
        text = json.dumps(result).encode()
        self._write(self._note(step, ingredients), _digest(text) + b"\n" + text)

    def transformed(self, make: Callable[[], bytes | None], step: str, *ingredients: Any) -> Blob | None:
        """Return what ``make()`` makes, remembered; None if it makes nothing, which is remembered too."""
        known = self.recall(step, *ingredients)
        if known is not None:
            blob = Blob(*known) if known else None
            if blob is None or self.has(blob):
                return blob
        made = make()
        blob = None if made is None else self.put(made)
        self.remember([] if blob is None else [blob.sha256, blob.md5, blob.size], step, *ingredients)
        return blob

    def _note(self, step: str, ingredients: tuple[Any, ...]) -> Path:
        text = json.dumps([step, *ingredients], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self.folder / "notes" / digest[:2] / digest[2:]

    def _write(self, path: Path, data: bytes) -> None:
        with _usable(path, "written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)


@contextmanager
def _usable(path: Path, used: str) -> Iterator[None]:
    """Name the setting where a file cannot be used; that it is not there is another matter, unless it was written."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and used == "read":
            raise
        raise BuildError(
            f"{path} cannot be {used} ({error.strerror or error}): NOA_PERF['CDN']['BUILD_DIR'] names a folder "
            "with room, which this process may read and write."
        ) from error


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def blob_of(data: bytes) -> Blob:
    """Return what ``data`` hashes to."""
    return Blob(hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data))


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` so that a reader, now or after a crash, finds all of it or what was there before."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
