"""A folder, which a web server, WhiteNoise or an edge's origin serves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from noa_perf.cdn.exceptions import TargetError
from noa_perf.cdn.store import TEMPORARY, write_whole
from noa_perf.cdn.targets.base import Moved, Stored, Target, Upload

try:
    import fcntl
except ImportError:  # Windows: two who publish at the same moment are not told apart there
    fcntl = None  # type: ignore[assignment]

_LOCK = ".releases/.tmp-lock"


class Folder(Target):
    """Files are written beside their place and renamed into it; whoever replaces one holds a lock meanwhile."""

    workers = 4
    remote = False

    def __init__(self, root: Path, file_mode: int = 0o644, folder_mode: int = 0o755) -> None:
        """Publish below ``root``, which is made when it is needed.

        The modes are those of what is made, whatever umask the process has: a web server of another user reads it.
        """
        self.root = root
        self._modes = file_mode, folder_mode
        self.where = str(root)

    def listing(self) -> dict[str, Stored]:
        """Return all files there, by name; no MD5, for that would mean reading them all."""
        found = {}
        with self._told("read"):
            for folder, _, files in os.walk(self.root, onerror=_raise):
                for file in files:
                    if not file.startswith(TEMPORARY):
                        path = Path(folder, file)
                        try:
                            status = path.stat()
                        except FileNotFoundError:  # a link to nothing, or deleted meanwhile
                            continue
                        found[path.relative_to(self.root).as_posix()] = Stored(status.st_size, "", status.st_mtime)
        return found

    def upload(self, file: Upload) -> None:
        """Copy one file there. Types and encodings are for whoever serves the folder to tell."""
        with self._told("written"):
            self._write(file.name, file.read())

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return a small file and its hash."""
        with self._told("read"):
            try:
                data = (self.root / name).read_bytes()
            except FileNotFoundError:
                return None
        return data, hashlib.sha256(data).hexdigest()

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""
        with self._told("written"):
            self._write(name, data)

    def replace(self, name: str, data: bytes, token: str) -> None:
        """Write a small file if it is still the one of ``token``."""
        with self._told("written"), self._locked():
            known = self.read(name)
            if (known[1] if known else "") != token:
                raise Moved(name)
            self._write(name, data)

    def delete(self, names: Collection[str]) -> None:
        """Delete files, and folders that are empty then."""
        with self._told("changed"):
            for name in names:
                (self.root / name).unlink(missing_ok=True)
            for folder in sorted({(self.root / name).parent for name in names}, reverse=True):
                if folder != self.root and folder.exists() and not any(folder.iterdir()):
                    folder.rmdir()

    def settle(self) -> None:
        """Write out what the system holds back."""
        os.sync()

    def _write(self, name: str, data: bytes) -> None:
        path = self.root / name
        self._make(path.parent)
        write_whole(path, data, self._modes[0])

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(self._modes[1])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.root / _LOCK
        self._make(path.parent)
        with path.open("w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)  # the kernel gives it back, however its holder ends
            yield

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TargetError(
                f"{error.filename or self.root} cannot be {what} ({error.strerror or error}). STATIC_ROOT, or location "
                "in the OPTIONS of STORAGES['staticfiles'], names a folder with room, which this process may write."
            ) from error


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
