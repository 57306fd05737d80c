"""The demo shop's settings, and a small library of every kind of relation for the detectors' scenarios."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS, MIDDLEWARE, TEMPLATES

INSTALLED_APPS = [*INSTALLED_APPS, "noa_perf.metrics", "noa_perf.dashboard", "tests.library", "tests.gallery"]
# Tests of the shop ask for more than one client may.
MIDDLEWARE = [one for one in MIDDLEWARE if "ratelimit" not in one]
TEMPLATES = [*TEMPLATES]
TEMPLATES[0]["OPTIONS"]["libraries"] = {"packaged": "tests.library.packaged"}
# And each says for itself what is limited.
NOA_PERF = {}
