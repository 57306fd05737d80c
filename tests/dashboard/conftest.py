"""A site with traffic in its rollup, and the users who may and may not look at it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client, RequestFactory

from noa_perf.core.clock import SYSTEM
from noa_perf.metrics import recorder
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer
from noa_perf.optimizer import collector, noting
from noa_perf.optimizer.middleware import QueryMonitorMiddleware
from noa_perf.optimizer.plans.explainer import explainer
from tests.library.fill import fill
from tests.library.models import Author, Book


def books(request):
    return HttpResponse("".join(book.author.name for book in Book.objects.all()))


def count(request):
    return HttpResponse(str(Author.objects.count()))


@pytest.fixture
def traffic(db, settings):
    settings.NOA_PERF = {"OPTIMIZER": {"ON_N_PLUS_ONE": "collect", "SLOW_QUERY_MS": 0}}
    fill()
    collector.collector.reset()
    explainer._begin()
    tally = Tally()
    before = recorder.use(tally)
    try:
        for view in (books, books, count):
            QueryMonitorMiddleware(view)(RequestFactory().get(f"/{view.__name__}/"))
        noting.Noter(collector.collector).note()
    finally:
        recorder.use(before)
    assert Writer(tally, SYSTEM, "default").flush(force=True)
    yield
    collector.collector.reset()


def staff(*permissions: str) -> Client:
    user = User.objects.create_user(f"staff-{'-'.join(permissions) or 'none'}", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer(db) -> Client:
    return staff("view_dashboard")
