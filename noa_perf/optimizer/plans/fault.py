"""One thing in a plan that costs, with its cure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from noa_perf.core.findings import Place


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, where, and what to do about it; becomes a finding."""

    kind: str
    subject: str
    summary: str
    cure: str
    code: str = ""
    change: Place | None = None
    certain: bool = True
    evidence: dict[str, Any] = field(default_factory=dict)
