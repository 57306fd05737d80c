"""The demo's report as one HTML file: before and after, the findings, and what machine and data that was."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from django.template import Context, Engine

import noa_perf

from . import report
from .assets import Assets
from .phases import Phase
from .siege import Siege

if TYPE_CHECKING:
    from .workload import Workload

TEMPLATE = Path(__file__).with_name("page.html")
# A statement may hold anything; HTML may not hold these, escaped or not.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
SIGNS = {"high": "▲", "medium": "■", "low": "▽"}
"""Beside the word, so that neither colour nor a letter alone tells how grave something is."""


def facts(scale: float, seed: int, workload: Workload) -> dict[str, str]:
    """Return what the figures depend on."""
    clients = len(workload.measured)
    return {
        "Made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Software": f"noa_perf {noa_perf.__version__}, Django {django.get_version()}, "
        f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "Machine": f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores",
        "Data": f"scale {scale:g}, seed {seed}",
        "Requests": f"{workload.size:,} in each phase, from {clients} clients at once, after a warm-up",
    }


def html(before: Phase, after: Phase, cached: Phase, attacked: Siege, assets: Assets, facts: dict[str, str]) -> str:
    """Return the page; it needs no other file, no network and no script."""
    dearest = max((finding["ms"] for finding in before.findings), default=0.0)
    context = {
        "rows": [_row(row, before.figures, after.figures, cached.figures) for row in report.ROWS],
        "findings": [_finding(finding, dearest) for finding in before.findings],
        "mended": len(after.findings),
        "faster": report.change(report.ROWS[0], before.figures, after.figures),
        "saved": report.saved(after.figures, cached.figures),
        "attacked": {"title": attacked.title, "rows": attacked.rows},
        "assets": {"title": assets.title, "rows": assets.rows},
        "facts": facts,
    }
    # Escapes all that it fills in.
    return Engine().from_string(TEMPLATE.read_text(encoding="utf-8")).render(Context(_printable(context)))


def keep(page: str, run: Path, folder: Path) -> Path:
    """Write the page to where a reader looks for it, whole or not at all."""
    path, ready = folder / "report.html", run / "report.html"
    ready.write_text(page, encoding="utf-8")
    return ready.replace(path)


def _row(row: report.Row, before: dict[str, Any], after: dict[str, Any], cached: dict[str, Any]) -> dict[str, Any]:
    old, new, kept = before[row.key], after[row.key], cached[row.key]
    most = max(old, new, kept)
    return {
        "label": row.label.strip(),
        "part": row.label.startswith(" "),
        "old": f"{old:{row.form}}",
        "new": f"{new:{row.form}}",
        "old_width": _share(old, most),
        "new_width": _share(new, most),
        "change": report.change(row, before, after),
        "kept": f"{kept:{row.form}}",
        "kept_width": _share(kept, most),
        "kept_change": report.change(row, before, cached),
    }


def _finding(finding: dict[str, Any], dearest: float) -> dict[str, Any]:
    return finding | {
        "sign": SIGNS.get(finding["severity"], ""),
        "cost": f"{finding['count']:,} queries, {finding['ms']:,.0f} ms in the database",
        "width": _share(finding["ms"], dearest),
        "at": report.place(finding["where"]),
        "template_at": report.place(finding["template"]),
        "change_at": report.place(finding["change"]),
        "plan": "\n".join(finding["evidence"].get("plan", [])),
    }


def _share(value: float, whole: float) -> str:
    """Return the length of a bar, in percent."""
    return f"{100 * value / whole:.1f}" if whole else "0"


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_printable(one) for one in value]
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value
