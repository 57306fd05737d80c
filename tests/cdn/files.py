"""Static files for tests: a dict of contents, built without Django's finders."""

from __future__ import annotations

import io
import time

from PIL import Image

from noa_perf.cdn.pipeline.build import Build, Options
from noa_perf.cdn.pipeline.sources import Source, safe


def sources(contents):
    """Return sources of ``contents``: bytes or text by path."""

    def reader(content):
        return lambda: content if isinstance(content, bytes) else content.encode()

    return {path: Source(safe(path), reader(content), path) for path, content in contents.items()}


def build(store, contents, **options):
    """Build ``contents``."""
    return Build(store, Options(**{"javascript": "off", "workers": 2, **options})).run(sources(contents))


def text_of(store, built, path):
    """Return what is published for a path."""
    return store.get(built.manifest.assets[built.manifest.paths[path]].blob).decode()


def seconds(work, *arguments):
    """Return the processor's seconds that ``work`` takes, the least of three times."""
    took = []
    for _ in range(3):
        began = time.process_time()
        work(*arguments)
        took.append(time.process_time() - began)
    return min(took)


def grows_with(work, piece):
    """Return how much longer four times as much of ``piece`` takes: 4 times, and 16 where each is read to the end."""
    return seconds(work, piece * 8_000) / seconds(work, piece * 2_000)


def photo(width=400, height=300, format_="JPEG", **options):
    """Return a picture with something in it."""
    import numpy as np

    y, x = np.mgrid[0:height, 0:width]
    red = 127 + 120 * np.sin(x / 17) * np.cos(y / 23)
    green = (x * 255 / width) % 256
    blue = 127 + 100 * np.sin((x + y) / 31)
    noise = np.random.default_rng(3).normal(0, 6, (height, width))
    pixels = np.clip(np.dstack([red + noise, green + noise, blue + noise]), 0, 255).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_, **({"quality": 95} if format_ == "JPEG" else {}) | options)
    return file.getvalue()
