"""Is this process fit to serve? Each app registers its own plain check; pages and ``noa_perf_doctor`` ask them all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

logger = logging.getLogger("noa_perf.core")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What one check found."""

    ok: bool
    message: str
    """One sentence for a person: no address, no credential, no parameter value."""
    cure: str = ""
    """One sentence: what to do; empty when all is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A check's name with what it found."""

    name: str
    vital: bool
    """Whether the process cannot serve while this fails."""
    ok: bool
    message: str
    cure: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-serialisable data."""
        return asdict(self)


Check = Callable[[bool], Health]
"""A check. Its argument is True where it may take its time (a terminal), False on a probe's request."""

_checks: dict[str, tuple[Check, bool]] = {}


def register(name: str, check: Check, *, vital: bool = False) -> None:
    """Ask ``check`` under ``name`` (``"metrics.rollup"``) from now on; ``vital`` if a site cannot serve without it."""
    _checks[name] = (check, vital)


def unregister(name: str) -> None:
    """Ask the check of this name no more."""
    _checks.pop(name, None)


def answers(*, deep: bool = False) -> list[Answer]:
    """Ask every check, in order of name. A check that raises has failed; its error is logged at DEBUG, not shown."""
    return [_ask(name, check, vital, deep) for name, (check, vital) in sorted(_checks.items())]


def _ask(name: str, check: Check, vital: bool, deep: bool) -> Answer:
    try:
        found = check(deep)
    except Exception as error:
        logger.debug("health check %s raised", name, exc_info=error)  # its words may name an address or a value
        message = f"The check raised {type(error).__name__}."
        found = Health(ok=False, message=message, cure="Log noa_perf.core at DEBUG to see it.")
    return Answer(name=name, vital=vital, ok=found.ok, message=found.message, cure=found.cure)
