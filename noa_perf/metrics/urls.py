"""``path("noa_perf/", include("noa_perf.metrics.urls"))``: metrics, liveness and readiness."""

from __future__ import annotations

from django.urls import path

from noa_perf.metrics import views

app_name = "noa_perf_metrics"

urlpatterns = [
    path("metrics", views.metrics, name="metrics"),
    path("live", views.liveness, name="liveness"),
    path("ready", views.readiness, name="readiness"),
]
