"""What is built: the files that Django's finders find, as ``collectstatic`` takes them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from noa_perf.cdn.exceptions import BuildError


@dataclass(frozen=True, slots=True)
class Source:
    """One file."""

    path: str
    """As ``{% static %}`` is given it."""
    read: Callable[[], bytes]
    where: str
    """Where it was found, for messages."""


def found(ignore: Iterable[str]) -> dict[str, Source]:
    """Return each file by its path; of several with one path the first, as the finders are ordered."""
    from django.contrib.staticfiles.finders import get_finders

    sources: dict[str, Source] = {}
    for finder in get_finders():
        for relative, storage in finder.list(list(ignore)):
            prefix = getattr(storage, "prefix", None) or ""
            path = safe(posixpath.join(prefix, relative.replace("\\", "/")))
            if path not in sources:
                sources[path] = Source(path, _reader(storage, relative), _place(storage, relative))
    return sources


def stored(files: Mapping[str, tuple[Any, str]]) -> dict[str, Source]:
    """Return the files that ``collectstatic`` tells ``post_process`` of: a storage and a name in it, by path."""
    paths = {safe(path.replace("\\", "/")): place for path, place in files.items()}
    return {path: Source(path, _reader(*place), _place(*place)) for path, place in paths.items()}


def safe(path: str) -> str:
    """Return a path without detours.

    Raises :class:`~noa_perf.cdn.exceptions.BuildError` where it leaves the root, or is not UTF-8: no address has such a
    name.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise BuildError(f"The name {path!r} is not UTF-8: rename the file, or leave it out by IGNORE.") from error
    plain = posixpath.normpath(path)
    if plain.startswith(("/", "../")) or plain in {".", ".."} or "\0" in plain:
        raise BuildError(f"{path!r} leads out of the folder of static files: rename it, or leave it out by IGNORE.")
    return plain


def _reader(storage: Any, name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with storage.open(name) as file:
                return bytes(file.read())
        except OSError as error:
            raise BuildError(f"{_place(storage, name)} cannot be read: {error.strerror or error}.") from error

    return read


def _place(storage: Any, name: str) -> str:
    try:
        return str(storage.path(name))
    except NotImplementedError:
        return name
