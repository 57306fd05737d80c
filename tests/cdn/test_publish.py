"""Releases: published, moved, cleaned up; killed at every step; two at once."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from noa_perf.cdn import publish
from noa_perf.cdn.exceptions import BadManifest, DeployConflict, PlanRefused, TargetError, UnknownRelease
from noa_perf.cdn.publish import deploy, gc, rollback
from noa_perf.cdn.releases import FOLDER, LEASE, POINTER, Releases, known
from noa_perf.cdn.store import TEMPORARY, Store
from noa_perf.cdn.targets.folder import Folder
from noa_perf.core.clock import ManualClock
from tests.cdn.files import build

ONE = {"css/a.css": "a { color: red }\n" * 40, "js/b.js": "let b = 1;\n" * 40, "c.txt": "one"}
TWO = ONE | {"css/a.css": "a { color: blue }\n" * 40, "d.txt": "new"}
DAY = 86_400.0


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def releases(tmp_path, clock):
    return Releases(Folder(tmp_path / "static"), clock)


def publish_(store, releases, contents, **options):
    return deploy(build(store, contents).manifest, store, releases, **{"brake": 1.0, "workers": 1, **options})


def whole(releases, release=""):
    """Say whether a release, the live one, is there with all its files as they were built."""
    manifest = releases.manifest(release or releases.pointer().live)
    for asset in manifest.assets.values():
        for name, _, blob in asset.forms():
            data = (releases.target.root / name).read_bytes()
            assert len(data) == blob.size, name
            assert publish_blob(data) == blob.sha256, name
    return True


def publish_blob(data):
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_a_release_is_live_when_all_of_it_is_there(store, releases):
    done = publish_(store, releases, ONE)
    assert done.uploaded == sum(1 for asset in build(store, ONE).manifest.assets.values() for _ in asset.forms())
    assert done.live == releases.pointer().live == build(store, ONE).manifest.id
    assert whole(releases)


def test_publishing_again_does_nothing(store, releases):
    publish_(store, releases, ONE)
    before = releases.pointer()
    done = publish_(store, releases, ONE)
    assert (done.uploaded, done.bytes, done.plan.idle) == (0, 0, True)
    assert releases.pointer() == before


def test_only_what_is_lacking_is_uploaded(store, releases):
    publish_(store, releases, ONE)
    done = publish_(store, releases, TWO)
    assert {each.name.partition(".")[0] for each in done.plan.uploads} == {"css/a", "d"}
    assert (done.plan.added, done.plan.changed, done.plan.removed) == (("d.txt",), ("css/a.css",), ())


def test_what_somebody_deleted_or_cut_by_hand_is_mended(store, releases):
    publish_(store, releases, ONE)
    names = sorted(name for name in releases.target.listing() if name.endswith((".css", ".txt")))
    (releases.target.root / names[0]).unlink()
    (releases.target.root / names[1]).write_bytes(b"x")
    done = publish_(store, releases, ONE)
    assert done.uploaded == 2
    assert whole(releases)


def test_old_names_stay_so_that_old_pages_go_on(store, releases):
    publish_(store, releases, ONE)
    first = set(releases.target.listing())
    publish_(store, releases, TWO)
    assert first <= set(releases.target.listing())


def test_the_brake_holds_and_force_goes_on(store, releases):
    publish_(store, releases, ONE)
    live = releases.pointer().live
    with pytest.raises(PlanRefused, match=r"2 of the 3 files.*67%.*30%.*--force"):
        publish_(store, releases, {"c.txt": "one"}, brake=0.3)
    assert releases.pointer().live == live
    assert publish_(store, releases, {"c.txt": "one"}, brake=0.3, force=True).live != live
    assert publish_(store, releases, {"c.txt": "two"}, brake=0.0).live


def test_back_is_one_move_and_uploads_nothing(store, releases):
    publish_(store, releases, ONE)
    one = releases.pointer().live
    publish_(store, releases, TWO)
    two = releases.pointer().live
    listing = releases.target.listing()
    assert rollback(releases) == (two, one)
    after = releases.target.listing()
    assert {name for name in after if after[name] != listing.get(name)} == {POINTER}
    assert rollback(releases) == (one, two)
    assert rollback(releases, two) == (two, two)
    assert [release for release, _ in releases.pointer().history] == [two, one, two, one]


@pytest.mark.parametrize("release", ["0123456789abcdef", "../x", "", "a/b"])
def test_a_release_that_is_not_there_is_named(store, releases, release):
    publish_(store, releases, ONE)
    with pytest.raises(UnknownRelease):
        releases.manifest(release)
    if release:
        with pytest.raises(UnknownRelease):
            rollback(releases, release)


def test_there_is_nothing_before_the_first(store, releases):
    with pytest.raises(UnknownRelease, match="Nothing was live"):
        rollback(releases)
    publish_(store, releases, ONE)
    with pytest.raises(UnknownRelease, match="before"):
        rollback(releases)


# Killed at every step.


_Any: Any = object


class Stepping(_Any):  # type: ignore[misc]
    """Counts what is done to a target, and dies at one of the steps, in the middle of it."""

    at = step = 0

    def upload(self, file):
        self._die_at(lambda: super(Stepping, self).upload(replace(file, read=lambda: file.read()[: file.size // 2])))
        super().upload(file)

    def write(self, name, data):
        self._die_at(lambda: None)
        super().write(name, data)

    def replace(self, name, data, token):
        self._die_at(lambda: None)
        super().replace(name, data, token)
        self._die_at(lambda: None)

    def delete(self, names):
        self._die_at(lambda: super(Stepping, self).delete(list(names)[: len(names) // 2]))
        super().delete(names)

    def settle(self):
        self._die_at(lambda: None)

    def _die_at(self, half):
        self.step += 1
        if self.step == self.at:
            with suppress(TargetError):  # S3 takes no half of an upload
                half()
            os.kill(os.getpid(), signal.SIGKILL)


class SteppingFolder(Stepping, Folder):
    pass


def killed_at(step, make_target, work):
    """Do ``work`` to releases in a child that kills itself at this step; say whether it got to its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            target = make_target()
            target.at = step
            work(Releases(target, ManualClock(wall=1_800_000_000.0 + step)))
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


@pytest.mark.parametrize("existing", [False, True])
def test_a_deploy_killed_at_any_step_leaves_what_was_live_and_the_next_one_goes_on(tmp_path, store, existing):
    manifest = build(store, TWO).manifest
    for step in range(1, 100):
        root = tmp_path / f"static{step}"
        releases = Releases(Folder(root))
        if existing:
            publish_(store, releases, ONE)
        before = releases.pointer().live
        ended = killed_at(
            step,
            lambda root=root: SteppingFolder(root),
            lambda there: deploy(manifest, store, there, brake=1.0, workers=1),
        )
        now = releases.pointer().live
        assert now in {before, manifest.id}
        if now:
            assert whole(releases)
        publish_(store, releases, TWO)
        assert releases.pointer().live == manifest.id
        assert whole(releases)
        if ended:
            break
    assert ended
    assert step > 6 if existing else step > 9


def test_a_process_killed_in_the_middle_of_a_write_leaves_no_half_file(tmp_path, store, releases, monkeypatch):
    manifest = build(store, ONE).manifest
    pid = os.fork()
    if pid == 0:

        def die(*args):
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr("noa_perf.cdn.store.Path.replace", die)
        try:
            deploy(manifest, store, releases, brake=1.0, workers=1)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    left = [path.name for path in releases.target.root.rglob("*") if path.is_file()]
    assert left
    assert all(name.startswith(TEMPORARY) for name in left)
    assert not releases.target.listing()
    publish_(store, releases, ONE)
    assert whole(releases)


def test_a_cleaning_killed_at_any_step_breaks_nothing_and_the_next_one_ends_it(tmp_path, store):
    for step in range(1, 60):
        root = tmp_path / f"static{step}"
        clock = ManualClock()
        releases = Releases(Folder(root), clock)
        for contents in (ONE, {"only.txt": "old"}, TWO):
            publish_(store, releases, contents)
        live = releases.pointer().live
        later = ManualClock(wall=clock.time() + 400 * DAY)
        ended = killed_at(
            step,
            lambda root=root: SteppingFolder(root),
            lambda there, later=later: gc(Releases(there.target, later), keep=1, grace=DAY),
        )
        assert releases.pointer().live == live
        assert whole(releases)
        for release in known(releases.target.listing()):
            assert whole(releases, release), "whatever is listed can be gone back to"
        after = Releases(Folder(root), ManualClock(wall=later.time() + LEASE + 1))
        gc(after, keep=1, grace=DAY)
        left = {name for name in after.target.listing() if not name.startswith(FOLDER)}
        assert left == {name for asset in after.manifest(live).assets.values() for name, _, _ in asset.forms()}
        assert set(known(after.target.listing())) == {live}
        assert not any("dropped" in name for name in after.target.listing())
        if ended:
            break
    assert ended
    assert step > 5


# Two at once.


class Meanwhile(Folder):
    """Somebody else does something at the first upload."""

    def __init__(self, root, what):
        super().__init__(root)
        self.what = what

    def upload(self, file):
        what, self.what = self.what, None
        if what:
            what()
        super().upload(file)


def test_of_two_deploys_at_once_one_wins_and_the_other_says_so(tmp_path, store):
    root = tmp_path / "static"
    mine = Releases(Folder(root))
    publish_(store, mine, ONE)
    third = ONE | {"e.txt": "third"}
    slow = Releases(Meanwhile(root, lambda: publish_(store, mine, third)))
    with pytest.raises(DeployConflict, match="nothing of this is live"):
        publish_(store, slow, TWO)
    assert mine.pointer().live == build(store, third).manifest.id
    assert whole(mine)
    publish_(store, mine, TWO)
    assert whole(mine)


def test_two_first_deploys_at_once(tmp_path, store):
    root = tmp_path / "static"
    slow = Releases(Meanwhile(root, lambda: publish_(store, Releases(Folder(root)), ONE)))
    with pytest.raises(DeployConflict):
        publish_(store, slow, TWO)
    assert Releases(Folder(root)).pointer().live == build(store, ONE).manifest.id


def test_a_deploy_that_meets_a_cleaning_starts_over(tmp_path, store):
    """It may have counted on a file that the cleaning deletes."""
    root = tmp_path / "static"
    clock = ManualClock()
    now = Releases(Folder(root), clock)
    publish_(store, now, ONE | {"rare.txt": "only in the first"})
    publish_(store, now, ONE)
    clock.advance(400 * DAY)
    slow = Releases(Meanwhile(root, lambda: gc(now, keep=1, grace=DAY)), clock)
    with pytest.raises(DeployConflict):
        publish_(store, slow, TWO | {"rare.txt": "only in the first"})
    publish_(store, now, TWO | {"rare.txt": "only in the first"})
    assert whole(now)


def test_while_a_cleaning_runs_nobody_publishes_goes_back_or_cleans(store, releases, clock):
    publish_(store, releases, ONE)
    publish_(store, releases, TWO)
    held = releases.hold(releases.pointer())
    for refused in (
        lambda: publish_(store, releases, ONE),
        lambda: rollback(releases),
        lambda: gc(releases, keep=1, grace=0),
    ):
        with pytest.raises(DeployConflict, match="cdn_gc runs"):
            refused()
    clock.advance(LEASE + 1)  # it was killed
    assert rollback(releases)
    with pytest.raises(DeployConflict):
        releases.let_go(held)


# Cleaning up.


def test_cleaning_keeps_what_is_named_and_what_is_young(store, releases, clock):
    names = {}
    for place in range(5):
        contents = {"all.txt": "all", f"only{place}.txt": str(place)}
        names[place] = publish_(store, releases, contents).live
        clock.advance(DAY)
    (releases.target.root / "foreign.txt").write_text("not ours")
    os.utime(releases.target.root / "foreign.txt", (0, 0))
    for release in names.values():  # the files' times are the machine's; here the test's clock counts
        os.utime(releases.target.root / FOLDER / f"{release}.json", (clock.time() - 9 * DAY,) * 2)

    def left():
        return sorted(path.name.partition(".")[0] for path in releases.target.root.glob("*.txt"))

    # The first was live until four days ago, the second until three.
    would = gc(releases, keep=2, grace=3.5 * DAY, dry_run=True)
    assert would.releases == [names[0]]
    assert len(left()) == 7
    did = gc(releases, keep=2, grace=3.5 * DAY)
    assert (did.releases, did.files, did.bytes) == (would.releases, would.files, 1)
    assert left() == ["all", "foreign", "only1", "only2", "only3", "only4"]
    assert gc(releases, keep=4, grace=0).files == []
    gc(releases, keep=1, grace=0)
    assert left() == ["all", "foreign", "only4"]
    assert whole(releases)


def test_a_release_that_somebody_went_back_to_is_kept(store, releases, clock):
    one = publish_(store, releases, ONE).live
    for place in range(3):
        clock.advance(DAY)
        publish_(store, releases, {"a.txt": str(place)})
    rollback(releases, one)
    gc(releases, keep=1, grace=0)
    assert releases.pointer().live == one
    assert whole(releases)


def test_cleaning_where_nothing_was_published(releases):
    assert gc(releases, keep=1, grace=0).files == []


def test_an_error_in_a_cleaning_lets_the_others_go_on(store, releases, clock, monkeypatch):
    publish_(store, releases, ONE)
    publish_(store, releases, {"a.txt": "1"})
    clock.advance(400 * DAY)

    def fail(self, names):
        raise TargetError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "delete", fail)
        with pytest.raises(TargetError):
            gc(releases, keep=1, grace=DAY)
    publish_(store, releases, TWO)
    assert whole(releases)


# Bad places.


def test_a_folder_that_cannot_be_written_is_named(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match=r"cannot be.*STATIC_ROOT"):
        publish_(store, Releases(Folder(tmp_path / "file" / "static")), ONE)


def test_a_full_disk_leaves_what_was_live(store, releases, monkeypatch):
    publish_(store, releases, ONE)
    live = releases.pointer().live

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("noa_perf.cdn.targets.folder.write_whole", full)
        with pytest.raises(TargetError, match=r"No space left.*with room"):
            publish_(store, releases, TWO)
    assert releases.pointer().live == live
    assert whole(releases)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"live": "x"}', "null"])
def test_a_broken_pointer_or_manifest_is_said_to_be_one(store, releases, text):
    live = publish_(store, releases, ONE).live
    (releases.target.root / FOLDER / f"{live}.json").write_text(text)
    with pytest.raises(BadManifest, match=r"no manifest|version"):
        releases.manifest(live)
    (releases.target.root / POINTER).write_text(text)
    with pytest.raises(BadManifest, match=r"live\.json.*delete it"):
        releases.pointer()


def test_a_manifest_that_was_deleted_by_hand_is_published_anew(store, releases):
    live = publish_(store, releases, ONE).live
    (releases.target.root / FOLDER / f"{live}.json").unlink()
    assert publish_(store, releases, TWO).live
    assert whole(releases)
    assert publish.before(releases.pointer()) == live
    with pytest.raises(UnknownRelease):
        rollback(releases)


def test_the_same_release_is_announced_again_where_its_manifest_is_gone(store, releases):
    live = publish_(store, releases, ONE).live
    (releases.target.root / FOLDER / f"{live}.json").unlink()
    assert publish_(store, releases, ONE).live == live
    assert whole(releases)


@pytest.mark.parametrize("text", ['{"version": 0}', "{", '{"version": 1, "paths": [1], "assets": {}, "pictures": {}}'])
def test_a_live_manifest_that_cannot_be_read_is_got_over_by_publishing(store, releases, clock, text):
    live = publish_(store, releases, ONE).live
    path = releases.target.root / FOLDER / f"{live}.json"
    path.write_text(text)
    assert publish_(store, releases, ONE).live == live
    assert whole(releases)
    path.write_text(text)
    publish_(store, releases, TWO)
    assert whole(releases)
    with pytest.raises(BadManifest, match="nothing is deleted"):
        gc(releases, keep=2, grace=0)
    clock.advance(9 * DAY)
    os.utime(path, (0, 0))
    gc(releases, keep=1, grace=DAY)
    assert list(known(releases.target.listing())) == [releases.pointer().live]
    assert whole(releases)


@pytest.mark.parametrize("behind", [4_000, 400 * DAY])
def test_a_cleaning_that_slept_or_has_another_clock_stops_where_somebody_took_over(tmp_path, store, behind):
    root = tmp_path / "static"
    clock = ManualClock(wall=2_000_000_000.0)
    now = Releases(Folder(root), clock)
    old = ONE | {"css/a.css": "a { color: tan }\n" * 40}
    publish_(store, now, old)
    publish_(store, now, ONE)
    clock.advance(900 * DAY)

    class Slept(Folder):
        def delete(self, names):
            if any(FOLDER in name for name in names):  # the manifests are gone, the files are next
                super().delete(names)
                publish_(store, now, old)
            else:
                super().delete(names)

    late = Releases(Slept(root), ManualClock(wall=clock.time() - behind))
    with pytest.raises(DeployConflict):
        gc(late, keep=1, grace=0)
    assert now.pointer().live == build(store, old).manifest.id
    assert whole(now)


def test_a_link_to_nothing_is_no_file(store, releases):
    publish_(store, releases, ONE)
    (releases.target.root / "gone.txt").symlink_to(releases.target.root / "nowhere")
    assert "gone.txt" not in releases.target.listing()
    publish_(store, releases, TWO)
    assert whole(releases)


def test_what_is_published_can_be_read_by_others_whatever_the_umask(tmp_path, store):
    before = os.umask(0o077)
    try:
        plain, own = (Releases(folder) for folder in (Folder(tmp_path / "a"), Folder(tmp_path / "b", 0o640, 0o750)))
        for releases in (plain, own):
            publish_(store, releases, ONE)
    finally:
        os.umask(before)
    for folder, file_mode, folder_mode in (("a", 0o644, 0o755), ("b", 0o640, 0o750)):
        paths = [path for path in (tmp_path / folder).rglob("*") if TEMPORARY not in path.name]
        assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {file_mode}
        assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {folder_mode}


def test_nobody_goes_back_to_a_release_with_holes_unless_he_means_to(store, releases):
    one = publish_(store, releases, ONE).live
    two = publish_(store, releases, TWO).live
    only = _names(releases, one) - _names(releases, two)
    gone = next(path for path in releases.target.root.glob("css/*") if path.name in only)
    gone.unlink()
    with pytest.raises(TargetError, match=r"1 files of release.*--force"):
        rollback(releases)
    assert releases.pointer().live == two
    assert rollback(releases, force=True) == (two, one)


def _names(releases, release):
    return {
        name.rpartition("/")[2] for asset in releases.manifest(release).assets.values() for name, _, _ in asset.forms()
    }
