"""The engine behind a PgBouncer in transaction mode, told so by ``pgbouncer``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.pool.engines import Postgresql, Threads
from tests.servers.pgbouncer import Pgbouncer
from tests.servers.registry import get

pytestmark = [pytest.mark.server]


class Bounced(Postgresql):
    def make(self) -> None:
        self.server = get(Pgbouncer)
        self.server.query("primary", f"CREATE DATABASE {self.name}")

    def where(self) -> dict[str, Any]:
        settings = self.server.settings("bouncer", self.name)
        return {
            **settings,
            "ENGINE": "noa_perf.pool.backends.postgresql",
            "DISABLE_SERVER_SIDE_CURSORS": True,
        }

    def close(self) -> None:
        self.connection.close()
        self.connection.close_pool()
        self.drop()  # PgBouncer keeps its own open


@pytest.fixture
def bounced(django_db_blocker: Any) -> Any:
    made: list[Bounced] = []

    def make(**options: Any) -> Bounced:
        made.append(Bounced(pgbouncer=True, **options))
        return made[-1]

    with django_db_blocker.unblock():
        yield make
        for one in made:
            one.close()


def test_threads_share_what_pgbouncer_holds(bounced: Callable[..., Bounced]) -> None:
    one = bounced(max_size=30)
    one.ask("CREATE TABLE kept (x int)")
    threads = Threads()

    def work() -> None:
        for _ in range(5):
            one.ask("INSERT INTO kept VALUES (1)")
            one.ask("SELECT count(*) FROM kept")

    threads.start(work, 40)
    threads.join()

    assert one.ask("SELECT count(*) FROM kept") == 200
    assert one.pool.state().open <= 30


def test_nothing_of_a_session_is_put_back(bounced: Callable[..., Bounced]) -> None:
    one = bounced()

    one.ask("SET statement_timeout = 12345")
    assert one.ask("SELECT 1") == 1

    assert not one.pool.figures.cleaned
    assert one.pool.figures.opened == 1


def test_a_transaction_that_was_left_open_is_rolled_back(bounced: Callable[..., Bounced]) -> None:
    one = bounced()
    one.ask("CREATE TABLE kept (x int)")

    def leave() -> None:
        one.connection.set_autocommit(False)
        one.scalar("INSERT INTO kept VALUES (1)")

    one.request(leave)

    assert one.ask("SELECT count(*) FROM kept") == 0
    assert one.pool.figures.cleaned["transaction"] == 1


def test_backends_that_pgbouncer_lost_are_not_seen_by_who_reads(bounced: Callable[..., Bounced]) -> None:
    one = bounced(ping_after=0)
    assert one.ask() == 1

    one.kill()

    assert one.ask() == 1
