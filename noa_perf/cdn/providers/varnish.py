"""Varnish, as the VCL that ``cdn_edge_config varnish`` writes makes it: PURGE, BAN, and xkey's tags."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from noa_perf.cdn.exceptions import BadProvider, BadPurge, PurgeError
from noa_perf.cdn.providers.base import Provider, chunks, host_of, pattern, spellings, target_of
from noa_perf.cdn.secrets import Secret

TOKEN_HEADER = "X-Purge-Token"  # noqa: S105  its name
TOKEN_VARIABLE = "NOA_PERF_VARNISH_TOKEN"  # noqa: S105  its name
"""The environment variable in which varnishd finds the token."""

_TAGS_AT_ONCE = 50
"""Tags of 128 characters at most, in a header of 8 kB at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VarnishOptions:
    """What a Varnish's entry may hold."""

    url: str = ""
    """Where viewers reach it: ``https://www.example.com``."""
    nodes: tuple[str, ...] = ()
    """Each varnishd, as purges reach it: ``http://10.0.0.7:6081``. Empty: ``url`` alone."""
    token: str = dataclasses.field(default="", repr=False)
    """What purges are guarded by: ``env:NAME`` or ``file:/path``."""
    timeout: float = 5.0
    """Seconds for each node to answer."""


class Varnish(Provider):
    """Sends each purge to every node; one that fails does not keep the others from it."""

    options = VarnishOptions
    tag_header = "xkey"

    def __init__(self, name: str, options: VarnishOptions) -> None:
        """Open no connection yet."""
        super().__init__(name)
        self._setting = f"NOA_PERF['CDN']['PROVIDERS'][{name!r}]"
        self._options = options
        self._nodes = [node.rstrip("/") for node in options.nodes or (options.url,)]
        self._token = Secret(options.token, f"{self._setting}['TOKEN']")

    @property
    def url(self) -> str:
        """Where viewers reach it."""
        return self._options.url.rstrip("/")

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the options."""
        for key, address in [("URL", self.url), *(("NODES", node) for node in self._options.nodes)]:
            try:
                host_of(address)
            except BadPurge as error:
                yield f"{self._setting}[{key!r}]: {error}", "Write a scheme and a host: 'http://10.0.0.7:6081'."
        if not self._options.token:
            yield f"{self._setting} has no TOKEN.", "Give it one: 'env:NAME' or 'file:/path'; varnishd has the same."

    def purge_urls(self, urls: Sequence[str]) -> str:
        """PURGE each address, in all its forms."""
        wanted = [self._split(url) for url in urls]
        self._everywhere("PURGE", [(host, each, {}) for host, target in wanted for each in spellings(target)])
        return self._said(len(urls), "address", "addresses")

    def purge_prefixes(self, prefixes: Sequence[str]) -> str:
        """BAN what begins so: it is gone for every request that comes after."""
        wanted = [self._split(prefix) for prefix in prefixes]
        bans = [(host, "/", {"X-Ban-Url": pattern(target)}) for host, target in wanted]
        self._everywhere("BAN", bans)
        return self._said(len(prefixes), "prefix", "prefixes")

    def purge_tags(self, tags: Sequence[str], *, soft: bool) -> str:
        """Purge by xkey; soft: as if it were too old, so that grace holds."""
        header = "X-Soft-Tags" if soft else "X-Purge-Tags"
        host = host_of(self.url)
        self._everywhere("PURGE", [(host, "/", {header: " ".join(some)}) for some in chunks(tags, _TAGS_AT_ONCE)])
        return self._said(len(tags), "tag", "tags")

    def purge_all(self) -> str:
        """BAN all that was kept for the host of :attr:`url`."""
        self._everywhere("BAN", [(host_of(self.url), "/", {"X-Ban-Url": "."})])
        return f"everything at {self._many()}"

    def _split(self, url: str) -> tuple[str, str]:
        """Return an address as the host and the target that browsers send for it."""
        return host_of(self.url if url.startswith("/") else url), target_of(url)

    def _everywhere(self, method: str, requests: Sequence[tuple[str, str, Mapping[str, str]]]) -> None:
        token = self._token.reveal()
        failed: dict[str, str] = {}
        with _client(self._options.timeout) as client:
            for node in self._nodes:
                for host, target, headers in requests:
                    if node not in failed and (why := _ask(client, method, node, target, host, token, headers)):
                        failed[node] = why
        if failed:
            told = "; ".join(f"{node}: {why}" for node, why in failed.items())
            rest = " The other nodes were." if len(failed) < len(self._nodes) else ""
            raise PurgeError(f"{self.name} was not purged everywhere ({told}).{rest}")

    def _said(self, many: int, one: str, more: str) -> str:
        return f"{many:,} {one if many == 1 else more} at {self._many()}"

    def _many(self) -> str:
        return "1 node" if len(self._nodes) == 1 else f"{len(self._nodes)} nodes"


def _client(timeout: float) -> Any:
    try:
        import httpx
    except ImportError as error:
        raise BadProvider("Purging Varnish needs httpx: pip install noa-perf[varnish].") from error
    return httpx.Client(timeout=timeout, trust_env=False)


def _ask(client: Any, method: str, node: str, target: str, host: str, token: str, headers: Mapping[str, str]) -> str:
    """Return why it failed; empty if it did not."""
    import httpx

    sent = {"Host": host, TOKEN_HEADER: token, **headers}
    # httpx would escape what it takes for a slip.
    exactly = {"target": target.encode("ascii")}
    try:
        answer = client.request(method, node + target, headers=sent, extensions=exactly)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return type(error).__name__
    if answer.status_code == 403:
        return f"403: its {TOKEN_VARIABLE} is another token, or none"
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.reason_phrase}: does it run the VCL of cdn_edge_config?"
    return ""


def vcl(origin: str, static_url: str) -> str:
    """Return the VCL that this provider expects, for an origin (``http://127.0.0.1:8000``).

    Raises :class:`~noa_perf.cdn.exceptions.BadProvider` where ``origin`` is no address of plain HTTP.
    """
    try:
        parts = urlsplit(origin)
        port = parts.port or 80
    except ValueError as error:
        raise BadProvider(f"{origin!r} is no origin for Varnish: {error}.") from error
    if parts.scheme != "http" or not parts.hostname or not re.fullmatch(r"[\w.:-]+", parts.hostname):
        raise BadProvider(f"{origin!r} is no origin for Varnish, which speaks plain HTTP to it: http://127.0.0.1:8000.")
    path = urlsplit(static_url).path or "/static/"
    text = resources.files("noa_perf.cdn.providers").joinpath("varnish.vcl").read_text()
    for name, value in {
        "@HOST@": parts.hostname,
        "@PORT@": str(port),
        "@STATIC@": re.escape(path).replace('"', "%22"),
        "@TOKEN@": TOKEN_VARIABLE,
    }.items():
        text = text.replace(name, value)
    return text
