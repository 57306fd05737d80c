"""``STORAGES["staticfiles"]``: ``{% static %}`` and ``collectstatic`` over releases in a folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from django.conf import settings as django_settings
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from noa_perf.cdn import building, publish, purging
from noa_perf.cdn.conf import settings
from noa_perf.cdn.exceptions import CdnError
from noa_perf.cdn.live import Live
from noa_perf.cdn.manifest import Picture
from noa_perf.cdn.pipeline.sources import stored
from noa_perf.cdn.releases import FOLDER, Releases
from noa_perf.cdn.targets.base import Target
from noa_perf.cdn.targets.folder import Folder

_PUBLISHED = re.compile(r"\.[0-9a-f]{12}(\.[^./]+)?(\.br|\.gz)?$")
"""How names end that releases publish."""

logger = logging.getLogger("noa_perf.cdn")

if TYPE_CHECKING:
    from django.core.files.storage import Storage as _Base
else:
    _Base = object


class ReleaseMixin(_Base):
    """What any storage of static files needs to hold releases; it says where they are by :meth:`make_target`."""

    def __init__(self, *args: Any, refresh: float = 5.0, manifest_strict: bool = True, **kwargs: Any) -> None:
        """Look every ``refresh`` seconds which release is live.

        ``manifest_strict`` as in Django's ``ManifestStaticFilesStorage``: a file that no release has is a
        ``ValueError``; otherwise it is linked by its plain name.
        """
        super().__init__(*args, **kwargs)
        self.refresh = refresh
        self.manifest_strict = manifest_strict

    def make_target(self) -> Target:
        """Return where releases are."""
        raise NotImplementedError

    @cached_property
    def releases(self) -> Releases:
        """The releases there."""
        return Releases(self.make_target())

    @cached_property
    def live(self) -> Live:
        """The release that is live."""
        return Live(self.releases, self.refresh)

    def url(self, name: str | None, *args: Any, force: bool = False, **kwargs: Any) -> str:
        """Return the address of a file in the live release; with ``DEBUG``, and no ``force``, of the file as it is.

        Raises ``ValueError`` where no release is live, or it has no such file, and ``manifest_strict`` holds.
        """
        if not name or (django_settings.DEBUG and not force):
            return str(super().url(name, *args, **kwargs))
        parts = urlsplit(name)
        path = unquote(parts.path)
        published = self.published(path)
        if published is None or path.endswith("/"):
            return str(super().url(name, *args, **kwargs))
        return self.address(published) + _rest(parts)

    def address(self, published: str) -> str:
        """Return the address of what is published under this name."""
        return str(super().url(published))

    def published(self, path: str) -> str | None:
        """Return the name under which the live release has a file; None where it is linked by its plain name."""
        if name := self.live.name(path):
            return name
        manifest = self.live.manifest()
        if not self.manifest_strict or path.endswith("/") or (manifest is None and self.live.failed):
            return None
        if manifest is None:
            raise ValueError(
                f"No release is live in {self.releases.target.where}, so {path!r} cannot be linked. Run manage.py "
                "cdn_deploy, or collectstatic."
            )
        raise ValueError(
            f"The live release has no {path!r}. See that it is found (manage.py findstatic {path}), and run cdn_deploy."
        )

    def stored_name(self, name: str) -> str:
        """Return the name under which a file is published, as Django's manifest storages do."""
        return self.published(name) or name

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Hide the releases and what is published: ``collectstatic --clear`` would delete what is live."""
        folders, files = super().listdir(path)
        shown = [each for each in files if not _PUBLISHED.search(each)]
        return [each for each in folders if f"{each}/" != FOLDER], shown

    def picture(self, path: str) -> Picture | None:
        """Return the variants of a picture of the live release; None where there are none, and with ``DEBUG``."""
        manifest = None if django_settings.DEBUG else self.live.manifest()
        return manifest.pictures.get(path) if manifest else None

    def post_process(
        self, paths: Mapping[str, tuple[Any, str]], dry_run: bool = False, **options: Any
    ) -> Iterator[tuple[str, str, bool]]:
        """Build and publish what ``collectstatic`` has collected; yield each file, its new name, and True."""
        if dry_run or not paths:
            return
        own = settings()
        try:
            built = building.build(sources=stored(paths))
            done = publish.deploy(built.manifest, building.store(), self.releases, brake=own.brake, workers=own.workers)
        except CdnError as error:
            raise CommandError(f"{error} The files are collected; nothing of them is live.", returncode=2) from error
        for each in built.missing:
            logger.warning("noa_perf.cdn: %s names %r, and no finder finds it.", each.source, each.target)
        if done.live != done.plan.live:
            purging.after_release()
        for path, name in sorted(built.manifest.paths.items()):
            yield path, name, True


def _rest(parts: SplitResult) -> str:
    """Return what follows the path, as it was written."""
    return (f"?{parts.query}" if parts.query else "") + (f"#{parts.fragment}" if parts.fragment else "")


class ReleaseStaticFilesStorage(ReleaseMixin, StaticFilesStorage):
    """Releases in ``STATIC_ROOT``, or in the folder that OPTIONS name by ``location``."""

    def make_target(self) -> Target:
        """Return the folder."""
        if not self.location:
            raise ImproperlyConfigured(
                "Releases need a folder: set STATIC_ROOT, or location in the OPTIONS of STORAGES['staticfiles']."
            )
        files, folders = self.file_permissions_mode, self.directory_permissions_mode
        return Folder(Path(self.location), files or 0o644, folders or 0o755)
