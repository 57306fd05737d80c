"""Which of DATABASES have a pool of ours, and how it is to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.db import connections

from noa_perf.core import conf
from noa_perf.pool import options
from noa_perf.pool.exceptions import BadPoolOptions
from noa_perf.pool.options import PoolOptions

ENGINES = "noa_perf.pool.backends."
OPTION = "noa_pool"


def pooled() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the alias and the settings of each database of which one of our engines is the engine."""
    for alias, settings in connections.settings.items():
        if str(settings.get("ENGINE", "")).startswith(ENGINES):
            yield alias, settings


def aliases() -> list[str]:
    """Return those that have a pool: none where pools are switched off."""
    if not conf.enabled("POOL"):
        return []
    return sorted(alias for alias, settings in pooled() if raw(settings) is not False)


def raw(settings: dict[str, Any]) -> Any:
    """Return what a database's settings say of its pool."""
    return settings.get("OPTIONS", {}).get(OPTION)


def path(alias: str) -> str:
    """Return where the options of an alias' pool stand."""
    return options.PATH.format(alias=alias)


def load(alias: str) -> PoolOptions | None:
    """Return the options of an alias' pool; None where they cannot be used."""
    try:
        return options.load(alias, raw(connections.settings[alias]))
    except BadPoolOptions:
        return None


def told(own: PoolOptions) -> dict[str, Any]:
    """Return options as JSON-serialisable data, without what leads to a password."""
    return {name: value for name, value in asdict(own).items() if name != "password"}
