"""Which Redis is meant: LOCATION and OPTIONS, as Django and django-redis write them, as one hashable description."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from noa_perf.core.conf import Problem
from noa_perf.core.exceptions import NoaPerfError

Mode = Literal["standalone", "sentinel", "cluster"]

TIMEOUT = 0.25
"""Seconds that connecting, and waiting for a reply, may take where the settings say nothing."""
WAIT = 0.25
"""Seconds to wait for a free connection where the settings say nothing."""
TIMEOUTS = ("socket_connect_timeout", "socket_timeout")
"""What redis-py calls those two."""
MAX_CONNECTIONS = 100
"""Connections that a process may hold to one server where the settings say nothing."""

SCHEMES: Mapping[str, tuple[Mode, bool]] = {
    "redis": ("standalone", False),
    "rediss": ("standalone", True),
    "valkey": ("standalone", False),
    "valkeys": ("standalone", True),
    "unix": ("standalone", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
"""Each scheme of a LOCATION: what it leads to, and whether TLS is spoken."""

_NAMED = {
    "PASSWORD": "password",
    "USERNAME": "username",
    "DB": "db",
    "SOCKET_TIMEOUT": "socket_timeout",
    "SOCKET_CONNECT_TIMEOUT": "socket_connect_timeout",
}
_SPECIAL = {
    "CONNECTION_POOL_KWARGS",
    "CONNECTION_POOL_CLASS",
    "CONNECTION_FACTORY",
    "CLIENT_CLASS",
    "SENTINELS",
    "SENTINEL_KWARGS",
}
_OF_THE_CACHE = {
    "SERIALIZER",
    "COMPRESSOR",
    "COMPRESSOR_KWARGS",
    "PICKLE_VERSION",
    "IGNORE_EXCEPTIONS",
    "LOG_IGNORED_EXCEPTIONS",
    "CLOSE_CONNECTION",
    "REVERSE_KEY_FUNCTION",
    "MAX_ENTRIES",
    "CULL_FREQUENCY",
}
_IGNORED = {
    "parser_class": "redis-py chooses the parser itself: hiredis where it is installed.",
    "decode_responses": "Values are bytes.",
    "retry_on_timeout": "A call that ran into its timeout is not made again: it may have been done.",
}
_NUMBERS = {
    "db": int,
    "protocol": int,
    "max_connections": int,
    "health_check_interval": int,
    "socket_read_size": int,
    "socket_timeout": float,
    "socket_connect_timeout": float,
    "timeout": float,
}
_MAY_BE_NONE = {"socket_timeout", "socket_connect_timeout", "timeout"}


class RedisSettingsError(NoaPerfError):
    """LOCATION or OPTIONS cannot be used; the message names each setting, and the cure."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Say all that is wrong."""
        self.problems = tuple(problems)
        super().__init__(" ".join(f"{one.message} {one.hint}" for one in problems))


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return frozenset((name, _frozen(one)) for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(one) for one in value)
    if isinstance(value, AbstractSet):
        return frozenset(_frozen(one) for one in value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return type(value), value  # True equals 1


class Options(Mapping[str, Any]):
    """Keyword arguments for redis-py: equal and hashable by what they hold, and silent about it in ``repr``."""

    __slots__ = ("_key", "_values")

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        """Keep a copy of ``values``."""
        self._values = dict(values or {})
        self._key = _frozen(self._values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"<{', '.join(self._values)}>"  # a value may be a password


NONE = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where one server listens."""

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    """Of a Unix socket; then host and port mean nothing."""
    tls: bool = False
    options: Options = NONE
    """What its URL says beyond that: credentials, database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTarget:
    """A Redis that a site uses; equal descriptions share their connections."""

    mode: Mode
    addresses: tuple[Address, ...]
    """Standalone: the primary, then replicas to read from. Otherwise the Sentinels, or nodes of the Cluster."""
    service: str = ""
    """What the Sentinels call the primary."""
    tls: bool = False
    """Whether the servers that hold the data speak TLS."""
    replicas: bool = False
    """Whether the settings ask for reads from replicas."""
    options: Options = NONE
    """Keyword arguments for each connection."""
    sentinel_options: Options = NONE
    """The same for connections to the Sentinels."""
    pool_class: str = ""
    """Dotted path of a pool to use instead of ours; standalone only."""
    max_connections: int = MAX_CONNECTIONS
    wait: float | None = WAIT
    """Seconds to wait for a free connection; None waits for ever."""

    @property
    def longest_call(self) -> float:
        """Seconds that one command may take at worst; 0 where the settings set no limit.

        That is: to wait for a free connection, to connect, and to wait for the reply. Some things come on top of it.
        What is large, or many commands together, gets more for its reply (``PART`` and ``MANY`` of the short way). A
        read on a connection that was closed meanwhile is made once more. A connection's first command waits for the
        replies to its handshake too. Sentinels are asked one after the other where a connection is made, each within
        timeouts of its own. A Cluster whose nodes do not answer is asked for them, which ends after
        :attr:`longest_exchange` and one node more.
        """
        return _total([self.wait, *(self._longest(name) for name in TIMEOUTS)])

    @property
    def longest_exchange(self) -> float:
        """Seconds to connect and to wait for the reply; 0 where the settings set no limit."""
        return _total([self._longest(name) for name in TIMEOUTS])

    def within(self, seconds: float) -> RedisTarget:
        """Return the same Redis, for whose every wait at most ``seconds`` are allowed: itself, where that is so."""
        wait = seconds if self.wait is None else min(self.wait, seconds)
        addresses = tuple(replace(one, options=_lowered(one.options, seconds)) for one in self.addresses)
        options, asking = (_lowered(one, seconds, TIMEOUT) for one in (self.options, self.sentinel_options))
        lowered = replace(self, options=options, sentinel_options=asking, addresses=addresses, wait=wait)
        return self if lowered == self else lowered

    def waiting(self, seconds: float) -> RedisTarget:
        """Return the same Redis, whose every wait may take ``seconds`` where the settings say nothing, never more."""
        options, asking = (
            Options({**dict.fromkeys(TIMEOUTS, seconds), **said}) for said in (self.options, self.sentinel_options)
        )
        wait = seconds if self.wait == WAIT else self.wait
        return replace(self, options=options, sentinel_options=asking, wait=wait).within(seconds)

    def _longest(self, name: str) -> float | None:
        """Return the longest that any of the servers is waited for; None where that is for ever."""
        limits = [one.options.get(name, self.options.get(name, TIMEOUT)) for one in self.addresses]
        return None if None in limits else float(max(limits))

    def __str__(self) -> str:
        places = ",".join(one.path or f"{one.host}:{one.port}" for one in self.addresses)
        return f"{self.mode} {places}" + (f" {self.service}" if self.service else "")


def parse(location: Any, options: Mapping[str, Any] | None = None, *, setting: str = "CACHES[...]") -> RedisTarget:
    """Return the Redis that LOCATION and OPTIONS mean; raise :class:`RedisSettingsError` with all that is wrong.

    ``setting`` is how error messages name the entry: ``CACHES["default"]``.
    """
    reader = _Reader(setting)
    target = reader.read(location, options or {})
    if reader.wrong or target is None:
        raise RedisSettingsError(reader.wrong)
    return target


def problems(location: Any, options: Mapping[str, Any] | None = None, *, setting: str = "CACHES[...]") -> list[Problem]:
    """Return what is wrong, and what is ignored (kind ``unknown``): a target can be had all the same of the latter."""
    reader = _Reader(setting)
    reader.read(location, options or {})
    return [*reader.wrong, *reader.ignored]


def _total(limits: list[float | None]) -> float:
    """Return the sum; 0 where one of them is no limit."""
    given = [limit for limit in limits if limit is not None]
    return float(sum(given)) if len(given) == len(limits) else 0.0


def _lowered(options: Options, seconds: float, default: float = 0.0) -> Options:
    """Return them with no timeout beyond ``seconds``; ``default`` is what holds where they say nothing."""
    given = {name: options.get(name, default) for name in TIMEOUTS}
    beyond = {name: seconds for name, value in given.items() if value is None or value > seconds}
    return Options({**options, **beyond}) if beyond else options


class _Reader:
    """Reads one entry of the settings and collects what is wrong with it."""

    def __init__(self, setting: str) -> None:
        self._setting = setting
        self.wrong: list[Problem] = []
        self.ignored: list[Problem] = []

    def read(self, location: Any, given: Any) -> RedisTarget | None:
        options = given if isinstance(given, Mapping) else {}
        if options is not given:
            self._complain('["OPTIONS"]', f"is {type(given).__name__}", "Give it a dict.", "type")
        urls = self._urls(location)
        own = self._own(options)
        if not urls:
            return None
        scheme = urls[0].partition("://")[0]
        if scheme.endswith("+sentinel"):
            return self._by_own_scheme("sentinel", urls, own, options)
        if scheme.endswith("+cluster"):
            return self._by_own_scheme("cluster", urls, own, options)
        if "SENTINELS" in options or _names_sentinel(options):
            return self._as_django_redis(urls, own, options)
        addresses = tuple(address for url in urls if (address := self._address(url)) is not None)
        return self._target("standalone", addresses, own, options, tls=False, replicas=len(urls) > 1)

    def _urls(self, location: Any) -> list[str]:
        hint = "Write redis://host:6379/0, or a list of such URLs, the primary first."
        if isinstance(location, str):
            location = self._split(location)
        if not isinstance(location, (list, tuple)) or not all(isinstance(url, str) for url in location):
            self._complain('["LOCATION"]', "is neither a URL nor a list of URLs", hint, "type")
            return []
        urls = [url.strip() for url in location if url.strip()]
        if not urls:
            self._complain('["LOCATION"]', "is empty", hint)
        for url in urls:
            if url.partition("://")[0] not in SCHEMES or "://" not in url:
                told = f"holds a URL that begins with none of {', '.join(f'{name}://' for name in SCHEMES)}"
                self._complain('["LOCATION"]', told, hint)
                return []
        return urls

    @staticmethod
    def _split(location: str) -> list[str]:
        # In our own schemes a comma parts the servers of one URL; elsewhere it parts URLs.
        if "+" in location.partition("://")[0]:
            return [part for part in location.split(";") if part]
        return location.replace(";", ",").split(",")

    def _own(self, options: Mapping[Any, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in options.items():
            if name in _NAMED:
                self._take(found, _NAMED[name], value, _option(name))
            elif name == "CONNECTION_POOL_KWARGS":
                self._take_all(found, value)
            elif not isinstance(name, str) or (name.isupper() and name not in _SPECIAL):
                self._unknown(name)
            elif name.islower() and name != "pool_class":
                self._take(found, name, value, _option(name))
        return found

    def _take_all(self, found: dict[str, Any], values: Any) -> None:
        if not isinstance(values, Mapping):
            self._complain('["OPTIONS"]["CONNECTION_POOL_KWARGS"]', "is not a dict", "Give it a dict.", "type")
            return
        for name, value in values.items():
            self._take(found, name, value, f'{_option("CONNECTION_POOL_KWARGS")}["{name}"]')

    def _take(self, found: dict[str, Any], name: str, value: Any, where: str) -> None:
        if name in _IGNORED:
            self._ignore(where, _IGNORED[name])
            return
        wanted = _NUMBERS.get(name)
        if wanted is None or (value is None and name in _MAY_BE_NONE):
            found[name] = value
            return
        try:
            number = wanted(value)
            usable = not isinstance(value, bool) and number >= 0
        except (TypeError, ValueError):
            usable = False
        if usable:
            found[name] = number
        else:
            kind = "a whole number" if wanted is int else "a number of seconds"
            self._complain(where, f"is not {kind}", f"Give it {kind}, 0 or more.", "type")

    def _unknown(self, name: Any) -> None:
        if name in _OF_THE_CACHE:
            return
        if name == "PARSER_CLASS":
            self._ignore('["OPTIONS"]["PARSER_CLASS"]', _IGNORED["parser_class"])
            return
        close = difflib.get_close_matches(str(name), [*_NAMED, *_SPECIAL], 1)
        self._ignore(f'["OPTIONS"][{name!r}]', f'Did you mean "{close[0]}"?' if close else "Remove it.")

    def _by_own_scheme(
        self, mode: Mode, urls: list[str], own: dict[str, Any], options: Mapping[str, Any]
    ) -> RedisTarget | None:
        if len(urls) > 1:
            self._complain('["LOCATION"]', f"holds several {mode} URLs", "Write all servers in one, parted by commas.")
            return None
        scheme, _, rest = urls[0].partition("://")
        tls = SCHEMES[scheme][1]
        place, path, query = _parts(rest)
        credentials, _, hosts = place.rpartition("@")
        addresses = tuple(
            Address(host=host, port=port, tls=tls)
            for one in hosts.split(",")
            if (found := self._host(one, 26379 if mode == "sentinel" else 6379)) is not None
            for host, port in [found]
        )
        service, database = self._service(mode, path)
        for name, value in {**_credentials(credentials), **database, **query}.items():
            self._take(own, name, _converted(value), _in_url(name))
        return self._target(mode, addresses, own, options, tls=tls, service=service)

    def _service(self, mode: Mode, path: str) -> tuple[str, dict[str, str]]:
        service, _, database = path.partition("/")
        if mode == "cluster":
            if path not in {"", "0"}:
                self._complain('["LOCATION"]', "names a database, and a Cluster has only one", "Leave it out.")
            return "", {}
        if not service:
            hint = "Write redis+sentinel://host:26379,host:26379/service/0."
            self._complain('["LOCATION"]', "names no service for the Sentinels", hint)
        return unquote(service), {"db": database} if database else {}

    def _as_django_redis(self, urls: list[str], own: dict[str, Any], options: Mapping[str, Any]) -> RedisTarget | None:
        places = options.get("SENTINELS")
        if not isinstance(places, (list, tuple)) or not places:
            hint = 'Give it [("host", 26379), ...].'
            self._complain('["OPTIONS"]["SENTINELS"]', "names no Sentinel", hint)
            return None
        addresses = tuple(one for place in places if (one := self._sentinel(place)) is not None)
        first = self._address(urls[0])
        if first is None:
            return None
        if first.path:
            self._complain('["LOCATION"]', "is a Unix socket", "Write redis://service/0 beside SENTINELS.")
        kwargs = {name: value for name, value in first.options.items() if name != "is_master"}
        reads = len(urls) > 1 or "is_master" in first.options or _named(options, "CLIENT_CLASS", "SentinelClient")
        # A service's name is case-sensitive, and no host.
        service = _parts(urls[0].partition("://")[2])[0].rpartition("@")[2].partition(":")[0]
        return self._target(
            "sentinel", addresses, {**own, **kwargs}, options, tls=first.tls, service=unquote(service), replicas=reads
        )

    def _sentinel(self, place: Any) -> Address | None:
        try:
            host, port = place if isinstance(place, (list, tuple)) else ()
            return Address(host=str(host), port=int(port))
        except (TypeError, ValueError):
            hint = 'Give it [("host", 26379), ...].'
            self._complain('["OPTIONS"]["SENTINELS"]', "holds something else than (host, port)", hint, "type")
            return None

    def _address(self, url: str) -> Address | None:
        scheme, _, rest = url.partition("://")
        if "+" in scheme:
            self._complain('["LOCATION"]', "mixes schemes", "Write one Sentinel or Cluster URL alone.")
            return None
        place, path, query = _parts(rest)
        credentials, _, host = place.rpartition("@")
        options: dict[str, Any] = {}
        written = {**_credentials(credentials), **query}
        if scheme == "unix":
            for name, value in written.items():
                self._take(options, name, _converted(value), _in_url(name))
            return Address(path=f"/{unquote(path)}" if path else unquote(host), options=Options(options))
        if path and "db" not in written:
            written["db"] = path
        for name, value in written.items():
            self._take(options, name, _converted(value), _in_url(name))
        found = self._host(host, 6379)
        if found is None:
            return None
        return Address(host=found[0], port=found[1], tls=SCHEMES[scheme][1], options=Options(options))

    def _host(self, written: str, default: int) -> tuple[str, int] | None:
        host, colon, port = written.rpartition(":") if not written.endswith("]") else (written, "", "")
        if not colon:
            host, port = written, str(default)
        if not port.isdecimal() or not 0 < int(port) < 65536:
            self._complain('["LOCATION"]', "holds a port that is none", "Write host:6379.")
            return None
        return unquote(host.strip("[]")) or "localhost", int(port)

    def _target(
        self,
        mode: Mode,
        addresses: tuple[Address, ...],
        own: dict[str, Any],
        options: Mapping[str, Any],
        *,
        tls: bool,
        service: str = "",
        replicas: bool = False,
    ) -> RedisTarget:
        pool = _dotted(options.get("CONNECTION_POOL_CLASS") or options.get("pool_class") or "")
        if pool and mode != "standalone":
            self._ignore('["OPTIONS"]["CONNECTION_POOL_CLASS"]', f"A {mode} target has a pool of its own.")
            pool = ""
        if mode == "cluster" and own.pop("db", 0):
            self._complain('["OPTIONS"]["DB"]', "names a database, and a Cluster has only one", "Leave it out.")
        limit = own.pop("max_connections", None) or MAX_CONNECTIONS
        wait = own.pop("timeout", WAIT)
        return RedisTarget(
            mode=mode,
            addresses=addresses,
            service=service,
            tls=tls,
            replicas=bool(own.pop("replicas", replicas)),
            options=Options(own),
            sentinel_options=Options(self._sentinel_options(options)),
            pool_class=pool,
            max_connections=limit,
            wait=wait,
        )

    def _sentinel_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        found = options.get("SENTINEL_KWARGS") or {}
        if isinstance(found, Mapping):
            return found
        self._complain('["OPTIONS"]["SENTINEL_KWARGS"]', "is not a dict", "Give it a dict.", "type")
        return {}

    def _complain(
        self, where: str, what: str, hint: str, kind: Literal["section", "unknown", "type", "value"] = "value"
    ) -> None:
        problem = Problem(kind, f"{self._setting}{where} {what}.", hint)
        if problem not in self.wrong:
            self.wrong.append(problem)

    def _ignore(self, where: str, hint: str) -> None:
        self.ignored.append(Problem("unknown", f"{self._setting}{where} is ignored.", hint))


def _option(name: str) -> str:
    return f'["OPTIONS"]["{name}"]'


def _in_url(name: str) -> str:
    return f'["LOCATION"], its {name},'


def _parts(rest: str) -> tuple[str, str, dict[str, str]]:
    """Return what stands between ``://`` and the path, the path without its slash, and the query."""
    rest, _, query = rest.partition("?")
    # A password may hold a slash only if it is quoted.
    place, _, path = rest.partition("/")
    return place, path.rstrip("/"), dict(parse_qsl(query))


def _credentials(written: str) -> dict[str, str]:
    username, _, password = written.partition(":")
    found = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}


def _converted(value: str) -> Any:
    """Return a value of a URL's query as what it looks like; numbers by name are converted later."""
    words = {"true": True, "yes": True, "false": False, "no": False, "none": None}
    return words.get(value.lower(), value)


def _names_sentinel(options: Mapping[str, Any]) -> bool:
    return _named(options, "CLIENT_CLASS", "SentinelClient") or _named(
        options, "CONNECTION_FACTORY", "SentinelConnectionFactory"
    )


def _named(options: Mapping[str, Any], option: str, name: str) -> bool:
    return _dotted(options.get(option) or "").rpartition(".")[2] == name


def _dotted(named: Any) -> str:
    if isinstance(named, type):
        return f"{named.__module__}.{named.__qualname__}"
    return str(named)
