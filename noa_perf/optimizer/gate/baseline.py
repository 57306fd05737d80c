"""The baseline: a JSON file with a block for each endpoint, sorted, so that git shows and merges it well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noa_perf.core.exceptions import CommandInputError
from noa_perf.optimizer.gate.measure import Endpoint, Measured

DEFAULT = "perf-baseline.json"
FORMAT = 1
ABOUT = "Written by manage.py perf_gate --write; commit it."
WRITE = "manage.py perf_gate --write"


@dataclass(slots=True)
class Baseline:
    """What was measured when the baseline was written."""

    databases: dict[str, Any] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)

    def asked(self) -> list[Endpoint]:
        """Return its endpoints."""
        return [Endpoint(one["url"], one["as"]) for one in self.endpoints.values()]

    def update(self, measured: list[Measured], databases: dict[str, Any]) -> None:
        """Take what was measured now; leave what is gone out, and what the site could not answer as it was."""
        for one in measured:
            if one.gone:
                self.endpoints.pop(one.endpoint.key, None)
            elif not one.failed:
                self.endpoints[one.endpoint.key] = one.as_data()
        for alias, now in databases.items():
            rows = self.databases.get(alias, {}).get("rows", {})
            self.databases[alias] = {**now, "rows": rows | now["rows"]}

    def text(self) -> str:
        """Return the file."""
        data = {"about": ABOUT, "databases": self.databases, "endpoints": self.endpoints, "format": FORMAT}
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read(path: Path) -> Baseline:
    """Return the baseline in ``path``; raise CommandInputError where there is none that can be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CommandInputError(
            f"There is no baseline {path}. Write one: {WRITE} --url / (or --crawl 50), and commit it."
        ) from None
    except (OSError, ValueError) as error:
        raise CommandInputError(f"The baseline {path} cannot be read: {error}. Mend it, or write it anew.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CommandInputError(
            f"The baseline {path} is not of format {FORMAT}, which this version of noa_perf reads: write it anew."
        )
    if missing := next(_missing(data), ""):
        raise CommandInputError(f"The baseline {path} is damaged: {missing}. Take it from git again, or write it anew.")
    return Baseline(data["databases"], data["endpoints"])


_DATABASE: dict[str, type] = {"engine": str, "version": str, "rows": dict}
_ENDPOINT: dict[str, type] = {
    "url": str,
    "as": str,
    "route": str,
    "status": int,
    "queries": int,
    "n_plus_one": dict,
    "statements": dict,
}
_STATEMENT: dict[str, type] = {"sql": str, "runs": int, "reads": dict}


def _missing(data: dict[str, Any]) -> Iterator[str]:
    """Yield what a file that was edited or merged by hand lacks."""
    for part, keys in (("databases", _DATABASE), ("endpoints", _ENDPOINT)):
        entries = data.get(part)
        if not isinstance(entries, dict):
            yield f"{part!r} is no object"
            continue
        for name, entry in entries.items():
            yield from _lacking(f"{name!r} in {part!r}", entry, keys)
            statements = entry.get("statements", {}) if part == "endpoints" and isinstance(entry, dict) else {}
            for key, statement in statements.items() if isinstance(statements, dict) else ():
                yield from _lacking(f"statement {key!r} of {name!r}", statement, _STATEMENT)


def _lacking(name: str, entry: Any, keys: dict[str, type]) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{name} is no object"
        return
    for key, kind in keys.items():
        if not isinstance(entry.get(key), kind):
            yield f"{name} has no usable {key!r}"
