"""Three small pages for machines: the metrics, am I alive, am I ready."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from noa_perf.core import health
from noa_perf.metrics import prometheus, service
from noa_perf.metrics.exceptions import PrometheusMissing

# Not in a transaction of the request's (ATOMIC_REQUESTS): these answer while the database is away.


@transaction.non_atomic_requests
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with all metrics of prometheus_client's default registry, of all processes in multiprocess mode."""
    running = service.current()
    if running is not None:
        running.export()
    try:
        text, content_type = prometheus.exposition(request.headers.get("Accept", ""))
    except PrometheusMissing as error:
        return HttpResponse(f"{error}\n", status=501, content_type="text/plain; charset=utf-8")
    return HttpResponse(text, content_type=content_type)


@transaction.non_atomic_requests
@never_cache
@require_safe
def liveness(request: HttpRequest) -> HttpResponse:
    """Answer 200: the process serves. Asks nothing of anybody, so that nobody else's fault restarts it."""
    return JsonResponse({"status": "ok"})


@transaction.non_atomic_requests
@never_cache
@require_safe
def readiness(request: HttpRequest) -> HttpResponse:
    """Answer 503 when a vital check fails (with ``?strict=1`` when any does), else 200; JSON names each check.

    ``status`` is ``ok``, ``degraded`` (something fails that the site can serve without) or ``failing``.
    """
    answers = health.answers()
    failing = [answer for answer in answers if not answer.ok]
    stop = any(answer.vital for answer in failing) or (bool(failing) and request.GET.get("strict") == "1")
    status = "failing" if stop else "degraded" if failing else "ok"
    body = {"status": status, "checks": [answer.as_dict() for answer in answers]}
    return JsonResponse(body, status=503 if stop else 200)
