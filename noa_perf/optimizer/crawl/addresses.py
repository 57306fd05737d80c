"""Turns what a page wrote into ``href`` into an address of this site, or into the reason why it is none."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urljoin, urlsplit

from django.conf import settings
from django.urls import get_script_prefix
from django.utils.encoding import iri_to_uri

MAX_LENGTH = 2_000

FILES = frozenset(
    """
    7z aac apk avi avif bin bmp bz2 csv css dmg doc docx eot epub exe flac gif gz heic ico ics iso jpeg jpg js map
    mjs mov mp3 mp4 mpeg odp ods odt ogg otf pdf png ppt pptx rar svg tar tgz tif tiff tsv ttf vcf wav webm webp woff
    woff2 xls xlsx zip
    """.split()
)
"""Endings of what a browser shows or saves as a file."""


class Address(NamedTuple):
    """A page of this site, below the prefix that it may be mounted at."""

    path: str
    query: str = ""

    def __str__(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


class NoAddressError(ValueError):
    """A link that leads to no page of this site; its one argument is the reason."""


def parse(href: str, page: str, base: str, host: str) -> Address:
    """Return the address that ``href`` means on ``page`` of ``host``, whose links are relative to ``base``."""
    try:
        here = f"http://{host}{get_script_prefix().rstrip('/')}{page}"
        link = urlsplit(urljoin(urljoin(here, base.strip()), href.strip()))
        elsewhere = link.scheme not in ("http", "https") or link.hostname != urlsplit(here).hostname
    except ValueError:  # http://[ and the like
        raise NoAddressError("malformed") from None
    if elsewhere:
        raise NoAddressError("elsewhere")
    return _below_prefix(link)


def is_file(address: Address) -> bool:
    """Tell whether a path belongs to static or uploaded files, or ends as a file does, or a parameter asks for one."""
    if any(value.lower() in FILES for _, value in parse_qsl(address.query)):
        return True
    last = address.path.rpartition("/")[2]
    return ("." in last and last.rpartition(".")[2].lower() in FILES) or address.path.startswith(_folders_of_files())


def _below_prefix(link: SplitResult) -> Address:
    prefix, path = get_script_prefix(), iri_to_uri(link.path or "/")
    if not path.startswith(prefix):
        raise NoAddressError("elsewhere")
    found = Address("/" + path[len(prefix) :], iri_to_uri(link.query))
    if len(str(found)) > MAX_LENGTH or found.path.startswith("//"):
        raise NoAddressError("malformed")
    return found


def _folders_of_files() -> tuple[str, ...]:
    prefix = get_script_prefix()
    named = [str(url) for url in (settings.STATIC_URL, settings.MEDIA_URL) if url]
    # Unset, Django makes them the root itself.
    return tuple("/" + url[len(prefix) :] for url in named if url.startswith(prefix) and url != prefix)
