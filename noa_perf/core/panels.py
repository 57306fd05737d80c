"""What an app has to show on the dashboard: pages of plain data, registered by the app, drawn by the dashboard.

An app knows nothing of HTML, and the dashboard nothing of any app. A page is a function from a window of time to
blocks: verdicts, figures, charts, tables, trees. Each block can be drawn, exported as CSV or JSON, and tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from django.utils.functional import Promise

Cell = str | int | float | None
Title = str | Promise
"""Text that may be translated when it is shown."""


class State(Enum):
    """How something is: a word and an icon, never a colour alone."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    UNKNOWN = "unknown"


class Kind(Enum):
    """What a column or a figure holds, so that it is written alike everywhere."""

    TEXT = "text"
    CODE = "code"
    COUNT = "count"
    MS = "milliseconds"
    SHARE = "share"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, in seconds since 1970 (UTC)."""

    since: float
    until: float
    name: str = "1h"
    """As in the address: ``1h``, ``6h``, ``24h`` or ``7d``."""

    @property
    def step(self) -> int:
        """Seconds of one point of a chart, so that a window has about sixty."""
        wanted = (self.until - self.since) / 60
        return next((step for step in (10, 60, 600, 3_600) if step >= wanted), 10_800)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where more is to be seen: a page, and what on it."""

    page: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line: how it is, the number that says so, and the cure."""

    state: State
    title: str
    text: str
    number: str = ""
    cure: str = ""
    """Text to be copied: SQL, a settings line, a call."""
    evidence: Link | None = None
    threshold: str = ""
    """What the state was judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """One figure with its name."""

    title: str
    value: Cell
    kind: Kind = Kind.COUNT
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a chart: points as (seconds since 1970, value), in order of time."""

    title: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Something drawn over time (``line``, ``stacked``) or over buckets (``histogram``)."""

    title: str
    series: Sequence[Series]
    kind: str = "line"
    unit: Kind = Kind.COUNT
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table."""

    title: str
    kind: Kind = Kind.TEXT
    private: bool = False
    """Whether only those who may operate the dashboard see what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table, and where its first cell leads."""

    cells: Sequence[Cell]
    link: Link | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    empty: str = "Nothing yet."
    """What is said where there is no row: good news, as a rule."""
    note: str = ""
    sampled: bool = False
    """Whether figures are estimates from a sample; they are marked with ``~``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a tree, such as a plan."""

    title: str
    figures: str = ""
    weight: float | None = None
    """Share of the whole, 0 to 1: how dear this step is."""
    children: Sequence[Node] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree, drawn from the top."""

    title: str
    roots: Sequence[Node]
    lines: Sequence[str] = ()
    """The same as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Something to read or to copy."""

    title: str
    body: str
    code: bool = False


Block = Verdict | Stat | Chart | Table | Tree | Text


def tables(blocks: Sequence[Block]) -> list[Table]:
    """Return the tables among ``blocks``: an export names one by its place here."""
    return [block for block in blocks if isinstance(block, Table)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of an app: its blocks, and, where ``detail`` is given, one more page for each key."""

    slug: str
    title: Title
    blocks: Callable[[Window], Sequence[Block]]
    detail: Callable[[str, Window], Sequence[Block]] | None = None
    """Return the blocks of one thing, or raise :class:`NotThere`."""
    order: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What one app shows: its verdicts for the overview, and its pages."""

    name: str
    title: Title
    verdicts: Callable[[Window], Sequence[Verdict]]
    pages: Sequence[Page] = ()
    order: int = 100


class NotThere(Exception):
    """A detail page was asked for something that was not seen in this window."""


_panels: dict[str, Panel] = {}


def register(panel: Panel) -> None:
    """Add an app's panel, or replace the one of that name."""
    _panels[panel.name] = panel


def panels() -> list[Panel]:
    """Return all panels in the order in which they are shown."""
    return sorted(_panels.values(), key=lambda panel: (panel.order, panel.name))


def page(slug: str) -> Page | None:
    """Return the page of this slug."""
    return next((one for panel in panels() for one in panel.pages if one.slug == slug), None)
