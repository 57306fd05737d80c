"""``manage.py perf_report``: asks the site for pages, and says what in them is slow, where, and how to mend it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser
from django.db import DatabaseError, connections, transaction
from django.test import Client

from noa_perf.core import conf
from noa_perf.core.commands import ReportCommand, paragraph, table
from noa_perf.core.exceptions import CommandInputError
from noa_perf.optimizer import capture
from noa_perf.optimizer.checks import MIDDLEWARE
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.scopes import Scope

DUMMY = "django.db.backends.dummy"


class Command(ReportCommand):
    """Drives the site through Django's test client, its writes rolled back, and reports what it finds."""

    help = "Request pages of this site and report N+1, duplicates, misuse and slow plans, with line and cure."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--url`` and ``--as``."""
        parser.add_argument("--url", action="append", metavar="/path", help="a page to request; may be given again")
        parser.add_argument("--as", dest="user", metavar="USER", help="log this user in first (no password is needed)")
        super().add_arguments(parser)

    def collect(self, **options: Any) -> dict[str, Any]:
        """Request each page; return the requests, the findings, and what stood in the way."""
        urls = options["url"] or []
        if not urls:
            raise CommandInputError("Nothing to request. Name a page: --url / (it may be given again).")
        for url in urls:
            if not url.startswith("/"):
                raise CommandInputError(f"--url {url!r} is no path of this site. Begin it with a slash: --url /{url}")
        if not conf.enabled("OPTIMIZER"):
            raise CommandInputError('The optimizer is switched off, by NOA_PERF["ENABLED"] or NOA_PERF_DISABLE.')
        collector = Collector()
        faults = capture.faults.total
        aliases, unreachable = _reachable()
        with _silenced("django.request"), capture.detached():
            requests = [_visit(url, options["user"], collector, aliases) for url in urls]
        return {
            "requests": requests,
            "findings": [finding.as_dict() for finding in collector.findings()],
            "unused_allowances": collector.unused_allowances(),
            "unreachable": unreachable,
            "failures": capture.faults.total - faults,
        }

    def render(self, report: dict[str, Any], **options: Any) -> None:
        """Write the requests as a table and each finding as a paragraph."""
        rows = [
            (one["url"], one["status"], one["queries"], f"{one['database_ms']:.1f}", f"{one['ms']:.1f}")
            for one in report["requests"]
        ]
        self.stdout.write(table(("page", "status", "queries", "database ms", "total ms"), rows, "<>>>>") + "\n\n")
        for one in report["requests"]:
            if one["error"]:
                self.stdout.write(self.style.ERROR(f"{one['url']} failed: {one['error']}"))
        for one in report["requests"]:
            if not one["replayable"]:
                text = f"{one['url']} broke the transaction around it, so it may fail here alone: not replayable."
                self.stdout.write(self.style.WARNING(text))
        for alias in report["unreachable"]:
            self.stdout.write(
                self.style.WARNING(f"Database {alias!r} cannot be reached; nothing is rolled back there.")
            )
        if report["failures"]:
            text = f"noa_perf failed {report['failures']} times while it looked, so this is not all: see its log."
            self.stdout.write(self.style.ERROR(text))
        elif not report["findings"]:
            self.stdout.write(self.style.SUCCESS("Nothing to mend in these pages."))
        for number, finding in enumerate(report["findings"], 1):
            self._render_finding(number, finding)
        for entry in report["unused_allowances"]:
            self.stdout.write(f'Not needed by these pages: {entry!r} in NOA_PERF["OPTIMIZER"]["ALLOW"].')

    def _render_finding(self, number: int, finding: dict[str, Any]) -> None:
        style = {"high": self.style.ERROR, "medium": self.style.WARNING}.get(finding["severity"], self.style.NOTICE)
        self.stdout.write(style(f"{number}. [{finding['severity']}] {finding['kind']}: {finding['subject']}"))
        self.stdout.write(paragraph(finding["summary"], "   "))
        self.stdout.write(paragraph(f"cure: {finding['cure']}", "   ", "         "))
        cost = f"{finding['count']} queries, {finding['ms']:.1f} ms"
        sure = "" if finding["certain"] else " (a guess)"
        change = finding["change"]
        where = f"; change {change['file']}:{change['line']}{sure}" if change else ""
        self.stdout.write(paragraph(f"cost: {cost} in {finding['route']}{where}", "   ", "         ") + "\n")


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
