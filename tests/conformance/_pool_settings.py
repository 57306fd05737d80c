"""Settings with which Django's runtests.py runs on the databases that ``NOA_PERF_CONFORMANCE`` tells of."""

from __future__ import annotations

import json
import os

_told = json.loads(os.environ["NOA_PERF_CONFORMANCE"])

DATABASES = _told["databases"]
SECRET_KEY = "conformance"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "tests.conformance._runner.Runner"
