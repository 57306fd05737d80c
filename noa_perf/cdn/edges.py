"""The providers that the settings name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from noa_perf.cdn.conf import settings
from noa_perf.cdn.exceptions import BadProvider
from noa_perf.cdn.providers.base import Provider
from noa_perf.core.conf import Problem, Shape

PATH = 'NOA_PERF["CDN"]["PROVIDERS"]'

_HINT = "See the reference of PROVIDERS."

_made: dict[str, Provider] = {}


def provider(name: str) -> Provider:
    """Return the provider of this name; raise :class:`~noa_perf.cdn.exceptions.BadProvider` where there is none."""
    if name not in _made:
        entries = settings().providers
        if name not in entries:
            known = ", ".join(sorted(entries)) or "none"
            raise BadProvider(f"{PATH} has no {name!r}; it has: {known}.")
        _made[name] = _make(name, entries[name])
    return _made[name]


def providers() -> list[Provider]:
    """Return all of them, as they are ordered."""
    return [provider(name) for name in settings().providers]


def problems() -> Iterator[Problem]:
    """Yield what is wrong with the entries, for the system checks."""
    for name, entry in settings().providers.items():
        try:
            cls, rest = _taken_apart(name, entry)
        except BadProvider as error:
            yield Problem("value", str(error), _HINT)
            continue
        shape: Shape[Any] = Shape(cls.options, f"{PATH}[{name!r}]")
        found = shape.problems_of(rest)
        yield from found
        if not found:
            yield from _own_problems(name, entry)


def _own_problems(name: str, entry: Any) -> Iterator[Problem]:
    try:
        yield from [Problem("value", *each) for each in _make(name, entry).problems()]
    except Exception as error:  # of somebody's own provider: a check says so, and stops no command
        yield Problem("value", f"{PATH}[{name!r}] cannot be made ({type(error).__name__}: {error}).", _HINT)


def _make(name: str, entry: Any) -> Provider:
    cls, rest = _taken_apart(name, entry)
    shape: Shape[Any] = Shape(cls.options, f"{PATH}[{name!r}]")
    if wrong := shape.problems_of(rest):
        raise BadProvider(f"{wrong[0].message} {wrong[0].hint}")
    try:
        made: Provider = cls(name, shape.load(rest))
    except Exception as error:  # a method is lacking, or somebody's own provider raises
        raise BadProvider(f"{PATH}[{name!r}] cannot be made: {error}.") from error
    return made


def _taken_apart(name: str, entry: Any) -> tuple[Any, dict[str, Any]]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("BACKEND"), str):
        raise BadProvider(f'{PATH}[{name!r}] has to be a dict with a "BACKEND": the dotted path of a provider.')
    try:
        cls = import_string(entry["BACKEND"])
    except Exception as error:  # whatever a module raises when it is imported
        raise BadProvider(f"{PATH}[{name!r}]['BACKEND'] cannot be imported: {error}.") from error
    if not (isinstance(cls, type) and issubclass(cls, Provider) and hasattr(cls, "options")):
        raise BadProvider(f"{PATH}[{name!r}]['BACKEND'] is {entry['BACKEND']}, and that is no Provider.")
    return cls, {key: value for key, value in entry.items() if key != "BACKEND"}


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "NOA_PERF":
        _made.clear()


setting_changed.connect(_forget, dispatch_uid="noa_perf.cdn.edges")
