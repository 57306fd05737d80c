"""Typed, frozen sections of ``settings.NOA_PERF``, and the kill switch over them."""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from django.conf import settings
from django.core.signals import setting_changed

T = TypeVar("T")

SETTING = "NOA_PERF"
DISABLE_VARIABLE = "NOA_PERF_DISABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootSettings:
    """Keys of ``NOA_PERF`` that concern every app."""

    enabled: bool = True
    """Master switch. ``False`` puts nothing of noa_perf on the path of a request."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings, and what to do about it."""

    kind: Literal["section", "unknown", "type", "value"]
    message: str
    hint: str


class Shape(Generic[T]):
    """What a dict of settings may hold, as a frozen dataclass tells it.

    A key that cannot be used keeps its default and becomes a :class:`Problem` for the system checks: a slip in
    the settings costs that setting, never the site.
    """

    def __init__(self, cls: type[T], path: str, *, written: Callable[[str], str] = str.upper) -> None:
        """Take the fields of ``cls``, as ``written`` in the dict that people find at ``path``."""
        self.cls = cls
        self.path = path
        self._hints = typing.get_type_hints(cls)
        self._fields = {written(f.name): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]

    def problems_of(self, raw: Any) -> list[Problem]:
        """Return what is wrong with ``raw``."""
        if not isinstance(raw, Mapping):
            hint = f"Write {self.path} = {{...}} with the keys of the reference."
            return [Problem("section", f"{self.path} is {_kind(raw)}, not a dict.", hint)]
        found = (self._problem(key, value) for key, value in self._own_items(raw))
        return [problem for problem in found if problem is not None]

    def load(self, raw: Any) -> T:
        """Return the values of ``raw``, with the default of each that is missing or wrong."""
        usable = {}
        if isinstance(raw, Mapping):
            for key, value in self._own_items(raw):
                if self._problem(key, value) is None:
                    field = self._fields[key]
                    usable[field.name] = _coerced(value, self._hints[field.name])
        return self.cls(**usable)

    def _own_items(self, raw: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
        yield from raw.items()

    def _problem(self, key: Any, value: Any) -> Problem | None:
        field = self._fields.get(key)
        written = f"{self.path}[{key!r}]"
        if field is None:
            close = difflib.get_close_matches(str(key), self._fields, 1) or difflib.get_close_matches(
                str(key).upper(), self._fields, 1
            )
            known = ", ".join(sorted(self._fields))
            hint = f"Did you mean {close[0]!r}?" if close else f"Remove it. Known keys: {known}."
            return Problem("unknown", f"{written} is not a setting of noa_perf.", hint)
        hint_type = self._hints[field.name]
        if not _fits(value, hint_type):
            return Problem(
                "type",
                f"{written} is {_kind(value)}, not {_describe(hint_type)}.",
                f"Give it {_describe(hint_type)}; the default is {_default(field)!r}.",
            )
        least = field.metadata.get("min")
        most = field.metadata.get("max")
        if (least is not None and _lowest(value) < least) or (most is not None and _highest(value) > most):
            span = f"at least {least}" if most is None else f"between {least} and {most}"
            return Problem("value", f"{written} is {value!r}.", f"It has to be {span}.")
        return None


class Section(Shape[T]):
    """One section of ``NOA_PERF``, read once and again after ``setting_changed``."""

    registry: typing.ClassVar[dict[str, Section[Any]]] = {}

    def __init__(self, name: str, cls: type[T]) -> None:
        """Declare section ``name`` (empty for the root), shaped by the dataclass ``cls``."""
        super().__init__(cls, f'{SETTING}["{name}"]' if name else SETTING)
        self.name = name
        self._loaded: T | None = None
        Section.registry[name] = self
        setting_changed.connect(self._forget, dispatch_uid=f"noa_perf.conf.{name}")

    def __call__(self) -> T:
        """Return the section's values."""
        if self._loaded is None:
            self._loaded = self.load(_raw_section(self.name))
        return self._loaded

    def problems(self) -> list[Problem]:
        """Return what is wrong with the section as it stands in settings."""
        return self.problems_of(_raw_section(self.name))

    def _forget(self, *, setting: str, **kwargs: Any) -> None:
        if setting == SETTING:
            self._loaded = None

    def _own_items(self, raw: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
        # The root section's mapping holds the other sections too; known or not yet installed, a dict in
        # capitals below the root is another app's business.
        for key, value in raw.items():
            if not self.name and key not in self._fields and (key in Section.registry or key in SECTIONS):
                continue
            yield key, value


SECTIONS = ("OPTIMIZER", "CACHE", "CDN", "RATELIMIT", "POOL", "METRICS", "DASHBOARD")
"""Every section that ``NOA_PERF`` may hold; one whose app is not installed is left alone."""


def bounded(default: Any, *, least: float, most: float | None = None) -> Any:
    """Return a dataclass field with ``default`` whose numbers must lie from ``least`` to ``most``."""
    metadata = {"min": least, "max": most}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


root = Section("", RootSettings)


def enabled(section: str) -> bool:
    """Tell whether the app behind ``section`` may put anything on the path of a request.

    Asks, in this order, the environment variable ``NOA_PERF_DISABLE`` (``all`` or a comma-separated list of
    apps), ``NOA_PERF["ENABLED"]`` and the section's own ``ENABLED``.
    """
    off = {word.strip().lower() for word in os.environ.get(DISABLE_VARIABLE, "").split(",")}
    if off & {"all", "1", "true", "yes", "on", section.lower()}:
        return False
    own = Section.registry.get(section)
    return root().enabled and (own is None or bool(getattr(own(), "enabled", True)))


def _raw_section(name: str) -> Any:
    raw = getattr(settings, SETTING, {})
    if not name:
        return raw
    return raw.get(name, {}) if isinstance(raw, Mapping) else {}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _lowest(value: Any) -> Any:
    return min(value.values(), default=float("inf")) if isinstance(value, Mapping) else value


def _highest(value: Any) -> Any:
    return max(value.values(), default=float("-inf")) if isinstance(value, Mapping) else value


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in args
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, arg) for arg in args)
    if origin is Callable:
        return callable(value)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(item, args[0]) for item in value)
    if origin in (dict, Mapping):
        pairs = value.items() if isinstance(value, Mapping) else ()
        return isinstance(value, Mapping) and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in pairs)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _coerced(value: Any, hint: Any) -> Any:
    return tuple(value) if typing.get_origin(hint) is tuple else value


def _kind(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def _describe(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(arg) for arg in args)
    if origin is tuple:
        inner = typing.get_args(args[0])
        return f"a list of {' and '.join(map(repr, inner)) if inner else args[0].__name__}"
    if origin is Callable:
        return "a function"
    if origin in (dict, Mapping):
        return "a dict" if args[1] is Any else f"a dict of {args[0].__name__} to {args[1].__name__}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_describe(arg) for arg in args)
    names = {
        float: "a number",
        int: "a whole number",
        str: "a string",
        bool: "True or False",
        type(None): "None",
    }
    return names.get(hint, str(hint))
