"""One page with two queries, one that fails, and the pages of the metrics."""

from __future__ import annotations

import os

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def page(request: HttpRequest) -> HttpResponse:
    """Run two queries and name the process that did."""
    with connection.cursor() as cursor:
        for number in (1, 2):
            cursor.execute("SELECT %s", [number])
            cursor.fetchall()
    return HttpResponse(str(os.getpid()))


urlpatterns = [
    path("page/", page),
    path("noa_perf/", include("noa_perf.metrics.urls")),
]
