"""The ways into the site that no middleware sees: management commands, and threads that work for a coroutine."""

from __future__ import annotations

import functools
import sys
from typing import Any

from asgiref.sync import SyncToAsync, markcoroutinefunction
from django.core.management.base import BaseCommand

from noa_perf.optimizer import callsite, capture
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.scopes import current

_MARK = "noa_perf_original"

ENDLESS = frozenset(
    """
    celery db_worker process_tasks procrastinate qcluster rqscheduler rqworker run_huey rundramatiq runprofileserver
    runserver runserver_plus runworker scheduler shell shell_plus test testserver
    """.split()
)
"""Commands that serve or wait, whoever brings them: their requests and jobs have scopes of their own."""


def install() -> None:
    """Open a scope over each of the site's commands, and carry a coroutine's place into the thread it waits for."""
    _replace(BaseCommand, "execute", _scoped_execute)
    _replace(SyncToAsync, "__call__", _carrying_call)


def _replace(owner: type, name: str, make: Any) -> None:
    original = getattr(owner, name)
    if not hasattr(original, _MARK):
        replacement = make(original)
        setattr(replacement, _MARK, original)
        setattr(owner, name, replacement)


def _scoped_execute(original: Any) -> Any:
    @functools.wraps(original)
    def execute(self: BaseCommand, *args: Any, **options: Any) -> Any:
        if not _watched(self):
            return original(self, *args, **options)
        name = type(self).__module__.rpartition(".")[2]
        with capture.scope(f"manage.py {name}", kind="command"):
            return original(self, *args, **options)

    return execute


def _watched(command: BaseCommand) -> bool:
    module = type(command).__module__
    # Django's own are not the site's to mend, and several of them (runserver, shell, test) never end.
    return (
        getattr(command, "captured", True)
        and not module.startswith(("django.", "pytest_django."))
        and module.rpartition(".")[2] not in ENDLESS.union(settings().ignore_commands)
    )


def _carrying_call(original: Any) -> Any:
    # sync_to_async runs the ORM in a thread whose stack begins there. The coroutine's own frames are readable at
    # this moment only: once it is suspended, they no longer lead to one another.
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if current.get() is not None:
            try:
                callsite.carry(sys._getframe(1))
            except Exception:
                capture.faults.note("carry")
        return original(self, *args, **kwargs)

    return markcoroutinefunction(call)
