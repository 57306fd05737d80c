"""A policy: which requests it is about, who is counted, which limits hold, and what happens where one is reached."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.identity import compiled
from noa_perf.ratelimit.limits import Limit
from noa_perf.ratelimit.rates import is_whole

OnFailure = Literal["open", "closed"]
Cost = int | Callable[[Any], Any]
By = str | Callable[[Any], Any] | tuple[Any, ...]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
MAX_COST = 10**9
"""Units that one request may cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests a policy of the settings is about: those of which all that is given here holds."""

    routes: frozenset[str] = frozenset()
    """Names of routes, with their namespaces: ``shop:checkout``."""
    namespaces: frozenset[str] = frozenset()
    """Namespaces; what lies in one of them is meant too."""
    views: frozenset[str] = frozenset()
    """Dotted paths of views."""
    methods: frozenset[str] = frozenset()
    """Methods of HTTP; ``GET`` means ``HEAD`` too."""
    groups: frozenset[str] = frozenset()
    """Names of groups of which the user is a member of at least one."""
    except_groups: frozenset[str] = frozenset()
    """Names of groups of which the user is a member of none."""

    @property
    def anywhere(self) -> bool:
        """Whether it is about requests that lead to no view too."""
        return not (self.routes or self.namespaces or self.views)


ANYWHERE = Match()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """Stands behind the middleware, the decorator and whatever else asks. Never changes; is equal to itself alone."""

    name: str
    """Of letters, digits, ``_``, ``.`` and ``-``: it is part of keys, labels and headers."""
    limits: tuple[Limit, ...]
    """All of them have to agree, or none is charged."""
    by: By = "user_or_ip"
    """Who is counted: a name, a callable of the request, or a tuple of these, which are counted together."""
    cost: Cost = 1
    """Units of a request, or a callable of the request that tells."""
    shadow: bool = False
    """Whether it only counts what it would deny."""
    on_failure: OnFailure = "open"
    """What happens where the storage is away: requests pass, or none does (503)."""
    on_denial: Literal["reject", "mark"] = "reject"
    """``mark`` lets the view decide, by ``request.rate_limit.allowed``."""
    match: Match = ANYWHERE
    """Which requests the middleware asks it about."""
    owner: str = field(default="settings", compare=False)
    """Where it was written: for messages."""
    parts: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """What each limit is called in keys."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        where = f"The rate limit policy {self.name!r}"
        if not _NAME.fullmatch(str(self.name)):
            raise BadPolicy(f"{where} has a name that cannot be used. Write a letter, then letters, digits, _, . or -.")
        if not self.limits:
            raise BadPolicy(f'{where} has no limit. Give it one: "limits": "100/m".')
        if len({limit.tag for limit in self.limits}) != len(self.limits):
            raise BadPolicy(f"{where} names a limit twice. Leave one out.")
        if self.on_failure not in get_args(OnFailure):
            raise BadPolicy(f'{where}: on_failure is {self.on_failure!r}. It has to be "open" or "closed".')
        if self.on_denial not in ("reject", "mark"):
            raise BadPolicy(f'{where}: on_denial is {self.on_denial!r}. It has to be "reject" or "mark".')
        if not callable(self.cost) and not is_cost(self.cost):
            raise BadPolicy(f"{where}: cost is {self.cost!r}. It has to be from 0 to {MAX_COST}, or a callable.")
        compiled(self.by)  # raises what is wrong with it
        if not isinstance(self.shadow, bool):
            raise BadPolicy(f"{where}: shadow is {self.shadow!r}. It has to be True or False.")
        object.__setattr__(self, "parts", tuple(f"{self.name}:{limit.tag}" for limit in self.limits))

    @classmethod
    def parse(cls, name: str, written: Any, *, owner: str = "settings", **more: Any) -> Policy:
        """Return the policy that ``written`` means: a rate, a list of them, or a dict of the fields.

        A dict may have the fields of :class:`~noa_perf.ratelimit.limits.Limit` too, for all its limits, and those of
        :class:`Match`. Raises :class:`~noa_perf.ratelimit.exceptions.BadPolicy`.
        """
        if isinstance(written, cls):
            return written
        given = dict(written) if isinstance(written, Mapping) else {"limits": written}
        given |= more
        try:
            limits = given.pop("limits", None)
            defaults = {key: given.pop(key) for key in _OF_LIMITS if key in given}
            match = {key: _names(key, given.pop(key)) for key in _OF_MATCH if key in given}
            unknown = sorted(set(map(str, given)) - _OWN)
            if unknown:
                known = ", ".join(sorted(_OWN | _OF_LIMITS | _OF_MATCH | {"limits"}))
                raise BadPolicy(f"{unknown[0]!r} is none of its keys. Those are {known}.")
            return cls(
                name=name,
                limits=tuple(Limit.parse(one, **defaults) for one in _listed(limits)),
                match=Match(**match),
                owner=owner,
                **({**given, "by": _by(given["by"])} if "by" in given else given),
            )
        except BadPolicy as error:
            text = str(error)
            raise error if repr(name) in text else BadPolicy(f"The rate limit policy {name!r}: {text}") from error

    def label(self, limit: Limit) -> str:
        """Return what the headers call one: the policy's name, and its rate too where there are several."""
        if len(self.limits) == 1:
            return self.name
        is_alone = [one.rate for one in self.limits].count(limit.rate) == 1
        return f"{self.name}-{str(limit.rate).replace('/', '-') if is_alone else limit.tag}"


_OWN = {one.name for one in fields(Policy)} - {"name", "limits", "match", "owner", "parts"}
_OF_LIMITS = {"algorithm", "burst", "guarantee"}
_OF_MATCH = {one.name for one in fields(Match)}


def _listed(limits: Any) -> list[Any]:
    if limits is None:
        return []
    is_pair = isinstance(limits, tuple) and len(limits) == 2 and isinstance(limits[0], int)
    return list(limits) if isinstance(limits, (list, tuple)) and not is_pair else [limits]


def _names(key: str, written: Any) -> frozenset[str]:
    names = [written] if isinstance(written, str) else written
    if not isinstance(names, (list, tuple, set, frozenset)) or not all(isinstance(one, str) for one in names):
        raise BadPolicy(f"{key} is {written!r}. It has to be a list of names.")
    return frozenset(name.upper() for name in names) if key == "methods" else frozenset(names)


def _by(written: Any) -> By:
    return tuple(map(_by, written)) if isinstance(written, (list, tuple)) else written


def is_cost(value: Any) -> bool:
    """Tell whether a request may cost so much."""
    return is_whole(value) and 0 <= value <= MAX_COST
