"""What an edge has to offer: purging, and an address under which viewers reach it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, TypeVar

T = TypeVar("T")


class Provider(ABC):
    """One edge. Each purge returns what was done in words, or raises
    :class:`~noa_perf.cdn.exceptions.PurgeError`."""

    options: ClassVar[type]
    """The frozen dataclass of what its entry in ``NOA_PERF["CDN"]["PROVIDERS"]`` may hold, beside ``BACKEND``."""
    tag_header: ClassVar[str] = ""
    """The response header that tells it the tags of what it keeps; empty where it knows no tags."""
    tag_separator: ClassVar[str] = " "
    supports_tags: ClassVar[bool] = True
    supports_prefixes: ClassVar[bool] = True
    supports_soft: ClassVar[bool] = True
    """Whether what is purged can go on being served while it is fetched anew."""

    def __init__(self, name: str) -> None:
        """Be called ``name``."""
        self.name = name

    @property
    @abstractmethod
    def url(self) -> str:
        """Where viewers reach it: scheme and host, without a slash at the end."""

    @abstractmethod
    def purge_urls(self, urls: Sequence[str]) -> str:
        """Forget these addresses; a path is one at :attr:`url`."""

    @abstractmethod
    def purge_prefixes(self, prefixes: Sequence[str]) -> str:
        """Forget all addresses that begin so; a path is at :attr:`url`."""

    @abstractmethod
    def purge_tags(self, tags: Sequence[str], *, soft: bool) -> str:
        """Forget all that has one of these tags; ``soft``: serve it until it is fetched anew."""

    @abstractmethod
    def purge_all(self) -> str:
        """Forget all of this site."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with its options and the cure, for the system checks; the network is not asked."""
        yield from ()


def chunks(items: Sequence[T], many: int) -> Iterable[Sequence[T]]:
    """Return the items in groups of ``many`` at most."""
    return (items[start : start + many] for start in range(0, len(items), many))
