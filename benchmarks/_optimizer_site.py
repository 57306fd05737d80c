"""The site that is measured: settings, addresses and views, the same for every subject."""

from __future__ import annotations

import itertools
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

DEPTH = 40
"""Frames of the site's own between the view and the loop."""

SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "a benchmark's",
    "ALLOWED_HOSTS": ["testserver"],
    "ROOT_URLCONF": __name__,
    "USE_TZ": True,
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "INSTALLED_APPS": [
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "tests.library",
    ],
    "MIDDLEWARE": [],
    "STATIC_URL": "/static/",
    "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {}}],
    # As a site has it: what is logged is written, to the standard error of the process.
    "LOGGING": {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "INFO"},
    },
}

scenario: Any = None
"""What the view ``scenario`` runs."""


def loop(request: HttpRequest) -> HttpResponse:
    """Read each book's author, one query a book."""
    from tests.library.models import Book

    return HttpResponse("".join([book.author.name for book in Book.objects.all()]))


def deep(request: HttpRequest, levels: int = DEPTH) -> HttpResponse:
    """Do the same far down the stack."""
    return deep(request, levels - 1) if levels else loop(request)


def template(request: HttpRequest) -> HttpResponse:
    """Do the same in a template."""
    from tests.library.models import Book

    return HttpResponse(_TEMPLATE.render({"books": Book.objects.all()}, request))


class _Template:
    def __init__(self) -> None:
        self.made: Any = None

    def render(self, context: dict[str, Any], request: HttpRequest) -> str:
        if self.made is None:
            self.made = engines["django"].from_string("{% for book in books %}{{ book.author.name }}{% endfor %}")
        return str(self.made.render(context, request))


_TEMPLATE = _Template()


def raw(request: HttpRequest) -> HttpResponse:
    """Run statements on a cursor, with nothing of the ORM around them."""
    with connection.cursor() as cursor:
        for number in itertools.repeat(1, RAW):
            cursor.execute("SELECT %s", [number])
            cursor.fetchone()
    return HttpResponse("")


RAW = 2_000


def run_scenario(request: HttpRequest) -> HttpResponse:
    """Run what the worker has put there."""
    scenario()
    return HttpResponse("<html><body></body></html>")


urlpatterns = [
    path("loop/", loop),
    path("deep/", deep),
    path("template/", template),
    path("raw/", raw),
    path("scenario/", run_scenario),
]
