"""Asks the site for a page through Django's test client, watched, its writes rolled back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections, transaction
from django.test import Client

from noa_perf.core import conf
from noa_perf.core.exceptions import CommandInputError
from noa_perf.optimizer import capture
from noa_perf.optimizer.checks import MIDDLEWARE
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.scopes import Scope

DUMMY = "django.db.backends.dummy"


def check(urls: list[str]) -> None:
    """Raise CommandInputError, naming the option and the cure, unless these pages can be asked for."""
    if not urls:
        raise CommandInputError("Nothing to request. Name a page: --url / (it may be given again).")
    for url in urls:
        if not url.startswith("/"):
            raise CommandInputError(f"--url {url!r} is no path of this site. Begin it with a slash: --url /{url}")
    if not conf.enabled("OPTIMIZER"):
        raise CommandInputError('The optimizer is switched off, by NOA_PERF["ENABLED"] or NOA_PERF_DISABLE.')


def visit_all(urls: list[str], user: str | None, collector: Collector) -> tuple[list[dict[str, Any]], list[str]]:
    """Request each page, as ``user`` if one is named; what is seen goes to ``collector``.

    Returns a record for each request (url, status, error, queries, failed, database_ms, ms, replayable), and the
    aliases of databases that cannot be reached.
    """
    aliases, unreachable = _reachable()
    with _silenced("django.request"), capture.detached():
        return [_visit(url, user, collector, aliases) for url in urls], unreachable


def _client(username: str | None) -> Client:
    client = Client(raise_request_exception=False, headers={"host": _host()})
    if username:
        model = get_user_model()
        try:
            user = model._default_manager.get_by_natural_key(username)
        except model.DoesNotExist:
            raise CommandInputError(
                f"There is no user {username!r} to request pages as. Create it, or name another."
            ) from None
        client.force_login(user)
    return client


def _host() -> str:
    """Return a host that this site answers to."""
    for host in settings.ALLOWED_HOSTS:
        if host != "*":
            return f"noa-perf{host}" if host.startswith(".") else str(host)
    return "localhost"


def _visit(url: str, user: str | None, collector: Collector, aliases: list[str]) -> dict[str, Any]:
    """Request one page in transactions of its own, so that no page sees what another left."""
    with _rolled_back(aliases):
        found = _request(_client(user), url, collector)
        found["replayable"] = not any(connections[alias].needs_rollback for alias in aliases)
    return found


def _request(client: Client, url: str, collector: Collector) -> dict[str, Any]:
    seen: list[Scope] = []
    started = time.perf_counter()
    with _closed_scopes_to(seen.append):
        response = client.get(url, secure=bool(settings.SECURE_SSL_REDIRECT))
        if response.streaming:
            _drain(response)  # the test client itself closes what does not stream
    elapsed = time.perf_counter() - started
    for scope in seen:
        collector.add(scope)
    return {
        "url": url,
        "status": response.status_code,
        "error": _error_of(response),
        "queries": sum(scope.queries for scope in seen),
        "failed": sum(scope.failed for scope in seen),
        "database_ms": sum(scope.seconds for scope in seen) * 1000,
        "ms": elapsed * 1000,
    }


def _error_of(response: Any) -> str:
    error = (getattr(response, "exc_info", None) or (None, None))[1]
    return "" if error is None else f"{type(error).__name__}: {error}"


def _drain(response: Any) -> None:
    for _ in response:
        pass


@contextmanager
def _closed_scopes_to(keep: Callable[[Scope], None]) -> Iterator[None]:
    """Hand the scope of each request of the block to ``keep``; where the middleware is missing, open one here."""
    with capture.quiet():
        if MIDDLEWARE in settings.MIDDLEWARE:
            with capture.listening(keep):
                yield
            return
        with capture.scope("perf_report", kind="report") as around:
            yield
    keep(around)


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    """Keep Django's log of failed requests out of the report, which names them itself."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _reachable() -> tuple[list[str], list[str]]:
    """Return the aliases of the databases that answer, and of those that do not."""
    found: list[str] = []
    lost: list[str] = []
    for alias in connections:
        if connections[alias].settings_dict["ENGINE"] == DUMMY:
            continue  # Django's documented way to have no default database
        try:
            connections[alias].ensure_connection()
        except DatabaseError:
            lost.append(alias)
        else:
            found.append(alias)
    return found, lost


@contextmanager
def _rolled_back(aliases: list[str]) -> Iterator[None]:
    """Roll back, at the end of the block, whatever was written to any of the databases."""
    with ExitStack() as stack:
        for alias in aliases:
            atomic: Any = transaction.atomic(using=alias)
            atomic._from_testcase = True  # lets a view's own atomic(durable=True) run inside
            stack.enter_context(atomic)
            stack.callback(transaction.set_rollback, True, using=alias)
        yield
