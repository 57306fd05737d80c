"""A site's settings for tests: releases in a folder, static files from a folder of the test's own."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from django.test import override_settings

BACKEND = "noa_perf.cdn.storage.ReleaseStaticFilesStorage"
DEFAULT = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]


def write(folder: Path, contents):
    """Write files below ``folder``."""
    for path, content in contents.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextmanager
def site(tmp_path: Path, contents=(), *, storage=None, cdn=None, **settings):
    """Be a site with these static files."""
    write(tmp_path / "assets", dict(contents))
    (tmp_path / "assets").mkdir(exist_ok=True)
    with override_settings(
        STATICFILES_DIRS=[tmp_path / "assets"],
        STATICFILES_FINDERS=FINDERS,
        STATIC_ROOT=tmp_path / "static",
        STATIC_URL="/static/",
        STORAGES={"default": DEFAULT, "staticfiles": storage or {"BACKEND": BACKEND, "OPTIONS": {"refresh": 0}}},
        NOA_PERF={"CDN": {"BUILD_DIR": str(tmp_path / "build"), "JAVASCRIPT": "off", **(cdn or {})}},
        **settings,
    ):
        yield tmp_path / "static"
