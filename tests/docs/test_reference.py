from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from docs import tables

HINT = "the code has changed: run `make format` and read what it wrote"


@pytest.mark.parametrize("page", tables.PAGES)
def test_every_table_says_what_the_code_says(page: str) -> None:
    assert tables.written(page) == tables.expected(page), HINT


@pytest.mark.parametrize("page", tables.PAGES)
def test_there_is_something_to_list(page: str) -> None:
    assert any(tables.expected(page).values())
    assert all(cell.strip() for rows in tables.PAGES[page][0]().values() for row in rows for cell in row)


def test_every_check_id_in_the_code_is_declared() -> None:
    for path in tables.PACKAGE.glob("*/checks.py"):
        used = set(re.findall(r'\{LABEL\}\.([EWI]\d{3})"', path.read_text()))
        module = importlib.import_module(f"noa_perf.{path.parent.name}.checks")
        assert used <= set(getattr(module, "CHECKS", ())), path


def test_every_kind_of_the_cdn_is_listed() -> None:
    from noa_perf.cdn.management.commands import cdn_verify

    written = {
        kind for path in tables.PACKAGE.glob("cdn/**/*.py") for kind in re.findall(r'kind="(\w+)"', path.read_text())
    }
    page = (tables.REFERENCE / "findings.md").read_text().partition("## Of assets")[2]
    assert set(re.findall(r"^\| `(\w+)` ", page, re.MULTILINE)) == written | set(cdn_verify._CURES)


def test_every_option_of_a_storage_of_releases_is_listed() -> None:
    from noa_perf.cdn.storage import ReleaseMixin

    named = {
        f"`{each.name}` | `{each.annotation}` | `{each.default}`"
        for each in inspect.signature(ReleaseMixin).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    }
    page = (tables.REFERENCE / "settings.md").read_text().partition("## `STORAGES")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| (`\w+` \| `\w+` \| `[\w.]+`) ", page, re.MULTILINE)) == named


def test_every_provider_has_a_table_of_its_own() -> None:
    found = [cls.__name__ for cls in tables.providers()]
    files = {path.stem for path in tables.PACKAGE.glob("cdn/providers/[a-z]*.py")} - {"base"}
    assert {name.lower() for name in found} == files


def test_each_check_id_has_one_meaning() -> None:
    rows = [row for table in tables.checks().values() for row in table]
    assert len({number for number, _ in rows}) == len(rows)


def test_every_page_is_reachable_from_the_index() -> None:
    docs = tables.REFERENCE.parent
    listed = set(re.findall(r"^([a-z-]+/[a-z0-9-]+)$", (docs / "index.md").read_text(), re.MULTILINE))
    pages = {str(path.relative_to(docs).with_suffix("")) for path in docs.glob("*/*.md") if "_build" not in path.parts}
    assert listed == pages


def test_links_between_pages_lead_somewhere() -> None:
    docs = tables.REFERENCE.parent
    for page in (
        *docs.glob("*.md"),
        *docs.glob("*/*.md"),
        docs.parent / "README.md",
        docs.parent / "CONTRIBUTING.md",
    ):
        for target in re.findall(r"\]\((?!https?:|#|<)([^)#\s]+)", page.read_text()):
            assert (page.parent / Path(target)).exists(), f"{page.name}: {target}"
