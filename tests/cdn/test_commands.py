"""The commands: what they print, as JSON and for people, and how they end."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from noa_perf.cdn import service
from tests.cdn.site import site, write

FILES = {
    "css/app.css": "".join(f".c{place} {{ color: #ff0000; background: url(b.svg) }}\n" for place in range(60)),
    "css/b.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>" * 20,
    "c.txt": "c", "d.txt": "d", "e.txt": "e",
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    with site(tmp_path, FILES) as root:
        yield root


def run(command, *arguments):
    """Return how a command ended, and what it wrote."""
    out = io.StringIO()
    try:
        call_command(command, *arguments, stdout=out)
    except SystemExit as ended:
        return ended.code, out.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    return 0, out.getvalue()


def told(command, *arguments):
    code, out = run(command, "--format", "json", *arguments)
    return code, json.loads(out)


def test_build_says_what_it_saved(root, capsys):
    code, report = told("cdn_build")
    assert code == 0
    assert report["files"] == 5
    css = next(row for row in report["types"] if row["type"] == "text/css")
    assert css["before"] > css["now"] > css["gzip"] > css["br"]
    assert report["findings"] == []
    assert not root.exists()
    assert "Minify" in capsys.readouterr().err  # the bar is no part of the JSON
    assert told("cdn_build")[1]["steps"] == 0
    code, out = run("cdn_build")
    assert "text/css" in out
    assert f"Release {report['release']}: 5 files" in out


def test_a_file_that_is_named_and_not_there_is_a_finding(tmp_path, root):
    write(tmp_path / "assets", {"css/bad.css": "a { background: url(gone.png) }"})
    code, report = told("cdn_build", "--fail-level", "high")
    assert code == 1
    (finding,) = report["findings"]
    assert (finding["kind"], finding["subject"]) == ("missing_asset", "css/bad.css")
    assert "gone.png" in run("cdn_build")[1]
    assert told("cdn_build")[0] == 0
    assert told("cdn_plan")[0] == 1
    code, report = told("cdn_deploy")  # it stops nothing
    assert (code, [each["kind"] for each in report["findings"]]) == (0, ["missing_asset"])
    assert told("cdn_deploy", "--fail-level", "medium")[0] == 1


def test_plan_changes_nothing_and_says_what_deploy_will_do(tmp_path, root):
    code, planned = told("cdn_plan")
    assert (code, planned["live"], planned["removed"]) == (0, "", [])
    assert not root.exists()
    code, done = told("cdn_deploy")
    assert (done["release"], done["uploaded"], done["bytes"]) == (
        planned["release"], len(planned["upload"]), planned["bytes"],
    )  # fmt: skip
    write(tmp_path / "assets", {"c.txt": "changed", "new.txt": "new"})
    code, planned = told("cdn_plan")
    assert (planned["added"], planned["changed"], planned["upload"][0]["bytes"]) == (["new.txt"], ["c.txt"], 7)
    code, dry = told("cdn_deploy", "--dry-run")
    assert dry["dry_run"]
    assert service.releases().pointer().live == done["release"]
    text = run("cdn_plan")[1]
    assert "Added: 1 path." in text
    assert "To purge: nothing" in text


def test_the_brake(tmp_path, root):
    assert run("cdn_deploy")[0] == 0
    for name in ("c.txt", "d.txt", "e.txt"):
        (tmp_path / "assets" / name).unlink()
    code, planned = told("cdn_plan")
    assert code == 1
    assert planned["findings"][0]["kind"] == "brake"
    code, text = run("cdn_deploy")
    assert code == 2
    assert "3 of the 5 files" in text
    assert run("cdn_deploy", "--force")[0] == 0
    assert len(service.listed()) == 2


def test_back_forth_and_clean(tmp_path, root, settings):
    one = told("cdn_deploy")[1]["release"]
    write(tmp_path / "assets", {"c.txt": "changed"})
    two = told("cdn_deploy")[1]["release"]
    assert [row["release"] for row in told("cdn_releases")[1]["releases"]] == [two, one]
    assert "live" in run("cdn_releases")[1]
    assert told("cdn_rollback", "--dry-run")[1] == {
        "dry_run": True, "was": two, "release": one, "purged": [], "findings": [],
    }  # fmt: skip
    assert service.releases().pointer().live == two
    assert run("cdn_rollback")[1] == f"Release {one} is live; it was {two}.\n"
    assert run("cdn_rollback", two)[0] == 0
    assert "is live already" in run("cdn_rollback", two)[1]
    code, text = run("cdn_rollback", "0123456789abcdef")
    assert code == 2
    assert one in text
    settings.NOA_PERF = {"CDN": {**settings.NOA_PERF["CDN"], "KEEP_RELEASES": 1, "GRACE": 0}}
    assert told("cdn_gc", "--dry-run")[1]["releases"] == [one]
    assert "1 file (1 byte) of 1 release deleted." in run("cdn_gc")[1]
    assert [row["release"] for row in service.listed()] == [two]


def test_nothing_is_published_yet(root):
    assert "Nothing is published" in run("cdn_releases")[1]
    assert run("cdn_rollback")[0] == 2
    assert run("cdn_verify")[0] == 2
    assert run("cdn_purge", "--all")[0] == 2
    assert "0 files (0 bytes) of 0 releases deleted." in run("cdn_gc")[1]


def test_while_somebody_cleans_up_a_deploy_says_so(root):
    assert run("cdn_deploy")[0] == 0
    releases = service.releases()
    releases.hold(releases.pointer())
    code, text = run("cdn_rollback", releases.pointer().live)
    assert code == 0  # it is live already: nothing has to be moved
    assert run("cdn_gc")[0] == 2
    code, text = run("cdn_deploy", "--force")
    assert code == 2
    assert "cdn_gc runs on" in text


def test_a_bomb_ends_the_build_with_the_setting(tmp_path, root, settings):
    from tests.cdn.files import photo

    write(tmp_path / "assets", {"bomb.jpg": photo(64, 64)})
    settings.NOA_PERF = {"CDN": {**settings.NOA_PERF["CDN"], "IMAGE_MAX_PIXELS": 1_000}}
    code, text = run("cdn_build")
    assert code == 2
    assert "bomb.jpg has 4,096 pixels" in text
    assert "IMAGE_MAX_PIXELS" in text
