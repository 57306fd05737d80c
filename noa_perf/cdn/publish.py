"""Publishing: what would change, a brake, the upload, the one move that makes a release live; back, and clean up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from noa_perf.cdn import releases as names
from noa_perf.cdn.exceptions import BadManifest, CdnError, DeployConflict, PlanRefused, TargetError, UnknownRelease
from noa_perf.cdn.manifest import Manifest
from noa_perf.cdn.releases import DROPPED, Pointer, Releases
from noa_perf.cdn.store import Store
from noa_perf.cdn.targets.base import Stored, Upload
from noa_perf.cdn.working import Progress, at_once, silent


@dataclass(frozen=True, slots=True)
class Plan:
    """What making a manifest live would change."""

    release: str
    live: str
    """What is live now; empty where nothing is."""
    uploads: tuple[Upload, ...]
    """What the target lacks."""
    added: tuple[str, ...]
    """Paths that the live release has not."""
    changed: tuple[str, ...]
    """Paths whose content is another now."""
    removed: tuple[str, ...]
    """Paths that the live release has, and this one has not. Their files stay until ``cdn_gc``."""
    before: int
    """Paths of the live release."""
    sound: bool
    """Whether the live release has a manifest that can be read."""

    @property
    def bytes(self) -> int:
        """Bytes to be uploaded."""
        return sum(each.size for each in self.uploads)

    @property
    def share_removed(self) -> float:
        """The part of the live release's paths that would be gone."""
        return len(self.removed) / self.before if self.before else 0.0

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return self.release == self.live and self.sound and not self.uploads


def plan(manifest: Manifest, store: Store, releases: Releases, pointer: Pointer) -> Plan:
    """Compare a manifest with what is live and with what is there: one listing."""
    there = releases.target.listing()
    live = _live(releases, pointer)
    before = live or {}
    uploads = [each for each in _uploads(manifest, store) if not _is_there(each, there.get(each.name))]
    both = manifest.paths.keys() & before.keys()
    return Plan(
        release=manifest.id,
        live=pointer.live,
        uploads=tuple(uploads),
        added=tuple(sorted(manifest.paths.keys() - before.keys())),
        changed=tuple(sorted(path for path in both if manifest.paths[path] != before[path])),
        removed=tuple(sorted(before.keys() - manifest.paths.keys())),
        before=len(before),
        sound=live is not None,
    )


def _live(releases: Releases, pointer: Pointer) -> Mapping[str, str] | None:
    """Return the paths of the live release; None where its manifest cannot be read."""
    if not pointer.live:
        return {}
    try:
        return releases.manifest(pointer.live).paths
    except (UnknownRelease, BadManifest):  # deleted or damaged, or of another version: publishing anew mends that
        return None


def _uploads(manifest: Manifest, store: Store) -> Iterator[Upload]:
    for asset in manifest.assets.values():
        for name, encoding, blob in asset.forms():
            yield Upload(name, partial(store.get, blob), blob.size, blob.md5, asset.type, encoding)


def _is_there(wanted: Upload, there: Stored | None) -> bool:
    return there is not None and there.size == wanted.size and there.md5 in {"", wanted.md5}


def refuse_large(plan: Plan, brake: float) -> None:
    """Raise :class:`~noa_perf.cdn.exceptions.PlanRefused` where more than ``brake`` (a share) would be removed."""
    if plan.share_removed > brake:
        raise PlanRefused(
            f"{len(plan.removed):,} of the {plan.before:,} files that are live would be gone ({plan.share_removed:.0%};"
            f" NOA_PERF['CDN']['BRAKE'] is {brake:.0%}). Did a finder or an app go missing? --force goes on."
        )


@dataclass(slots=True)
class Done:
    """What a deploy did."""

    plan: Plan
    uploaded: int = 0
    bytes: int = 0
    live: str = ""


def deploy(
    manifest: Manifest, store: Store, releases: Releases, *,
    brake: float, force: bool = False, workers: int = 0, progress: Progress = silent,
) -> Done:  # fmt: skip
    """Publish a manifest: announce it, upload what is lacking, make it live. Until the last step nothing is changed
    for anybody; killed at any step, the next run goes on.

    Raises :class:`~noa_perf.cdn.exceptions.DeployConflict` where somebody else published meanwhile,
    :class:`~noa_perf.cdn.exceptions.PlanRefused` at the brake, and
    :class:`~noa_perf.cdn.exceptions.TargetError` where the place fails.
    """
    pointer = releases.taken_over(releases.pointer())
    todo = plan(manifest, store, releases, pointer)
    if not force:
        refuse_large(todo, brake)
    done = Done(todo, live=pointer.live)
    if todo.idle:
        return done
    releases.announce(manifest)
    for file in _uploaded(todo.uploads, releases, workers, progress):
        done.uploaded += 1
        done.bytes += file.size
    releases.target.settle()
    if manifest.id != pointer.live:
        done.live = releases.move(pointer, manifest.id).live
    return done


def _uploaded(uploads: Sequence[Upload], releases: Releases, workers: int, progress: Progress) -> Iterator[Upload]:
    target = releases.target

    def upload(file: Upload) -> Upload:
        target.upload(file)
        return file

    return at_once("Upload", upload, uploads, workers or target.workers, progress)


def rollback(releases: Releases, to: str = "", *, force: bool = False, dry_run: bool = False) -> tuple[str, str]:
    """Make ``to`` live, or what was live before; return what was live and what is.

    Raises :class:`~noa_perf.cdn.exceptions.UnknownRelease` where there is none,
    :class:`~noa_perf.cdn.exceptions.TargetError` where files of it are missing, unless ``force``, and
    :class:`~noa_perf.cdn.exceptions.DeployConflict` where somebody else publishes.
    """
    pointer = releases.pointer()
    wanted = to or before(pointer)
    if not wanted:
        raise UnknownRelease(f"Nothing was live in {releases.target.where} before {pointer.live or 'now'}.")
    manifest = releases.manifest(wanted)
    if wanted != pointer.live:
        if not force:
            _refuse_holes(manifest, releases)
        if not dry_run:
            releases.move(releases.taken_over(pointer), wanted)
    return pointer.live, wanted


def _refuse_holes(manifest: Manifest, releases: Releases) -> None:
    there = releases.target.listing()
    missing = sorted(name for name in _forms(manifest) if name not in there)
    if missing:
        raise TargetError(
            f"{len(missing):,} files of release {manifest.id} are missing in {releases.target.where} (the first: "
            f"{missing[0]}). Publish it anew from its sources by cdn_deploy; --force makes it live as it is."
        )


def before(pointer: Pointer) -> str:
    """Return what was live before what is; empty if nothing was."""
    return next((release for release, _ in pointer.history if release != pointer.live), "")


BATCH = 500
"""Files that are deleted between two looks at the pointer."""


@dataclass(slots=True)
class Cleaned:
    """What ``cdn_gc`` did, or would do."""

    releases: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    bytes: int = 0


def gc(releases: Releases, *, keep: int, grace: float, dry_run: bool = False) -> Cleaned:
    """Delete the files that only releases name which are neither live, nor among the last ``keep`` that were, nor were
    live or announced within the last ``grace`` seconds. Files that no release names are none of its business.

    Raises :class:`~noa_perf.cdn.exceptions.DeployConflict` where somebody publishes meanwhile.
    """
    pointer = releases.pointer()
    releases.refuse_held(pointer)
    if dry_run or not pointer.token:
        return _doomed(releases, pointer, keep, grace)[0]
    pointer = releases.hold(pointer)
    try:
        cleaned, old, halfway = _doomed(releases, pointer, keep, grace)
        _delete(releases, pointer, cleaned, old, halfway)
    except BaseException:
        with suppress(CdnError):
            releases.let_go(pointer)
        raise
    releases.let_go(pointer)
    return cleaned


def _doomed(
    releases: Releases, pointer: Pointer, keep: int, grace: float
) -> tuple[Cleaned, dict[str, Manifest], list[str]]:
    """Return what is to go, the manifests of the releases among it, and those that a run before left half-way."""
    there = releases.target.listing()
    known = names.known(there)
    dropped = _dropped(known, pointer, keep, releases.now() - grace)
    old = {release: _readable(releases, release) for release in dropped}
    halfway = {name: _read(releases, name) for name in there if name.startswith(DROPPED)}
    doomed = {form for manifest in (*old.values(), *halfway.values()) for form in _forms(manifest)}
    kept = {form for release in known.keys() - set(dropped) for form in _forms(_needed(releases, release))}
    files = sorted((doomed - kept) & there.keys())
    return Cleaned(sorted(dropped), files, sum(there[name].size for name in files)), old, list(halfway)


def _delete(
    releases: Releases, pointer: Pointer, cleaned: Cleaned, old: Mapping[str, Manifest], halfway: Iterable[str]
) -> None:
    target = releases.target
    # A manifest goes before its files: while it is there, somebody may go back to it.
    for release, manifest in old.items():
        target.write(f"{DROPPED}{release}.json", manifest.to_json().encode())
    target.delete([f"{names.FOLDER}{release}.json" for release in old])
    for start in range(0, len(cleaned.files), BATCH):
        # Somebody may have taken over meanwhile, who counts on files that are there.
        releases.refuse_moved(pointer)
        target.delete(cleaned.files[start : start + BATCH])
    target.delete([*halfway, *(f"{DROPPED}{release}.json" for release in old)])


def _dropped(known: Mapping[str, float], pointer: Pointer, keep: int, oldest: float) -> list[str]:
    lately = list(dict.fromkeys(release for release, _ in pointer.history))[:keep]
    return [
        release
        for release, announced in known.items()
        if release not in lately and release != pointer.live and max(announced, pointer.until(release)) < oldest
    ]


def _forms(manifest: Manifest) -> Iterator[str]:
    for asset in manifest.assets.values():
        for name, _, _ in asset.forms():
            yield name


def _needed(releases: Releases, release: str) -> Manifest:
    try:
        return releases.manifest(release)
    except BadManifest as error:
        raise BadManifest(f"{error} So nobody can tell which files it needs, and nothing is deleted.") from error


def _readable(releases: Releases, release: str) -> Manifest:
    """Return the manifest of a release that is to go; an empty one where it cannot be read: its files stay."""
    try:
        return releases.manifest(release)
    except BadManifest:
        return Manifest(paths={}, assets={})


def _read(releases: Releases, name: str) -> Manifest:
    known = releases.target.read(name)
    if known is None:
        raise DeployConflict(f"{name} of {releases.target.where} is gone: another cdn_gc runs.")
    return Manifest.from_json(known[0], name)
