"""Who is counted: the client behind a request, as one text that no other client has."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.utils.functional import LazyObject
from django.utils.module_loading import import_string
from django.utils.translation import get_language

from noa_perf.ratelimit import keys
from noa_perf.ratelimit.addresses import Address, Networks, claimed_client, client_network, parse_address, problems_of
from noa_perf.ratelimit.conf import RateLimitSettings, settings
from noa_perf.ratelimit.exceptions import BadPolicy

logger = logging.getLogger("noa_perf.ratelimit")

Sync = Callable[[HttpRequest], str | None]
Async = Callable[[HttpRequest], Awaitable[str | None]]

UNIX = "unix"
"""Stands among TRUSTED_PROXIES for whoever reaches this site by a Unix socket."""
UNKNOWN = "unknown"
"""The one client that all are whose address nobody can tell."""
NOWHERE = "(none)"
"""The endpoint of requests that lead to no view."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
"""Those of HTTP itself; any other may be what a client has made up."""

_SCHEMES = frozenset({"bearer", "token", "api-key", "apikey"})
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_SECRET = re.compile("auth|cookie|key|token|secret|session", re.IGNORECASE)
"""Headers by whose name their values are none to keep."""
_REMEMBERED = 8192
_LONGEST_REMEMBERED = 200


class Identity(NamedTuple):
    """What tells who is counted, as a policy's ``by`` has it."""

    sync: Sync
    aasync: Async


def identify(by: Any, request: HttpRequest) -> str | None:
    """Return the client behind ``request``, fit for a key; None where the policy does not hold for it.

    Raises :class:`~noa_perf.ratelimit.exceptions.BadPolicy` for a ``by`` that means nobody, and nothing else.
    """
    return compiled(by).sync(request)


async def aidentify(by: Any, request: HttpRequest) -> str | None:
    """Do the same on an event loop; what asks the database there is awaited."""
    return await compiled(by).aasync(request)


def compiled(by: Any) -> Identity:
    """Return what tells the client of a request by ``by``. Raises BadPolicy."""
    try:
        return _compiled(by)
    except TypeError:  # a callable that cannot be hashed
        return _compile(by)


def problems(by: Any) -> list[str]:
    """Return what is wrong with the settings that ``by`` needs."""
    if "tenant" not in _flat(by):
        return []
    path = settings().tenant
    if not path:
        return ['by is "tenant", and nothing tells the tenant. Set NOA_PERF["RATELIMIT"]["TENANT"] to a dotted path.']
    try:
        import_string(path)
    except ImportError as error:
        return [f'NOA_PERF["RATELIMIT"]["TENANT"] is {path!r}, which cannot be imported: {error}.']
    return []


def proxy_problems(read: RateLimitSettings) -> dict[str, str]:
    """Return what is wrong with TRUSTED_PROXIES: by entry, what to write."""
    return problems_of(one for one in read.trusted_proxies if one != UNIX)


def header_problems(read: RateLimitSettings) -> dict[str, str]:
    """Return what is wrong with the settings that name a header: by setting, what to write."""
    found = {}
    for setting in ("CLIENT_IP_HEADER", "API_KEY_HEADER"):
        name = getattr(read, setting.lower())
        if not _HEADER.fullmatch(name) or name.upper().startswith("HTTP-"):
            parts = name.upper().removeprefix("HTTP_").replace("_", "-")
            cure = parts.title() if _HEADER.fullmatch(parts) else "X-Name"
            found[setting] = f'Write it as clients send it: "{cure}".'
    return found


def is_async(function: Any) -> bool:
    """Tell whether what a site has given for a function has to be awaited."""
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def chosen_by_client(by: Any) -> bool:
    """Tell whether a client can be another one at will: by a header or an unproven key, or by its method alone.

    A key beside the address is no better: who changes it is new each time.
    """
    parts = set(_flat(by))
    is_free = any(isinstance(part, str) and (part == "api_key" or part.startswith("header:")) for part in parts)
    return is_free or (parts <= {"method", "endpoint"} and "method" in parts)


def counts_everybody(by: Any) -> bool:
    """Tell whether nobody gets around it: neither by being another one nor, as guests do, by being nobody."""
    return not chosen_by_client(by) and "user" not in _flat(by)


def client_ip(request: HttpRequest) -> str:
    """Return the network that ``request`` comes from, as text, by TRUSTED_PROXIES and the prefixes of the settings.

    Where nobody can tell, that is ``unknown``.
    """
    return _reader().seen(request.META).client


def client_address(request: HttpRequest) -> Address | None:
    """Return the address that ``request`` comes from, whole, for lists and bans; None where nobody can tell."""
    return _reader().seen(request.META).address


class Seen(NamedTuple):
    """Where a request comes from."""

    address: Address | None
    client: str
    """The network of it that counts as one client."""


NOBODY = Seen(None, UNKNOWN)


class Reader:
    """Reads clients off requests as one version of the settings says."""

    def __init__(self, read: RateLimitSettings) -> None:
        """Read the networks; one that cannot be used is left out, for the checks to tell of."""
        bad = proxy_problems(read)
        networks = [one for one in read.trusted_proxies if one != UNIX and one not in bad]
        self.settings = read
        self.trusted: Networks[bool] = Networks(networks)
        self.trusts_unix = UNIX in read.trusted_proxies
        self.header = _meta(read.client_ip_header)
        self.key_header = _meta(read.api_key_header)
        self.tenant = lru_cache(maxsize=1)(lambda: _kind("tenant", import_string(read.tenant)))
        self._direct = lru_cache(maxsize=_REMEMBERED)(self._of_peer)
        self._claimed = lru_cache(maxsize=_REMEMBERED)(self._behind)

    def seen(self, meta: dict[str, Any]) -> Seen:
        """Return where a request with these headers and this peer comes from."""
        peer = meta.get("REMOTE_ADDR") or ""
        if len(peer) > _LONGEST_REMEMBERED:
            return NOBODY
        return self._direct(peer) or self._behind_proxy(peer, meta.get(self.header) or "")

    def _behind_proxy(self, peer: str, value: str) -> Seen:
        # What is long is not kept: a client chooses it.
        return (self._claimed if len(value) <= _LONGEST_REMEMBERED else self._behind)(peer, value)

    def _of_peer(self, peer: str) -> Seen | None:
        """Return what a peer is by itself; None for one whose header counts."""
        address = parse_address(peer)
        if address is None:
            return None if self.trusts_unix and _is_unix(peer) else NOBODY
        return None if address in self.trusted else self._seen(address)

    def _behind(self, peer: str, value: str) -> Seen:
        header = self.settings.client_ip_header
        address = claimed_client(header, value, self.trusted) if value else None
        address = address or parse_address(peer)
        return self._seen(address) if address else NOBODY

    def _seen(self, address: Address) -> Seen:
        return Seen(address, client_network(address, self.settings.ipv4_prefix, self.settings.ipv6_prefix))


_last: Reader | None = None


def _reader() -> Reader:
    global _last
    read = settings()
    last = _last
    # After a change there is another object.
    if last is None or last.settings is not read:
        _last = last = Reader(read)
    return last


def _by_ip(request: HttpRequest) -> str:
    return f"ip:{_reader().seen(request.META).client}"


def _by_user(request: HttpRequest) -> str | None:
    return _user(getattr(request, "user", None))


async def _aby_user(request: HttpRequest) -> str | None:
    user = getattr(request, "user", None)
    # Evaluating it would ask the database here; one that a view or a test has set is taken as it is.
    if user is None or isinstance(user, LazyObject):
        if not hasattr(request, "auser"):
            return await sync_to_async(_user)(user) if user is not None else None
        user = await request.auser()
    return _user(user)


def _user(user: Any) -> str | None:
    if user is None or not getattr(user, "is_authenticated", False) or getattr(user, "pk", None) is None:
        return None
    return f"user:{keys.safe(str(user.pk))}"


def _by_session(request: HttpRequest) -> str | None:
    session = getattr(request, "session", None)
    return _session(session) if session is not None and session.session_key and session.keys() else None


async def _aby_session(request: HttpRequest) -> str | None:
    session = getattr(request, "session", None)
    return _session(session) if session is not None and session.session_key and await session.akeys() else None


def _session(session: Any) -> str | None:
    # Loading forgets a key that the store does not know; a made-up one has no content in any store.
    return f"session:{keys.hashed(session.session_key)}" if session.session_key else None


def _by_api_key(request: HttpRequest) -> str | None:
    header = _reader().key_header
    value = str(request.META.get(header) or "").strip()
    scheme, _, credential = value.partition(" ")
    if scheme.lower() in _SCHEMES:
        value = credential.strip()
    elif credential and header == "HTTP_AUTHORIZATION":
        return None  # a password, say
    return f"key:{keys.hashed(value)}" if value else None


def _by_endpoint(request: HttpRequest) -> str:
    match = getattr(request, "resolver_match", None)
    if match is None:
        return f"endpoint:{NOWHERE}"
    # A page in ten languages is one endpoint, and its route may be translated.
    if match.url_name:
        return f"endpoint:{keys.safe(match.view_name)}"
    route = (match.route or "").removeprefix(f"{get_language()}/")
    return f"endpoint:{keys.join((match.view_name, route))}"


def _by_method(request: HttpRequest) -> str:
    return f"method:{request.method if request.method in METHODS else 'other'}"


def _by_tenant(request: HttpRequest) -> str | None:
    return _reader().tenant().sync(request) if settings().tenant else None


async def _aby_tenant(request: HttpRequest) -> str | None:
    return await _reader().tenant().aasync(request) if settings().tenant else None


def _by_header(name: str) -> Identity:
    key, begun = _meta(name), f"header:{name.lower()}:"
    kept = keys.hashed if _SECRET.search(name) else keys.safe

    def sync(request: HttpRequest) -> str | None:
        value = str(request.META.get(key) or "").strip()
        return f"{begun}{kept(value)}" if value else None

    return _steady(sync)


def _kind(kind: str, function: Callable[[HttpRequest], Any]) -> Identity:
    """Return what tells the client by a function of the site's own, plain or async."""
    awaited = is_async(function)
    plain = async_to_sync(function) if awaited else function
    # One that is plain runs beside the loop, for it may ask a database.
    asked = function if awaited else sync_to_async(function)

    def sync(request: HttpRequest) -> str | None:
        return _told(kind, plain(request))

    async def aasync(request: HttpRequest) -> str | None:
        return _told(kind, await asked(request))

    return Identity(sync, aasync)


def _told(kind: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, int)):
        raise TypeError(f"{type(value).__name__} names no client; return a str, an int or None")
    return f"{kind}:{keys.safe(str(value))}"


def _steady(sync: Sync) -> Identity:
    """Return the identity that nothing has to be awaited for."""

    async def aasync(request: HttpRequest) -> str | None:
        return sync(request)

    return Identity(sync, aasync)


def _or_ip(identity: Identity, name: str, *, always: bool) -> Identity:
    """Return ``identity`` with the address where it fails, and, if ``always``, where it tells nothing."""

    def sync(request: HttpRequest) -> str | None:
        try:
            client = identity.sync(request)
        except Exception as error:
            client = _failed(name, error, request)
        return _by_ip(request) if client is None and always else client

    async def aasync(request: HttpRequest) -> str | None:
        try:
            client = await identity.aasync(request)
        except Exception as error:
            client = _failed(name, error, request)
        return _by_ip(request) if client is None and always else client

    return Identity(sync, aasync)


def _joined(parts: tuple[Identity, ...]) -> Identity:
    def sync(request: HttpRequest) -> str | None:
        found = [part.sync(request) for part in parts]
        return None if None in found else keys.join([one for one in found if one is not None])

    async def aasync(request: HttpRequest) -> str | None:
        found = [await part.aasync(request) for part in parts]
        return None if None in found else keys.join([one for one in found if one is not None])

    return Identity(sync, aasync)


_NAMED: dict[str, Identity] = {
    "ip": _steady(_by_ip),
    "user": _or_ip(Identity(_by_user, _aby_user), "user", always=False),
    "user_or_ip": _or_ip(Identity(_by_user, _aby_user), "user", always=True),
    "session": _or_ip(Identity(_by_session, _aby_session), "session", always=True),
    "api_key": _or_ip(_steady(_by_api_key), "api_key", always=True),
    "tenant": _or_ip(Identity(_by_tenant, _aby_tenant), "tenant", always=True),
    "endpoint": _steady(_by_endpoint),
    "method": _steady(_by_method),
}
NAMES = (*_NAMED, "header:<Name>")
"""What ``by`` may name."""


def _compile(by: Any) -> Identity:
    if isinstance(by, str):
        return _compile_name(by)
    if isinstance(by, (tuple, list)) and by:
        parts = tuple(map(compiled, by))
        return parts[0] if len(parts) == 1 else _joined(parts)
    if callable(by):
        name = f"{getattr(by, '__module__', '')}.{getattr(by, '__qualname__', type(by).__name__)}"
        return _or_ip(_kind("own", by), name, always=False)
    raise BadPolicy(f"by is {by!r}. It has to be a name, a callable of the request, or a tuple of these.")


def _compile_name(by: str) -> Identity:
    if by in _NAMED:
        return _NAMED[by]
    if by.startswith("header:"):
        name = by.removeprefix("header:")
        if not _HEADER.fullmatch(name):
            raise BadPolicy(f'by is {by!r}, which names no header. Write "header:X-Name", without underscores.')
        return _or_ip(_by_header(name), by, always=True)
    close = difflib.get_close_matches(by.lower(), NAMES, 1)
    hint = f'Did you mean "{close[0]}"?' if close else f"Write one of {', '.join(NAMES)}, or a callable."
    raise BadPolicy(f"by is {by!r}, which names nobody. {hint}")


_compiled = lru_cache(maxsize=1024)(_compile)
_complained: set[str] = set()


def _failed(name: str, error: Exception, request: HttpRequest) -> str:
    if name not in _complained:
        _complained.add(name)
        # Not what it says: that may hold what identifies somebody.
        message = "noa_perf.ratelimit: %s could not tell who is counted (%s); it is the address then. Logged once."
        logger.error(message, name, type(error).__name__)
    return _by_ip(request)


def _flat(by: Any) -> Iterator[Any]:
    if isinstance(by, (tuple, list)):
        for part in by:
            yield from _flat(part)
    else:
        yield by if isinstance(by, str) else "own"


def _meta(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"


def _is_unix(peer: str) -> bool:
    return not peer or peer.startswith("unix:")
