"""``perf_gate`` on a copy of the shop: a cure is taken out of its source, an index out of its database."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["--url=/", "--url=/categories/", "--url=/api/reviews/", "--url=/search/?q=a"]
INDEXES = "from testproject.shop.indexes import create_indexes; create_indexes()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the mended shop with data, its indexes and a baseline."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "testproject", folder / "testproject", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", folder)
    manage(folder, "migrate", "-v0")
    manage(folder, "shop_seed", "--scale=0.5")
    manage(folder, "shell", "-v0", "-c", INDEXES)
    manage(folder, "perf_gate", "--write", *PAGES)
    return folder


def manage(folder: Path, *arguments: str, code: int = 0) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SHOP_", "DJANGO_", "NOA_PERF"))}
    env = {"SHOP_DATABASE": str(folder / "shop.sqlite3"), "SHOP_TWIN": "mended", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        check=False,
        cwd=folder,
        env=kept | env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def gate(folder: Path, code: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(manage(folder, "perf_gate", "--format=json", code=code))["findings"]
    return found


def test_nothing_changed(site: Path) -> None:
    assert gate(site) == []


def test_a_select_related_that_is_taken_out(site: Path) -> None:
    source = site / "testproject" / "shop" / "mended" / "views.py"
    before = source.read_text()
    cured = '.select_related("parent")'
    assert before.count(cured) == 1
    built = 1 + before[: before.index("Category.objects.filter(parent__isnull=False)")].count("\n")
    source.write_text(before.replace(cured, ""))
    try:
        found = {one["kind"]: one for one in gate(site, code=1)}
    finally:
        source.write_text(before)

    assert set(found) == {"new_n_plus_one", "more_queries"}
    for one in found.values():
        assert one["code"] == cured
        assert one["change"]["file"] == "testproject/shop/mended/views.py"
        assert one["change"]["line"] == built
        assert one["evidence"]["endpoint"] == "/categories/"


def test_an_index_that_is_dropped(site: Path) -> None:
    drop = "from django.db import connection; connection.cursor().execute('DROP INDEX product_added')"
    database = site / "shop.sqlite3"
    before = database.read_bytes()
    manage(site, "shell", "-v0", "-c", drop)
    try:
        found = gate(site, code=1)
    finally:
        database.write_bytes(before)

    assert {one["kind"] for one in found} == {"lost_index"}
    assert found[0]["subject"] == "Product"
    # Whether the index was scanned or searched is up to the statements of this Django.
    assert re.match(
        r"shop_product was read by (scan of )?product_added \(which is gone\), and now by ", found[0]["summary"]
    )
    assert found[0]["cure"].startswith("Bring back product_added on shop_product")
    assert found[0]["where"]["file"].startswith("testproject/shop/")
    # Which page feels it first depends on the statements of this Django.
    assert f"--url={found[0]['evidence']['endpoint']}" in PAGES
