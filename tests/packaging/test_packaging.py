"""The wheel and the sdist: built, installed into an empty environment, and used there."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import django
import pytest

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints"

pytestmark = pytest.mark.slow

# Runs inside the empty environment: a site with noa_perf's apps that need nothing beside Django.
SITE = """
import io
import json
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

import noa_perf

assert Path(noa_perf.__file__).is_relative_to(sys.prefix), noa_perf.__file__
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.staticfiles",
                    "noa_perf.optimizer", "noa_perf.cdn"],
    MIDDLEWARE=["noa_perf.optimizer.middleware.QueryMonitorMiddleware"],
    ROOT_URLCONF="site_urls",
    STATIC_URL="/static/",
    STATIC_ROOT=str(Path("published").resolve()),
    STATICFILES_DIRS=[str(Path("assets").resolve())],
    STORAGES={"staticfiles": {"BACKEND": "noa_perf.cdn.storage.ReleaseStaticFilesStorage"}},
    BASE_DIR=str(Path.cwd()),
)
sys.modules["site_urls"] = type(sys)("site_urls")
sys.modules["site_urls"].urlpatterns = []
Path("assets").mkdir()
Path("assets/app.css").write_text("a { background: url(b.svg) }" * 40)
Path("assets/b.svg").write_text("<svg/>")
django.setup()
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)

from django.core.management import get_commands
from django.test import Client
from django.test.utils import setup_test_environment

setup_test_environment()
assert Client().get("/nothing-here/").status_code == 404

from django.templatetags.static import static

out = io.StringIO()
call_command("cdn_build", "--format", "json", stdout=out)
# Nothing makes small, and brotli is not there: gzip and names by content need no package.
assert len(json.loads(out.getvalue())["without"]) == 4, out.getvalue()
call_command("cdn_deploy", stdout=io.StringIO())
assert Path("published", static("app.css").removeprefix("/static/") + ".gz").exists()
vcl = io.StringIO()
call_command("cdn_edge_config", "varnish", stdout=vcl)
assert "vcl_recv" in vcl.getvalue()
print(*sorted(name for name, app in get_commands().items() if app.startswith("noa_perf")))
"""


def constraints() -> list[str]:
    """Return pip's arguments that pin this cell's versions, where they are pinned."""
    name = "py{}{}-django{}{}.txt".format(*sys.version_info[:2], *django.VERSION[:2])
    return ["-c", str(CONSTRAINTS / name)] if (CONSTRAINTS / name).exists() else []


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command away from this process's own import path; return what it printed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "DJANGO_"))}
    done = subprocess.run([*map(str, command)], check=False, cwd=cwd, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the sdist, and the wheel from the sdist, as an index would get them."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--quiet", "--outdir", out, ROOT)
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def tracked() -> set[str]:
    """Return the package's files in the working tree, caches left out."""
    files = (path for path in (ROOT / "noa_perf").rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"}


def test_wheel_holds_the_whole_package(distributions: dict[str, Path]) -> None:
    names = {name for name in zipfile.ZipFile(distributions["wheel"]).namelist() if ".dist-info/" not in name}
    assert names == tracked()
    assert "noa_perf/py.typed" in names


def test_sdist_holds_the_package_and_its_papers(distributions: dict[str, Path]) -> None:
    with tarfile.open(distributions["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked() <= names
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"} <= names
    assert not any(name.startswith(("tests/", "testproject/")) for name in names)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_installs_into_an_empty_environment(kind: str, distributions: dict[str, Path], tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", *constraints(), distributions[kind], cwd=tmp_path)
    assert run(python, "-c", "import django; print('%d.%d' % django.VERSION[:2])", cwd=tmp_path).strip() == (
        "{}.{}".format(*django.VERSION[:2])
    )
    commands = run(python, "-c", SITE, cwd=tmp_path).splitlines()[-1].split()
    apps = [ROOT / "noa_perf" / app / "management" / "commands" for app in ("optimizer", "cdn")]
    assert set(commands) == {path.stem for here in apps for path in here.glob("[a-z]*.py")}


def test_the_package_needs_no_development_dependency(distributions: dict[str, Path]) -> None:
    with zipfile.ZipFile(distributions["wheel"]) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    lines = [line.split(": ")[1] for line in text.splitlines() if line.startswith("Requires-Dist: ")]
    assert {line.split(">")[0].lower() for line in lines if "extra ==" not in line} == {"django", "sqlglot"}


def test_pytest_finds_the_plugin(distributions: dict[str, Path]) -> None:
    with zipfile.ZipFile(distributions["wheel"]) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/entry_points.txt"))
        text = archive.read(name).decode()
    assert text.split() == ["[pytest11]", "noa_perf", "=", "noa_perf.optimizer.pytest_plugin"]
