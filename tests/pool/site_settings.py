"""The settings of :mod:`tests.pool.site`; ``POOL_DATABASES`` has its databases, as JSON."""

from __future__ import annotations

import json
import os

SECRET_KEY = "pool"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.pool.site"
DATABASES = json.loads(os.environ["POOL_DATABASES"])
INSTALLED_APPS = ["noa_perf.pool"]
MIDDLEWARE = ["noa_perf.pool.middleware.PoolMiddleware"]
USE_TZ = True
