"""Assertions about the queries of a test: ``with``, ``async with``, and decorators of sync and async functions.

.. code-block:: python

    with assert_no_n_plus_one(), assert_max_queries(5):
        client.get("/books/")

What a block raises itself is never replaced: of a block that failed nothing more is asked.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.apps import apps
from django.db import models

from noa_perf.core import conf
from noa_perf.optimizer import capture, telling
from noa_perf.optimizer.detectors.allow import malformed
from noa_perf.optimizer.exceptions import CaptureOff
from noa_perf.optimizer.indexes_used import Demand
from noa_perf.optimizer.watches import Watch

__all__ = ["QueryAssertions", "assert_max_queries", "assert_no_n_plus_one", "assert_uses_index"]

F = TypeVar("F", bound=Callable[..., Any])


def require_capture() -> None:
    """Raise CaptureOff, naming the setting, unless queries are watched here."""
    if not apps.is_installed("noa_perf.optimizer"):
        raise CaptureOff('Queries are not watched: add "noa_perf.optimizer" to INSTALLED_APPS of the tests\' settings.')
    if not conf.enabled("OPTIMIZER"):
        raise CaptureOff(
            'Queries are not watched: NOA_PERF["ENABLED"], NOA_PERF["OPTIMIZER"]["ENABLED"] or the environment '
            f"variable {conf.DISABLE_VARIABLE} switches the optimizer off. Leave it on in the tests' settings."
        )
    if not capture.installed():
        raise CaptureOff(
            'Queries are not watched: the optimizer was switched off by NOA_PERF or NOA_PERF["OPTIMIZER"] when Django '
            "started. Switch it on in the tests' settings themselves, not within a test."
        )


class Watched:
    """A block that is watched, and judged once it has ended well; each use is a watch of its own."""

    quiet = False
    """Whether nothing is logged, warned of or raised about an N+1 meanwhile: the judgement says it all."""
    threshold: int | None = None
    keeps_first = False

    def __init__(self) -> None:
        """Be ready to watch."""
        self._entered: list[tuple[AbstractContextManager[Any], Watch]] = []

    def judge(self, watch: Watch) -> None:
        """Raise AssertionError if what the block did will not do."""
        raise NotImplementedError

    def __enter__(self) -> Watch:
        """Begin to watch; the scope that comes back can be asked for ``queries`` and its like."""
        require_capture()
        block = self._block()
        watch = block.__enter__()
        self._entered.append((block, watch))
        return watch

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Judge the block, unless it raised."""
        watch = self._leave(kind, error, trace)
        if error is None:
            self.judge(watch)

    async def __aenter__(self) -> Watch:
        """Begin to watch."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Judge the block, in the thread in which coroutines ask the database; trio and the like have none."""
        watch = self._leave(kind, error, trace)
        if error is None and _in_asyncio():
            await sync_to_async(self.judge)(watch)
        elif error is None:
            self.judge(watch)

    def __call__(self, function: F) -> F:
        """Watch each run of ``function``."""
        _require_function(function, type(self).__name__)
        if iscoroutinefunction(function):

            @functools.wraps(function)
            async def watched(*args: Any, **kwargs: Any) -> Any:
                async with self._anew():
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def watched(*args: Any, **kwargs: Any) -> Any:
                with self._anew():
                    return function(*args, **kwargs)

        return watched  # type: ignore[return-value]

    def _anew(self) -> Self:
        """Return one for a single run: a function may run in several threads at once."""
        again = copy.copy(self)
        again._entered = []
        return again

    def _block(self) -> AbstractContextManager[Watch]:
        return capture.watching(
            type(self).__name__, threshold=self.threshold, keeps_first=self.keeps_first, quietly=self.quiet
        )

    def _leave(self, *raised: Any) -> Watch:
        block, watch = self._entered.pop()
        block.__exit__(*raised)
        return watch


def _in_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _require_function(given: Any, name: str) -> None:
    """Raise TypeError where no run of ``given`` could be watched, and a test would pass unwatched."""
    if inspect.isclass(given):
        what = f"{given.__name__} is a class. Decorate its test functions, or use {name} within them"
    elif isinstance(given, (staticmethod, classmethod)):
        what = f"{given.__func__.__qualname__} is a {type(given).__name__}. Put @{name}(...) below that decorator"
    elif not callable(given):
        what = f"{given!r} is no function. Put @{name}(...) next to the function itself"
    elif inspect.isgeneratorfunction(given) or inspect.isasyncgenfunction(given):
        what = f"{given.__qualname__} is a generator, which runs after the call is over. Use {name} within it"
    else:
        return
    raise TypeError(f"{name} watches functions, and {what}.")


def _require(given: Any, kinds: tuple[type, ...], name: str, wanted: str) -> None:
    """Raise TypeError, naming the argument, unless it is of one of ``kinds``."""
    if isinstance(given, kinds) and not (isinstance(given, bool) and bool not in kinds):
        return
    if inspect.isroutine(given) or (inspect.isclass(given) and name in ("n", "threshold", "name_or_fields")):
        raise TypeError(f"{name} is {given.__qualname__}: a decorator needs its parentheses, {wanted}.")
    raise TypeError(f"{name} is {given!r}: it has to be {wanted}.")


class assert_no_n_plus_one(Watched):  # noqa: N801  (read as the assertion that it is)
    """Fail if the block runs an N+1, with its lines, its cure, and the code to add."""

    quiet = True

    def __init__(self, threshold: int | None = None, allow: Sequence[str] = ()) -> None:
        """Let ``threshold`` queries make an N+1 (default: the setting); leave alone what ``allow`` names."""
        super().__init__()
        _require(threshold, (int, type(None)), "threshold", "a whole number, as in assert_no_n_plus_one(threshold=3)")
        self.allow = (allow,) if isinstance(allow, str) else tuple(allow)
        for entry in self.allow:
            if malformed(str(entry)):
                raise ValueError(
                    f'allow holds {entry!r}: write "Model.field", "path:glob/of/*.py" or "fingerprint:" and a hash.'
                )
        if threshold is not None and threshold < 2:
            raise ValueError(f"threshold is {threshold!r}: one query makes no N+1, give it 2 or more.")
        self.threshold = threshold

    def judge(self, watch: Watch) -> None:
        """Raise AssertionError if there was one."""
        found = telling.n_plus_ones(watch, self.allow)
        if found:
            raise AssertionError(telling.told_of_n_plus_ones(found))


class assert_max_queries(Watched):  # noqa: N801
    """Fail if the block runs more than ``n`` queries, with each shape of query, its lines and its number.

    Statements that only open or close transactions and savepoints do not count.
    """

    def __init__(self, n: int, *, using: str | None = None, exact: bool = False) -> None:
        """Count on the database ``using``, or on all; with ``exact`` fewer than ``n`` fail too."""
        super().__init__()
        _require(n, (int,), "n", "a whole number, as in assert_max_queries(5)")
        _require(using, (str, type(None)), "using", 'the alias of a database, as in using="default"')
        _require(exact, (bool,), "exact", "True or False")
        if n < 0:
            raise ValueError(f"n is {n}: give it 0 or more.")
        self.n, self.using, self.exact = n, using, exact

    def judge(self, watch: Watch) -> None:
        """Raise AssertionError if the number will not do."""
        count = telling.count(watch, self.using)
        if count > self.n or (self.exact and count < self.n):
            wanted = f"exactly {self.n}" if self.exact else f"at most {self.n}"
            raise AssertionError(telling.told_of_queries(watch, self.using, count, wanted))


class assert_uses_index(Watched):  # noqa: N801
    """Fail if the database does not use an index for what the block selects, with the plan.

    After the block each of its SELECTs is explained on the same connection, with the values of its first run.
    """

    keeps_first = True

    def __init__(
        self,
        name_or_fields: str | Sequence[str] | None = None,
        *,
        table: str | type[models.Model] | None = None,
        using: str | None = None,
        force: bool = False,
    ) -> None:
        """Ask for an index by name, or by the fields that it begins with; without either, for no scan of a table.

        ``table`` (a model or a table's name) and ``using`` (a database) narrow what is looked at. PostgreSQL and
        MariaDB scan small tables whatever their indexes: ``force`` forbids PostgreSQL to scan where an index can serve.
        """
        super().__init__()
        _require(
            name_or_fields,
            (str, list, tuple, type(None)),
            "name_or_fields",
            'the name of an index or a list of fields, as in assert_uses_index("book_pages_idx")',
        )
        _require(using, (str, type(None)), "using", 'the alias of a database, as in using="default"')
        self.demand = Demand.of(name_or_fields, table, using, force=force)

    def judge(self, watch: Watch) -> None:
        """Raise AssertionError, with the plan, if the index is not used."""
        complaint = self.demand.complaint(watch)
        if complaint:
            raise AssertionError(complaint)


class QueryAssertions:
    """Mix into a ``TestCase``: the same assertions by unittest's kind of name, as context managers."""

    def assertNoNPlusOne(  # noqa: N802  (as unittest spells it)
        self, threshold: int | None = None, allow: Sequence[str] = ()
    ) -> assert_no_n_plus_one:
        """Fail if the block runs an N+1."""
        return assert_no_n_plus_one(threshold, allow)

    def assertMaxQueries(  # noqa: N802
        self, n: int, *, using: str | None = None, exact: bool = False
    ) -> assert_max_queries:
        """Fail if the block runs more than ``n`` queries."""
        return assert_max_queries(n, using=using, exact=exact)

    def assertUsesIndex(  # noqa: N802
        self,
        name_or_fields: str | Sequence[str] | None = None,
        *,
        table: str | type[models.Model] | None = None,
        using: str | None = None,
        force: bool = False,
    ) -> assert_uses_index:
        """Fail if the database does not use an index for what the block selects."""
        return assert_uses_index(name_or_fields, table=table, using=using, force=force)
