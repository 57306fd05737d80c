"""Which databases' plans can be read, by Django's name of the vendor."""

from __future__ import annotations

from types import ModuleType

from noa_perf.optimizer.plans import mariadb, postgresql, sqlite

ENGINES: dict[str, ModuleType] = {"mysql": mariadb, "postgresql": postgresql, "sqlite": sqlite}
