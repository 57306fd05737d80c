"""What commands and the admin ask for: the releases of ``STORAGES["staticfiles"]``, as the settings say."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.exceptions import ImproperlyConfigured

from noa_perf.cdn import publish
from noa_perf.cdn.building import store
from noa_perf.cdn.conf import settings
from noa_perf.cdn.exceptions import BadManifest, TargetError
from noa_perf.cdn.manifest import Manifest
from noa_perf.cdn.publish import Cleaned, Done, Plan
from noa_perf.cdn.releases import Releases, known
from noa_perf.cdn.storage import ReleaseMixin
from noa_perf.cdn.working import Progress, silent

audit = logging.getLogger("noa_perf.audit")


def storage() -> ReleaseMixin:
    """Return ``STORAGES["staticfiles"]``.

    Raises :class:`~noa_perf.cdn.exceptions.TargetError` if it holds no releases.
    """
    chosen = getattr(staticfiles_storage, "_wrapped", staticfiles_storage)
    if not isinstance(staticfiles_storage, ReleaseMixin):
        raise TargetError(
            f"STORAGES['staticfiles'] is {type(chosen).__name__}, which holds no releases: set its BACKEND to "
            "'noa_perf.cdn.storage.ReleaseStaticFilesStorage', or '...storage_s3.ReleaseS3StaticStorage'."
        )
    return staticfiles_storage


def releases() -> Releases:
    """Return the releases of ``STORAGES["staticfiles"]``.

    Raises :class:`~noa_perf.cdn.exceptions.TargetError` where it holds none, or has no place for them.
    """
    try:
        return storage().releases
    except ImproperlyConfigured as error:
        raise TargetError(str(error)) from error


def plan(manifest: Manifest) -> Plan:
    """Return what publishing a manifest would change."""
    there = releases()
    return publish.plan(manifest, store(), there, there.pointer())


def deploy(manifest: Manifest, *, force: bool = False, progress: Progress = silent) -> Done:
    """Publish a manifest; see :func:`noa_perf.cdn.publish.deploy`."""
    own = settings()
    done = publish.deploy(
        manifest, store(), releases(), brake=own.brake, force=force, workers=own.workers, progress=progress
    )
    if done.live != done.plan.live:
        audit.info("noa_perf.cdn: release %s is live in place of %s", done.live, done.plan.live or "none")
    return done


def clean(*, dry_run: bool = False) -> Cleaned:
    """Delete what is kept no longer; see :func:`noa_perf.cdn.publish.gc`."""
    own = settings()
    return publish.gc(releases(), keep=own.keep_releases, grace=own.grace, dry_run=dry_run)


def rollback(to: str = "", *, dry_run: bool = False, force: bool = False, by: str = "the terminal") -> tuple[str, str]:
    """Go back; see :func:`noa_perf.cdn.publish.rollback`."""
    was, now = publish.rollback(releases(), to, force=force, dry_run=dry_run)
    if not dry_run and was != now:
        audit.info("noa_perf.cdn: release %s is live in place of %s, by %s", now, was or "none", by)
    return was, now


def difference(release: str) -> int:
    """Return how many paths have another content in the live release than in this one, or are in one of them alone."""
    there = releases()
    live = there.pointer().live
    mine, other = (dict(there.manifest(each).paths) if each else {} for each in (live, release))
    return sum(1 for path in mine.keys() | other.keys() if mine.get(path) != other.get(path))


def listed() -> list[dict[str, Any]]:
    """Return the releases, those that went live last first: id, times, paths, bytes of all forms."""
    there = releases()
    pointer = there.pointer()
    rows = []
    for release, announced in known(there.target.listing()).items():
        files, size = _weight(there, release)
        since = pointer.since(release) or None
        rows.append({
            "release": release, "live": release == pointer.live, "announced": announced, "since": since,
            "files": files, "bytes": size,
        })  # fmt: skip
    return sorted(rows, key=lambda row: (row["since"] or 0.0, row["announced"]), reverse=True)


def _weight(there: Releases, release: str) -> tuple[int, int]:
    """Return the paths of a release and the bytes of all its forms; nothing where its manifest cannot be read."""
    try:
        manifest = there.manifest(release)
    except BadManifest:
        return 0, 0
    return len(manifest.paths), sum(blob.size for asset in manifest.assets.values() for _, _, blob in asset.forms())
