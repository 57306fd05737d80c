"""Abuse rules: what nobody does who means well, how often is too often, and how long that bans."""

from __future__ import annotations

import fnmatch
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

from django.utils.module_loading import import_string

from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.identity import is_async
from noa_perf.ratelimit.limits import Limit
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.rates import MAX_PERIOD, UNITS, Rate, duration

Kind = Literal["fail2ban", "allow2ban"]
Predicate = Callable[..., Any]

WHO = ("ip", "user", "user_or_ip", "api_key")
"""Who can be known again before anything is asked of a database."""
FOREVER = 10 * 365 * UNITS["d"]
"""Microseconds that a ban lasts at most."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,57}")
_CHARACTERS = re.compile(r"[*?\[]")
DURATIONS = ("findtime", "bantime", "max_bantime", "memory")
"""Keys that are written as ``"10m"`` or in seconds."""
_SETS = {"methods": str, "routes": str, "statuses": int}


@dataclass(frozen=True, kw_only=True)
class AbuseRule:
    """Bans who does something too often. What is given of statuses, paths, routes, methods and predicate all holds.

    Times are microseconds.
    """

    name: str
    """Of letters, digits, ``_``, ``.`` and ``-``: a policy of its own counts the matches."""
    kind: Kind = "allow2ban"
    """``allow2ban`` lets what matches pass until it is too much; ``fail2ban`` refuses it from the first time on."""
    statuses: frozenset[int] = frozenset()
    """Of the response: 404, 401 …"""
    paths: tuple[str, ...] = ()
    """Beginnings of paths (``/wp-admin``), or patterns of whole ones (``*.php``)."""
    routes: frozenset[str] = frozenset()
    """Names of routes, with their namespaces."""
    methods: frozenset[str] = frozenset()
    """Methods of HTTP."""
    login_failed: bool = False
    """Whether it is about logins that fail, wherever they are tried; then it is about nothing else."""
    predicate: Predicate | None = None
    """A callable, or its dotted path, of the request, or of the request and the response."""
    maxretry: int = 5
    """The match that bans."""
    findtime: int = 10 * UNITS["m"]
    """Within which the matches have to lie."""
    bantime: int = UNITS["h"]
    """How long the first ban lasts."""
    factor: float = 2.0
    """How many times as long each further one lasts."""
    max_bantime: int = 7 * UNITS["d"]
    """How long one lasts at most."""
    memory: int = 30 * UNITS["d"]
    """How long after its end a ban still makes the next one longer."""
    by: str = "ip"
    """Who is banned: ``ip``, ``user``, ``user_or_ip`` or ``api_key``. A user is known before the view only where the
    middleware stands below the one that tells who it is."""
    shadow: bool = False
    """Whether it only counts whom it would ban."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for key, fits, cure in self._demands():
            if not fits:
                raise BadPolicy(f'The abuse rule {self.name!r}: "{key}" is {getattr(self, key)!r}. {cure}')
        matches = self.statuses or self.paths or self.routes or self.methods or self.predicate
        if not matches and not self.login_failed:
            raise BadPolicy(
                f"The abuse rule {self.name!r} says nothing of what it is about. "
                'Give it "statuses", "paths", "routes", "methods", "predicate", or "login_failed": True.'
            )
        if matches and self.login_failed:
            raise BadPolicy(
                f'The abuse rule {self.name!r}: "login_failed" goes with no other condition. Write two rules.'
            )
        if self.kind == "fail2ban" and (self.needs_response or self.login_failed):
            raise BadPolicy(
                f'The abuse rule {self.name!r}: "kind" is "fail2ban", which refuses before there is a response to look '
                'at. Write "allow2ban".'
            )

    def _demands(self) -> Iterable[tuple[str, bool, str]]:
        yield "name", bool(_NAME.fullmatch(str(self.name))), "Write a letter, then up to 57 letters, digits, _, . or -."
        yield "kind", self.kind in get_args(Kind), 'It has to be "fail2ban" or "allow2ban".'
        yield "maxretry", _is_whole(self.maxretry) and self.maxretry >= 1, "It has to be a whole number of at least 1."
        yield "factor", _is_number(self.factor) and self.factor >= 1, "It has to be a number of at least 1."
        yield "findtime", self.findtime <= MAX_PERIOD, "It has to be 366 days at most."
        yield "bantime", self.bantime <= FOREVER, "It has to be ten years at most."
        yield "max_bantime", self.bantime <= self.max_bantime <= FOREVER, "It has to be from bantime to ten years."
        yield "memory", self.memory <= FOREVER, "It has to be ten years at most."
        yield "by", self.by in WHO, f"A ban needs somebody who can be known again: {', '.join(WHO)}."
        yield "shadow", isinstance(self.shadow, bool), "It has to be True or False."
        yield "login_failed", isinstance(self.login_failed, bool), "It has to be True or False."
        yield "predicate", self.predicate is None or callable(self.predicate), "It has to be a callable or its path."
        yield "predicate", not is_async(self.predicate), "It has to be a plain function: what is async is always true."

    @classmethod
    def parse(cls, name: str, written: Any) -> AbuseRule:
        """Return the rule that a dict of ``NOA_PERF["RATELIMIT"]["ABUSE"]`` means; raises ``BadPolicy``."""
        if isinstance(written, cls):
            return written
        if not isinstance(written, Mapping):
            raise BadPolicy(f"The abuse rule {name!r} is {written!r}. Write a dict: {{'paths': ['/wp-admin'], ...}}.")
        unknown = sorted(set(map(str, written)) - _KEYS)
        if unknown:
            known = ", ".join(sorted(_KEYS))
            raise BadPolicy(f"The abuse rule {name!r}: {unknown[0]!r} is none of its keys. Those are {known}.")
        given = {key: _read(name, key, value) for key, value in written.items()}
        # A ban that is written to be longer than the longest of the default is meant so.
        given.setdefault("max_bantime", max(cls.max_bantime, given.get("bantime", 0)))
        return cls(name=name, **given)

    @cached_property
    def needs_response(self) -> bool:
        """Whether it can only be told afterwards."""
        return bool(self.statuses) or self._asks_both

    @cached_property
    def policy(self) -> Policy | None:
        """What counts the matches: it admits those that do not ban. None where the first one does."""
        if self.maxretry == 1:
            return None
        limit = Limit(rate=Rate(self.maxretry - 1, self.findtime), algorithm="sliding_log")
        return Policy(name=f"abuse.{self.name}", limits=(limit,), by=self.by, owner="ABUSE")

    def matches(self, request: Any, route: Callable[[], str], response: Any = None) -> bool:
        """Tell whether a request is what the rule is about; ``route`` names it where that has to be known.

        Raises what the predicate raises.
        """
        return self.fits(request, route, response) and self.judges(request, response)

    def fits(self, request: Any, route: Callable[[], str], response: Any = None) -> bool:
        """Tell whether all holds but for the predicate."""
        return (
            (not self.methods or request.method in self.methods)
            and (not self.statuses or (response is not None and response.status_code in self.statuses))
            and (self._path is None or self._path.match(request.path_info) is not None)
            and (not self.routes or route() in self.routes)
        )

    def judges(self, request: Any, response: Any = None) -> bool:
        """Tell what the predicate says, True where there is none; it may ask a database."""
        if self.predicate is None:
            return True
        return bool(self.predicate(*((request, response) if self._asks_both else (request,))))

    @cached_property
    def _path(self) -> re.Pattern[str] | None:
        if not self.paths:
            return None
        return re.compile("|".join(f"(?:{_regex(path)})" for path in self.paths))

    @cached_property
    def _asks_both(self) -> bool:
        return self.predicate is not None and _takes_response(self.predicate)


_KEYS = {one.name for one in fields(AbuseRule)} - {"name"}


def _read(name: str, key: str, value: Any) -> Any:
    try:
        if key in DURATIONS:
            return duration(value)
        if key == "paths":
            return tuple(_listed(value, str))
        if key in _SETS:
            found = _listed(value, _SETS[key])
            return frozenset(one.upper() for one in found) if key == "methods" else frozenset(found)
        return import_string(value) if key == "predicate" and isinstance(value, str) else value
    except (BadPolicy, ImportError) as error:
        raise BadPolicy(f'The abuse rule {name!r}: "{key}": {error}') from error


def _listed(value: Any, kind: type) -> list[Any]:
    found = [value] if isinstance(value, kind) else value
    fits = isinstance(found, (list, tuple, set, frozenset)) and all(isinstance(one, kind) and one for one in found)
    if not fits or not found:
        raise BadPolicy(f"{value!r} is no list of {'numbers' if kind is int else 'names'}.")
    return list(found)


def _regex(path: str) -> str:
    return fnmatch.translate(path) if _CHARACTERS.search(path) else re.escape(path)


def _takes_response(predicate: Predicate) -> bool:
    try:
        parameters = inspect.signature(predicate).parameters.values()
    except (TypeError, ValueError):
        return False
    places = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return sum(one.default is one.empty for one in places) >= 2


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
