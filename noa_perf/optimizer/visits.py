"""Asks the site for a page through Django's test client, watched, its writes rolled back."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.management.base import CommandParser
from django.db import DatabaseError, connections, transaction
from django.db.backends.base.features import BaseDatabaseFeatures
from django.http.request import validate_host
from django.test import Client, override_settings

from noa_perf.core import conf
from noa_perf.core.conf import SETTING
from noa_perf.core.exceptions import CommandInputError
from noa_perf.optimizer import capture
from noa_perf.optimizer.checks import MIDDLEWARE
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.middleware import route_of, view_of
from noa_perf.optimizer.scopes import Scope

MAX_STREAMED = 32 * 1024 * 1024
"""Bytes of a streaming response that are read before it is closed."""
MAX_BODY = 4 * 1024 * 1024
"""Bytes of an answer that are handed on."""

MAX_TOLD = 5

DUMMY = "django.db.backends.dummy"
LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
ENDLESS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Visit:
    """One page that was asked for."""

    record: dict[str, Any]
    """What a report says of it: url, route, status, error, queries, failed, database_ms, ms, mails, replayable, and
    on_commit: how many calls waited for a commit that never came."""
    response: Any = None
    """What the test client returned; None where the site raised instead of answering."""
    body: bytes = b""
    """What the page sent, or the beginning of that."""
    whole: bool = True
    """Whether ``body`` is all of it."""


class Visitor:
    """Asks for pages, each in transactions of its own, so that no page sees what another left."""

    def __init__(self, user: str | None, collector: Collector, aliases: list[str]) -> None:
        """Ask as ``user``, if one is named; what is seen goes to ``collector``."""
        self._user = user
        self._collector = collector
        self._aliases = aliases

    def visit(self, url: str) -> Visit:
        """Request one page; whatever it wrote to a database, posted or put into a session is gone afterwards."""
        with _rolled_back(self._aliases):
            client = _client(self._user)
            made = _request(client, url, self._collector)
            made.record["on_commit"] = sum(len(connections[alias].run_on_commit) for alias in self._aliases)
            made.record["replayable"] = not any(connections[alias].needs_rollback for alias in self._aliases)
            _end_session(client)
        made.record["mails"] = len(mail.outbox)
        mail.outbox.clear()
        return made


def add_options(parser: CommandParser) -> None:
    """Add what every command has that asks for pages: ``--as`` and ``--without-rollback``."""
    parser.add_argument("--as", dest="user", metavar="USER", help="log this user in first (no password is needed)")
    parser.add_argument(
        "--without-rollback",
        action="store_true",
        help="ask for pages though a database has no transactions, so that what they write there stays",
    )


def check(urls: list[str], *, without_rollback: bool) -> None:
    """Raise CommandInputError, naming the option and the cure, unless these pages can be asked for."""
    for url in urls:
        if not url.startswith("/"):
            raise CommandInputError(f"--url {url!r} is no path of this site. Begin it with a slash: --url /{url}")
    if not conf.enabled("OPTIMIZER"):
        raise CommandInputError('The optimizer is switched off, by NOA_PERF["ENABLED"] or NOA_PERF_DISABLE.')
    for alias in [] if without_rollback else _reachable()[0]:
        if not _rolls_back(connections[alias]):
            raise CommandInputError(
                f"Database {alias!r} ({connections[alias].display_name}) has no transactions, so what pages write "
                "there would stay. Ask a copy of the site, and say that it may: --without-rollback."
            )


def _rolls_back(connection: Any) -> bool:
    """Tell whether a database has transactions; not by Django's own probe, which creates a table."""
    features = type(connection.features)
    declared = next(
        vars(cls)["supports_transactions"] for cls in features.__mro__ if "supports_transactions" in vars(cls)
    )
    if declared is vars(BaseDatabaseFeatures)["supports_transactions"]:
        return False
    return bool(connection.features.supports_transactions)


def failed(record: dict[str, Any]) -> bool:
    """Tell whether the site could not answer a request."""
    return bool(record["error"]) or record["status"] >= 500


def told_of_failures(records: list[dict[str, Any]]) -> str:
    """Return which pages failed, and how, as one line."""
    told = [f"{one['url']} failed ({one['error'] or one['status']})" for one in records]
    return "; ".join(told[:MAX_TOLD]) + (f"; {len(told) - MAX_TOLD} more." if len(told) > MAX_TOLD else ".")


def visit_all(urls: list[str], user: str | None, collector: Collector) -> tuple[list[dict[str, Any]], list[str]]:
    """Request each page; return the record of each, and the aliases of databases that cannot be reached."""
    with visiting(user, collector) as (visitor, unreachable):
        return [visitor.visit(url).record for url in urls], unreachable


@contextmanager
def visiting(user: str | None, collector: Collector) -> Iterator[tuple[Visitor, list[str]]]:
    """Yield a visitor, and the aliases of databases that cannot be reached."""
    aliases, unreachable = _reachable()
    answering = override_settings(ALLOWED_HOSTS=_allowed(host()), NOA_PERF=_with_all_watched())
    with _silenced("django.request"), capture.detached(), _held_mail(), answering:
        yield Visitor(user, collector, aliases), unreachable


def _with_all_watched() -> dict[str, Any]:
    """Return NOA_PERF without what spares a site's own traffic: who names a page wants to know all of it."""
    raw = getattr(settings, SETTING, None)
    whole = dict(raw) if isinstance(raw, Mapping) else {}
    own = whole.get("OPTIMIZER")
    own = dict(own) if isinstance(own, Mapping) else {}
    return whole | {"OPTIMIZER": own | {"SAMPLE_RATE": 1.0, "IGNORE_PATHS": ()}}


def host() -> str:
    """Return a host that this site answers to."""
    named = next((name for name in settings.ALLOWED_HOSTS if name != "*"), "localhost")
    found = f"noa-perf{named}" if named.startswith(".") else str(named)
    return f"www.{found}" if settings.PREPEND_WWW and not found.startswith("www.") else found


def _allowed(name: str) -> list[str]:
    """Return ALLOWED_HOSTS, and ``name`` where they leave it out: a site in production may have none of its own."""
    allowed = list(settings.ALLOWED_HOSTS)
    known = validate_host(name, allowed) or (settings.DEBUG and not allowed)  # Django then answers to localhost
    return allowed if known else [*allowed, name]


def _client(username: str | None) -> Client:
    client = Client(raise_request_exception=False, headers={"host": host()})
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


def _end_session(client: Client) -> None:
    """Delete the session of a visit: a cache or a folder of files is not rolled back."""
    cookie = client.cookies.get(settings.SESSION_COOKIE_NAME)
    if cookie is None or not apps.is_installed("django.contrib.sessions"):
        return
    # A page that broke its transaction has lost its row of the session anyway.
    with capture.muted(), suppress(DatabaseError):
        import_module(settings.SESSION_ENGINE).SessionStore(cookie.value).delete()


def _request(client: Client, url: str, collector: Collector) -> Visit:
    seen: list[Scope] = []
    started = time.perf_counter()
    with _closed_scopes_to(seen.append) as own:
        response, body, whole, error = _answer(client, url)
        if own is not None and response is not None:
            own.route, own.view = route_of(response.wsgi_request), view_of(response.wsgi_request)
    elapsed = time.perf_counter() - started
    for scope in seen:
        collector.add(scope)
    record = {
        "url": url,
        "route": route_of(response.wsgi_request) if response is not None else "",
        "status": response.status_code if response is not None else 500,
        "error": f"{type(error).__name__}: {error}" if error is not None else "",
        "queries": sum(scope.queries for scope in seen),
        "failed": sum(scope.failed for scope in seen),
        "database_ms": sum(scope.seconds for scope in seen) * 1000,
        "ms": elapsed * 1000,
    }
    return Visit(record, response, body, whole)


def _answer(client: Client, url: str) -> tuple[Any, bytes, bool, BaseException | None]:
    """Return the response, its body or the beginning of that, whether that is all, and the error behind it, if any."""
    response: Any = None
    try:
        response = client.get(url, secure=bool(settings.SECURE_SSL_REDIRECT))
        body, size = _drain(response) if response.streaming else (response.content[:MAX_BODY], len(response.content))
    except Exception as error:  # the page for errors failed too, or a stream did after it had begun
        return response, b"", False, error
    return response, body, len(body) == size, (getattr(response, "exc_info", None) or (None, None))[1]


def _drain(response: Any) -> tuple[bytes, int]:
    """Read a stream to its end, or as far as is sensible; return its beginning, and how much there was at least."""
    endless = response.get("Content-Type", "").startswith(ENDLESS)
    kept, size = [], 0
    for chunk in () if endless else response:
        kept += [chunk] if size < MAX_BODY else []
        size += len(chunk)
        if size >= MAX_STREAMED:
            break
    if endless or size >= MAX_STREAMED:
        response.close()  # the test client itself does so at the end
    return b"".join(kept)[:MAX_BODY], size + endless


@contextmanager
def _closed_scopes_to(keep: Callable[[Scope], None]) -> Iterator[Scope | None]:
    """Hand the scope of each request of the block to ``keep``; where the middleware is missing, open and yield one."""
    with capture.quiet():
        if MIDDLEWARE in settings.MIDDLEWARE:
            with capture.listening(keep):
                yield None
            return
        with capture.scope("perf_report", kind="report") as around:
            yield around
    keep(around)


@contextmanager
def _held_mail() -> Iterator[None]:
    """Keep what pages post in memory."""
    mailers = getattr(settings, "MAILERS", None)  # since Django 6.1, which deprecates EMAIL_BACKEND
    if mailers is None:
        held = override_settings(EMAIL_BACKEND=LOCMEM)
    else:
        held = override_settings(MAILERS={alias: {"BACKEND": LOCMEM} for alias in mailers})
    before = getattr(mail, "outbox", None)
    mail.outbox = []
    with _unwarned():
        held.enable()
    try:
        yield
    finally:
        with _unwarned():
            held.disable()
        if before is None:
            del mail.outbox
        else:
            mail.outbox = before


@contextmanager
def _unwarned() -> Iterator[None]:
    """Give no warning that a setting is deprecated: the site did not set it, we do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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
            stack.enter_context(_kept_open(connections[alias]))
            stack.enter_context(atomic)
            stack.callback(transaction.set_rollback, True, using=alias)
        yield


@contextmanager
def _kept_open(connection: Any) -> Iterator[None]:
    """Let what tidies up after a request not close a connection whose transaction goes on."""
    connection.close_if_unusable_or_obsolete = lambda: None
    try:
        yield
    finally:
        del connection.close_if_unusable_or_obsolete
