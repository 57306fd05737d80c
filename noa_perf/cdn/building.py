"""The build as the settings say."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings as django_settings

from noa_perf.cdn.conf import build_dir, settings
from noa_perf.cdn.pipeline.build import Build, Built, Options
from noa_perf.cdn.pipeline.sources import Source, found
from noa_perf.cdn.store import Store
from noa_perf.cdn.working import Progress, silent


def store() -> Store:
    """Return where built bytes lie."""
    return Store(build_dir())


def options() -> Options:
    """Return how the settings say to build."""
    own = settings()
    return Options(
        static_url=django_settings.STATIC_URL or "/static/",
        keep=own.keep,
        javascript=own.javascript,
        esbuild=own.esbuild,
        css=own.css,
        css_targets=own.css_targets,
        precompress=own.precompress,
        zopfli=own.zopfli,
        formats=own.image_formats,
        widths=own.image_widths,
        max_pixels=own.image_max_pixels,
        workers=own.workers,
    )


def build(progress: Progress = silent, sources: Mapping[str, Source] | None = None) -> Built:
    """Build what the finders find; raise :class:`~noa_perf.cdn.exceptions.BuildError` where that cannot be done."""
    wanted = found(settings().ignore) if sources is None else sources
    return Build(store(), options(), progress).run(wanted)
