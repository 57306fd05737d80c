"""What a place has to offer so that releases can be published there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from noa_perf.cdn.exceptions import CdnError

IMMUTABLE = "public, max-age=31536000, immutable"
"""The Cache-Control of what never changes under its name: a year, and no question in between (RFC 8246)."""


class Moved(CdnError):
    """What was to be replaced is no longer what it was."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One file there."""

    size: int
    """Bytes."""
    md5: str
    """Hexadecimal; empty where the place does not tell it."""
    modified: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to be published."""

    name: str
    read: Callable[[], bytes]
    """Return its bytes, or raise :class:`~noa_perf.cdn.exceptions.BuildError` where they are gone or damaged."""
    size: int
    md5: str
    type: str
    """Its Content-Type."""
    encoding: str = ""
    """Its Content-Encoding."""


class Target(ABC):
    """A place. Names are relative to it, with slashes; each method raises
    :class:`~noa_perf.cdn.exceptions.TargetError` where the place cannot be read or written."""

    where: str
    """What it is called in messages."""
    workers = 16
    """Uploads at once."""
    remote = True
    """Whether asking it takes so long that no request should wait for that."""

    @abstractmethod
    def listing(self) -> Mapping[str, Stored]:
        """Return all files there, by name."""

    @abstractmethod
    def upload(self, file: Upload) -> None:
        """Put one file there, whole or not at all."""

    @abstractmethod
    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return a small file and a token of its state; None where there is none."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a small JSON file, whole or not at all; no cache is to keep it."""

    @abstractmethod
    def replace(self, name: str, data: bytes, token: str) -> None:
        """Write a small JSON file if its state is still that of ``token`` (empty: there was none).

        Raises :class:`Moved` if it is another.
        """

    @abstractmethod
    def delete(self, names: Collection[str]) -> None:
        """Delete files; those that are gone already are no error."""

    @abstractmethod
    def settle(self) -> None:
        """Return once what was written survives a loss of power."""
