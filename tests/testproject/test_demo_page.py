"""The demo's report as a page: one sound file that says what the run said, whatever the statements hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from noa_perf.core.findings import Finding, Place
from testproject.demo import page, report
from testproject.demo.assets import Assets, Site, Visit
from testproject.demo.phases import Phase
from testproject.demo.siege import Siege

TOTALS = {"requests": 4, "queries": 4_210, "execute_ms": 8.0, "fetch_ms": 4.0}
CACHE = {"hits": 3, "misses": 1}
HOSTILE = "<script>alert('1')</script> & \"]]>\x00\x1b\ud800"
CROWD = {"p50_ms": 40.0, "p95_ms": 1_234.0, "abuser_per_second": 200.0, "abuser_refused": 0.97}
SIEGE = Siege(alone=CROWD, unlimited=CROWD, limited=CROWD)
VISIT = Visit(requests=5, bytes=155_569, origin=5)
ASSETS = Assets(Site(VISIT, VISIT), Site(VISIT, Visit()))
FACTS = {"Software": "Django 5.2", "Machine": "2 cores"}


def _phase(findings: list[dict[str, Any]], **totals: Any) -> Phase:
    return Phase(report.figures([10.0, 20.0, 30.0, 40.0], 2.0, TOTALS | totals, CACHE), findings, {})


def _finding(**changed: Any) -> dict[str, Any]:
    place = Place(file="shop/views.py", line=41)
    values: dict[str, Any] = {"kind": "n_plus_one", "subject": "Book.author", "where": place, "count": 1_234}
    values |= {"summary": "Why.", "cure": "Cure.", "ms": 5_678.0, "sql": "SELECT 1"}
    return Finding(**values | changed).as_dict()


def _html(*findings: dict[str, Any], facts: dict[str, str] = FACTS) -> str:
    return page.html(_phase(list(findings)), _phase([], queries=8), _phase([], queries=4), SIEGE, ASSETS, facts)


def _text(html: str) -> str:
    """Return what the page says; it is well-formed, or this fails."""
    return " ".join("".join(ET.fromstring(html).itertext()).split())


def test_it_holds_the_figures_the_findings_and_the_facts() -> None:
    change = Place(file="shop/lists.py", line=7)
    text = _text(_html(_finding(code=".select_related()", change=change, evidence={"plan": ["SCAN book"]})))
    for row in report.ROWS:
        assert row.label.strip() in text
    assert "queries per request 1,052.5 2.0 526.2× better 1.0 1052.5× better" in text
    for said in ("shop/views.py:41", "Why.", "Cure.", ".select_related()", "shop/lists.py:7", "SCAN book", "2 cores"):
        assert said in text
    assert "1,234 queries, 5,678 ms in the database" in text
    assert "others' p95, ms 1,234 1,234 1,234" in text
    assert "of them refused – 97% 97%" in text
    assert "75% of 4 look-ups hit, 4 of 8 queries saved" in text


def test_the_larger_figure_has_the_longer_bar() -> None:
    bars = ET.fromstring(_html()).findall(".//tbody/tr/td/svg/rect")
    widths = [bar.get("width") for bar in bars]
    assert widths[9:12] == ["100.0%", "0.2%", "0.1%"]


@pytest.mark.parametrize("name", ["kind", "subject", "summary", "cure", "code", "severity", "route", "sql"])
def test_hostile_text_is_text(name: str) -> None:
    html = _html(_finding(**{name: HOSTILE}))
    assert "<script" not in html
    assert "<script>alert('1')</script> & \"]]>" in _text(html)


def test_hostile_places_plans_and_facts_are_text() -> None:
    place = Place(file=HOSTILE, line=0)
    finding = _finding(where=place, template=place, change=place, evidence={"plan": [HOSTILE]})
    html = _html(finding, facts={HOSTILE: HOSTILE})
    assert _text(html).count("alert('1')") == 6
    assert "<script" not in html


def test_it_needs_no_other_file_and_no_script() -> None:
    html = _html(_finding())
    assert not re.search(r"<script|<link|\bsrc=|\bhref=|url\(|@import|style=", html)
    assert "default-src 'none'" in html


def test_nothing_found_is_a_page_too() -> None:
    assert "0 as it is, 0 mended" in _text(_html())


def test_it_replaces_the_page_of_the_run_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for text in ("one", "two"):
        assert page.keep(text, run, tmp_path).read_text() == text
    assert [*run.iterdir()] == []
