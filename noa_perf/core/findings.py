"""What any noa_perf app found: one plain, serialisable record for consoles, JSON and pages."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of a source file or template, as a person would open it."""

    file: str
    """Path, relative to the site's base directory where it lies below it."""
    line: int
    """1-based line number; 0 when only the file is known."""
    name: str = ""
    """Function, class attribute or template name at that line."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault with its evidence, its cost and its cure."""

    kind: str
    """Stable kind, such as ``n_plus_one``; listed in the reference."""
    subject: str
    """What it is about: ``Book.author``, a table, a statement."""
    summary: str
    """One sentence: what happens and where."""
    cure: str
    """One sentence: the concrete change to make."""
    code: str = ""
    """The code to add, such as ``.select_related("author")``."""
    severity: str = "medium"
    """``high``, ``medium`` or ``low``."""
    route: str = ""
    """URL pattern, command or scope in which it was seen."""
    where: Place | None = None
    """The nearest line of application code that ran the query."""
    template: Place | None = None
    """The template line that ran the query, if one did."""
    change: Place | None = None
    """The line to change: where the queryset is built, or the attribute that builds it."""
    certain: bool = True
    """False when ``change`` or the advice is a guess and says so."""
    count: int = 1
    """Queries involved, all scopes added up."""
    ms: float = 0.0
    """Milliseconds in the database, all scopes added up."""
    alias: str = "default"
    """Database alias."""
    sql: str = ""
    """The statement with placeholders; never a parameter value."""
    fingerprint: str = ""
    """Short hash of the folded statement."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """Further facts by kind, JSON-serialisable (a plan, row counts)."""

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-serialisable data."""
        return asdict(self)
