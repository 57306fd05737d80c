"""One client asks fifty times as often as the others: how these fare alone, without limits, and with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from noa_perf.core.commands import table

from .children import Child, DemoError

if TYPE_CHECKING:  # it imports models, which need Django set up
    from .workload import Workload

TIMES = 50
"""As often as one visitor."""
INTERVAL = 0.5
"""Seconds between two requests of a visitor."""
EACH = 24
"""Requests of each visitor."""
WARM_UP = 4
"""Requests of each visitor before anything is measured."""
WANTED = "/search/?q=oak"
"""What the abuser asks for."""


@dataclass(frozen=True, slots=True)
class Siege:
    """What came of it."""

    alone: dict[str, Any]
    """The visitors by themselves, limits on."""
    unlimited: dict[str, Any]
    """Beside the abuser, limits off."""
    limited: dict[str, Any]
    """Beside the abuser, limits on."""

    def as_dict(self) -> dict[str, Any]:
        """Return all figures, for a program."""
        return {"times": TIMES, "alone": self.alone, "unlimited": self.unlimited, "limited": self.limited}

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """The figures, side by side."""
        told = (self.alone, self.unlimited, self.limited)
        forms = (("others' p50, ms", "p50_ms"), ("others' p95, ms", "p95_ms"))
        rows = [(label, *(f"{one[key]:,.0f}" for one in told)) for label, key in forms]
        return [
            *rows,  # type: ignore[list-item]
            ("abuser's requests per second", "–", *(f"{one['abuser_per_second']:,.0f}" for one in told[1:])),  # type: ignore[list-item]
            ("  of them refused", "–", *(f"{one['abuser_refused']:.0%}" for one in told[1:])),  # type: ignore[list-item]
        ]

    @property
    def title(self) -> str:
        """What was done, in a sentence."""
        return f"One client asks for searches {TIMES} times as often as each of the others asks for anything:"


def siege(seeded: Path, run: Path, workload: Workload) -> Siege:
    """Serve the mended shop with limits and without, and let visitors and the abuser in."""
    visitors = [
        [one["path"] for one in requests if not one["staff"] and "cart" not in one["name"]][:EACH]
        for requests in workload.measured  # nobody has filled a cart in this copy
    ]
    with Child("testproject.demo.server", seeded, run / "limited.sqlite3", "mended", "limited") as server:
        port = server.hear()["port"]
        _crowd(port, [paths[:WARM_UP] for paths in visitors], 0)
        alone = figures(_crowd(port, visitors, 0))
        limited = figures(_crowd(port, visitors, TIMES))
    with Child("testproject.demo.server", seeded, run / "unlimited.sqlite3", "mended") as server:
        port = server.hear()["port"]
        _crowd(port, [paths[:WARM_UP] for paths in visitors], 0)
        unlimited = figures(_crowd(port, visitors, TIMES))
    return Siege(alone, unlimited, limited)


def figures(told: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one crowd; raise where a visitor was refused or failed."""
    failed = {status: many for status, many in told["statuses"].items() if status != "200"}
    if failed:
        raise DemoError(f"visitors beside the abuser got {failed} instead of 200.")
    cuts = quantiles(told["ms"], n=100, method="inclusive")
    asked = sum(told["abuser"].values())
    refused = told["abuser"].get("429", 0)
    return {
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "abuser_per_second": round(asked / told["abuser_seconds"], 1),
        "abuser_refused": round(refused / asked, 4) if asked else 0.0,
    }


def as_table(found: Siege) -> str:
    """Return the figures for a person."""
    headers = ("", "without it", "beside it, no limits", "beside it, limits")
    return f"{found.title}\n\n{table(headers, found.rows, '<>>>')}"


def _crowd(port: int, visitors: list[list[str]], times: int) -> dict[str, Any]:
    """Let the visitors in, beside the abuser if he asks so many ``times`` as often as one of them."""
    orders = {"visitors": visitors, "interval": INTERVAL, "wanted": WANTED}
    with Child("testproject.demo.crowd", port) as crowd:
        if not times:
            return crowd.ask(json.dumps(orders | {"times": 0})) | {"abuser": {}, "abuser_seconds": 1.0}
        with Child("testproject.demo.crowd", port) as abuser:
            abuser.tell(json.dumps(orders | {"times": times}))
            told = crowd.ask(json.dumps(orders | {"times": 0}))
            attacked = abuser.ask("over")
    return told | {"abuser": attacked["statuses"], "abuser_seconds": attacked["seconds"]}
