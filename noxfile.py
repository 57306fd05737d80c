"""The test matrix: a cell per pair of Python and Django; third-party sites have environments of their own."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.sessions = [
    "py311-django52", "py313-django61", "oscar", "wagtail-django52", "wagtail-django61", "summary",
]  # fmt: skip
# A second run starts at once; `nox --no-reuse-existing-virtualenvs` starts afresh.
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
RESULTS = ROOT / ".nox" / "results"
BUILD = ROOT / "constraints" / "build.txt"

# Cells of the matrix: name, Python, Django. The summary tells of each, run or not.
CELLS = {
    "py311-django52": ("3.11", "5.2"),
    "py313-django61": ("3.13", "6.1"),
    "oscar": ("3.11", "5.2"),
    "wagtail-django52": ("3.11", "5.2"),
    "wagtail-django61": ("3.13", "6.1"),
}


def runs(program: str, version: str) -> bool:
    """Say whether this program is that version; a version manager's shim may exist and not run."""
    code = f"import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    try:
        done = subprocess.run([program, "-c", code], check=False, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@functools.cache
def interpreter(version: str) -> str | None:
    """Return a Python of this version: this one, PATH's, pyenv's or uv's; None when there is none."""
    home = Path.home()
    candidates = [sys.executable]
    candidates += [str(Path(folder) / f"python{version}") for folder in os.get_exec_path()]
    candidates += sorted(map(str, home.glob(f".pyenv/versions/{version}*/bin/python")), reverse=True)
    candidates += sorted(map(str, home.glob(f".local/share/uv/python/cpython-{version}*/bin/python")))
    return next((each for each in candidates if shutil.which(each) and runs(each, version)), None)


def install(session: nox.Session, groups: list[str], constraints: str) -> None:
    """Install noa_perf with dependency groups, at the versions pinned for this cell."""
    session.install("-qq", "--upgrade", "-c", str(BUILD), "pip")
    session.install(
        "-qq", "--build-constraint", str(BUILD), "-c", f"constraints/{constraints}.txt",
        "-e", ".", *(word for group in groups for word in ("--group", group)),
    )  # fmt: skip


def assert_django(session: nox.Session, version: str) -> None:
    """Fail unless this environment holds the Django that the cell is about."""
    wanted = tuple(map(int, version.split(".")))
    code = f"import django; assert django.VERSION[:2] == {wanted}, django.VERSION"
    session.run("python", "-c", code, silent=True)


def pytest(session: nox.Session, *arguments: str, expect: str) -> None:
    """Run pytest and keep its counts for the summary."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    session.run(
        "python", "-m", "pytest", f"--junit-xml={RESULTS / session.name}.xml", *arguments, *session.posargs,
        env={"NOA_PERF_EXPECT_DJANGO": expect},
    )  # fmt: skip


def start(session: nox.Session) -> str:
    """Forget the cell's last result; skip it where its interpreter is missing; return its Django."""
    python, django = CELLS[session.name]
    (RESULTS / f"{session.name}.xml").unlink(missing_ok=True)
    if interpreter(python) is None:
        session.skip(f"no Python {python} found")
    return django


def cell(session: nox.Session) -> None:
    """Run every test in one cell of the matrix; tests marked ``server`` start the servers that they need.

    Two workers, each with servers of its own: one waits as much as it works.
    """
    django = start(session)
    install(session, ["test", "mysql"], session.name)
    assert_django(session, django)
    pytest(session, "--numprocesses=2", "--dist=loadfile", *chosen(session), expect=django)


def chosen(session: nox.Session) -> list[str]:
    """Return which tests a cell runs: those marked ``once`` are the first's that runs here."""
    first = next(name for name, (python, _) in CELLS.items() if interpreter(python) is not None)
    return [] if session.name == first else ["-m", "not once"]


@nox.session(name="py311-django52", python=interpreter("3.11") or False)
def py311_django52(session: nox.Session) -> None:
    """Every test on Python 3.11 and Django 5.2."""
    cell(session)


@nox.session(name="py313-django61", python=interpreter("3.13") or False)
def py313_django61(session: nox.Session) -> None:
    """Every test on Python 3.13 and Django 6.1."""
    cell(session)


def third_party(session: nox.Session, group: str) -> None:
    """Run the tests of a site that noa_perf has never seen, in an environment of its own."""
    django = start(session)
    install(session, [group], session.name)
    assert_django(session, django)
    session.chdir(f"tests/thirdparty/{group}")
    pytest(session, expect=django)


@nox.session(python=interpreter("3.11") or False)
def oscar(session: nox.Session) -> None:
    """A django-oscar site; oscar names Django 5.2 and 6.0, so not 6.1."""
    third_party(session, "oscar")


@nox.session(name="wagtail-django52", python=interpreter("3.11") or False)
def wagtail_django52(session: nox.Session) -> None:
    """A wagtail site; wagtail names Django 5.2, 6.0 and 6.1."""
    third_party(session, "wagtail")


@nox.session(name="wagtail-django61", python=interpreter("3.13") or False)
def wagtail_django61(session: nox.Session) -> None:
    """The same on Python 3.13 and Django 6.1."""
    third_party(session, "wagtail")


@nox.session(python=False)
def summary(session: nox.Session) -> None:
    """Say which cells ran, and which were not found."""
    for name, (python, django) in CELLS.items():
        session.log("%-16s Python %s, Django %s: %s", name, python, django, outcome(name, python))


def outcome(name: str, python: str) -> str:
    """Return one cell's counts in words."""
    path = RESULTS / f"{name}.xml"
    if not path.exists():
        return "not finished" if interpreter(python) else f"NOT RUN, no Python {python} found"
    suite = ET.parse(path).getroot().find("testsuite")
    if suite is None:
        return "not finished"
    total, failures, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    bad = failures + errors
    return f"ran, {total - bad - skipped} passed, {bad} failed, {skipped} skipped"


@nox.session(python=False)
def constraints(session: nox.Session) -> None:
    """Resolve each environment anew, newest versions first, and write constraints/*.txt."""
    mysql = ["--group", "mysql"]
    wanted = {
        "py311-django52": ("3.11", "dev", ["django~=5.2.0", *mysql]),
        "py313-django61": ("3.13", "dev", ["django~=6.1.0", *mysql]),
        "oscar": ("3.11", "oscar", []),
        "wagtail-django52": ("3.11", "wagtail", ["django~=5.2.0"]),
        "wagtail-django61": ("3.13", "wagtail", ["django~=6.1.0"]),
        "lint": ("3.11", "lint", ["django~=5.2.0"]),
        "docs": ("3.11", "docs", ["django~=5.2.0"]),
        "bench": ("3.11", "bench", ["django~=5.2.0"]),
    }
    for name, (python, group, extra) in wanted.items():
        found = interpreter(python)
        if found is None:
            session.warn(f"constraints/{name}.txt stays as it is: no Python {python} found")
            continue
        write_constraints(session, name, found, [".", "--group", group, *extra])


def write_constraints(session: nox.Session, name: str, python: str, wanted: list[str]) -> None:
    """Install into an empty environment and write down what came, names and versions alone."""
    place = Path(session.create_tmp()) / name
    session.run(python, "-m", "venv", "--clear", str(place), external=True)
    pip = [str(place / "bin" / "python"), "-m", "pip"]
    session.run(*pip, "install", "-qq", "-U", "-c", str(BUILD), "pip", external=True)
    session.run(*pip, "install", "-qq", "--build-constraint", str(BUILD), *wanted, external=True)
    frozen = str(session.run(*pip, "freeze", "--exclude", "noa-perf", external=True, silent=True))
    lines = sorted(line for line in frozen.splitlines() if "==" in line)
    text = "# Written by `make constraints`.\n" + "\n".join(lines) + "\n"
    (ROOT / "constraints" / f"{name}.txt").write_text(text)
