"""Settings of the demo shop; the environment chooses the database, the twin and debugging."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent

SHOP_TWIN = os.environ.get("SHOP_TWIN", "as_is")
"""``as_is`` serves the shop with its faults, ``mended`` the same shop without them."""
if SHOP_TWIN not in {"as_is", "mended"}:
    raise ValueError(f"SHOP_TWIN is {SHOP_TWIN!r}: set it to as_is or mended")

SHOP_DATABASE = os.environ.get("SHOP_DATABASE", "")
"""A file for SQLite, or ``postgresql://user:password@host:port/name``."""
if not SHOP_DATABASE:
    SHOP_DATABASE = str(BASE_DIR / ".demo" / "shop.sqlite3")
    Path(SHOP_DATABASE).parent.mkdir(exist_ok=True)

DEBUG = os.environ.get("SHOP_DEBUG", "1") == "1"
SECRET_KEY = "a demo on loopback has no secret to keep"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
STATIC_URL = "static/"
STATIC_ROOT = Path(os.environ.get("SHOP_STATIC", "") or BASE_DIR / ".demo" / "static")
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Not strict: the shop also runs before anything was published.
    "staticfiles": {
        "BACKEND": "noa_perf.cdn.storage.ReleaseStaticFilesStorage",
        "OPTIONS": {"manifest_strict": False},
    },
}
LOGIN_URL = "admin:login"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "testproject.shop",
    "noa_perf.optimizer",
    "noa_perf.cache",
    "noa_perf.ratelimit",
    "noa_perf.pool",
    "noa_perf.cdn",
]
if os.environ.get("SHOP_DASHBOARD") == "1":
    INSTALLED_APPS += ["noa_perf.metrics", "noa_perf.dashboard"]

SHOP_ASSETS = os.environ.get("SHOP_ASSETS", "")
"""``plain``: static files are served by WhiteNoise as they are; ``published``: the live release; empty: not at all."""
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = SHOP_ASSETS == "plain"

MIDDLEWARE = [
    # Before all that may set a cookie.
    "noa_perf.cdn.middleware.EdgeHeadersMiddleware",
    # Whatever takes a connection, it was for this request.
    "noa_perf.pool.middleware.PoolMiddleware",
    # Next, so that it sees the queries of all the others.
    "noa_perf.optimizer.middleware.QueryMonitorMiddleware",
    # Near the top, so that what is refused costs nothing below.
    "noa_perf.ratelimit.middleware.RateLimitMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

WHITENOISES = {
    "plain": "whitenoise.middleware.WhiteNoiseMiddleware",
    "published": "noa_perf.cdn.whitenoise.ReleaseWhiteNoiseMiddleware",
}
if SHOP_ASSETS:
    MIDDLEWARE.insert(1, WHITENOISES[SHOP_ASSETS])

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "testproject" / "shop" / SHOP_TWIN / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "testproject.shop.navigation.departments",
            ],
        },
    },
]


SHOP_CONNECTIONS = os.environ.get("SHOP_CONNECTIONS", "kept")
"""How to connect to a PostgreSQL: ``fresh`` for each request, ``kept`` by each thread, or ``pooled``."""


def _postgresql(address: str) -> dict[str, Any]:
    parts = urlsplit(address)
    pooled = SHOP_CONNECTIONS == "pooled"
    return {
        "ENGINE": "noa_perf.pool.backends.postgresql" if pooled else "django.db.backends.postgresql",
        "OPTIONS": {"noa_pool": {"max_size": 10}} if pooled else {},
        "NAME": parts.path.lstrip("/"),
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password or "",
        "CONN_MAX_AGE": None if SHOP_CONNECTIONS == "kept" else 0,
    }


def _sqlite(path: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                "PRAGMA journal_mode=WAL;"
                "PRAGMA synchronous=NORMAL;"
                "PRAGMA temp_store=MEMORY;"
                "PRAGMA cache_size=-16000;"
                "PRAGMA mmap_size=134217728;"
            ),
        },
    }


DATABASES: dict[str, dict[str, Any]] = {
    "default": (_postgresql if SHOP_DATABASE.startswith("postgresql://") else _sqlite)(SHOP_DATABASE)
}

API_VIEWS = [
    f"testproject.shop.{SHOP_TWIN}.api.{name}"
    for name in ("ProductViewSet", "CategoryViewSet", "ReviewViewSet", "OrderViewSet", "CartView")
]

SHOP_CACHE = os.environ.get("SHOP_CACHE", "")
"""A Redis, as in LOCATION; without one memory is all there is."""
SHOP_CACHED = os.environ.get("SHOP_CACHED", "0") == "1"
"""Whether the hot pages are kept for a minute."""
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "noa_perf.cache.backend.TieredCache", "LOCATION": SHOP_CACHE, "TIMEOUT": 300}
}

SHOP_LIMITED = os.environ.get("SHOP_LIMITED", "1") == "1"
"""Whether one client may take only so much."""
SHOP_LIMITS = os.environ.get("SHOP_LIMITS", "")
"""A Redis in which all processes count together; without one each counts for itself."""
NOA_PERF: dict[str, Any] = {
    "CDN": {
        "BUILD_DIR": str(BASE_DIR / ".demo" / "build"),
        "IMAGE_WIDTHS": [640, 1200],
        # Product images are drawn by a view, and are the same for everybody.
        "HEADERS": {"/images/": {"MAX_AGE": 3_600, "S_MAXAGE": 86_400, "TAGS": ["images"]}},
    },
    "RATELIMIT": {
        "ENABLED": SHOP_LIMITED,
        "STORAGE": SHOP_LIMITS,
        # The demo's visitors come through a proxy, or what stands for one.
        "TRUSTED_PROXIES": ["127.0.0.1/32"],
        "POLICIES": {
            # Whoever guesses passwords: few tries from one address, and fewer in an hour.
            "login": {"limits": ["10/m", "50/h"], "by": "ip", "routes": ["admin:login"], "methods": ["POST"]},
            # Searches are dear; a person who types fast does not notice.
            "search": {"limits": "60/m", "burst": 10, "by": "ip", "routes": ["shop:search"]},
            # Customers of the API by their key, and whoever has none by the address.
            "api": {"limits": "600/m", "by": "api_key", "views": API_VIEWS},
            "api-address": {"limits": "1200/m", "by": "ip", "views": API_VIEWS},
            # Filling carts: no window of a minute ever has more.
            "checkout": {"limits": "60/m", "guarantee": "window", "routes": ["shop:cart"], "methods": ["POST"]},
        },
        "ABUSE": {
            # Who goes on although told to wait.
            "deaf": {"statuses": [429], "maxretry": 200, "findtime": "1m", "bantime": "2m"},
            "trap": {"paths": ["/wp-login.php", "/.env"], "maxretry": 1, "bantime": "1h"},
        },
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 20,
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "ERROR"},
    "loggers": {"django.server": {"level": "WARNING"}},
}
