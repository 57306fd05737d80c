"""The baseline: a JSON file with a block for each endpoint, sorted, so that git shows and merges it well."""

from __future__ import annotations

import json
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

    def update(self, measured: list[Measured], databases: dict[str, Any], gone: list[Endpoint]) -> None:
        """Take what was measured now; leave out what is gone, and what the site could not answer."""
        for one in gone:
            self.endpoints.pop(one.key, None)
        self.endpoints |= {one.endpoint.key: one.as_data() for one in measured if not one.failed}
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
    return Baseline(data["databases"], data["endpoints"])
