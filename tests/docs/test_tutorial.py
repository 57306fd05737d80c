"""The tutorial, done as a reader would: each file written, each command run, each output compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "first-n-plus-one.md"
BLOCK = re.compile(r"((?:[^\n]+\n)+)\n```(\w+)\n(.*?)```", re.DOTALL)
# An environment with noa_perf is already here.
SKIPPED = ("python -m venv", ". env/", "pip install")
# The second edit of a file that a block shows only one line of.
BEFORE = '    books = Book.objects.order_by("title")\n'

pytestmark = pytest.mark.slow


def steps(text: str) -> list[tuple[str, str, str]]:
    """Return the sentence before each block, the block's language, and the block."""
    return BLOCK.findall(text)


def write(folder: Path, sentence: str, body: str) -> None:
    """Write what a block shows to the file that the sentence before it names."""
    named = re.findall(r"`([\w/]+\.(?:py|html))`", sentence)
    path = folder / named[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    if "At the end of" in sentence:
        body = path.read_text() + body
    elif "becomes" in sentence:
        assert BEFORE in path.read_text()
        body = path.read_text().replace(BEFORE, body)
    path.write_text(body)


def settled(output: str) -> str:
    """Return an output without its times, which no two runs share, and without the widths that they need."""
    return " ".join(re.sub(r"\d+\.\d\b", "#", output).split())


def run(folder: Path, block: str) -> None:
    """Run each command of a console block and compare what it prints, times apart."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "NOA_PERF"))}
    kept |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        if command.startswith(SKIPPED):
            continue
        done = subprocess.run(command, check=False, shell=True, cwd=folder, env=kept, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert settled(done.stdout) == settled(expected), f"{command} printed\n{done.stdout}"


def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    for sentence, language, body in steps(PAGE.read_text()):
        if language == "console":
            run(tmp_path, body)
        else:
            write(tmp_path, sentence, body)
