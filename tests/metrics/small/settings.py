"""Settings of the small site."""

from __future__ import annotations

import os

SECRET_KEY = "a site on loopback for one test"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.metrics.small.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "noa_perf.metrics", "noa_perf.optimizer"]
MIDDLEWARE = ["noa_perf.optimizer.middleware.QueryMonitorMiddleware"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SMALL_DATABASE"],
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
NOA_PERF = {
    "OPTIMIZER": {"IGNORE_PATHS": ["/noa_perf/"], "ON_N_PLUS_ONE": "collect"},
    "METRICS": {"FLUSH_SECONDS": float(os.environ.get("SMALL_FLUSH_SECONDS", "0.2"))},
}
