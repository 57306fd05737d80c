"""A small site in a process of its own: a script that does what its first argument says and prints JSON, and a WSGI
and ASGI application. ``POOL_WARM`` makes it open connections when imported.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import django
from django.http import HttpRequest, JsonResponse
from django.urls import path

django.setup()

from asgiref.sync import sync_to_async  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, connections  # noqa: E402

SESSION = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}
SLEEP = {"postgresql": "SELECT pg_sleep({})", "mysql": "SELECT sleep({})"}


def scalar(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def session() -> int:
    return int(scalar(SESSION[connection.vendor]))


def briefly() -> None:
    """Ask, and give back."""
    scalar("SELECT 1")
    connection.close()


def hold() -> None:
    """Take a connection for a second."""
    connection.ensure_connection()
    time.sleep(1)


def one(request: HttpRequest) -> JsonResponse:
    """Ask twice: both must come from one session."""
    first = session()
    scalar(SLEEP[connection.vendor].format(request.GET.get("sleep", "0")))
    return JsonResponse({"process": os.getpid(), "session": first, "same": first == session()})


async def awaited(request: HttpRequest) -> JsonResponse:
    """Do the same from an async view."""
    first = await sync_to_async(session)()
    await sync_to_async(scalar)(SLEEP[connection.vendor].format(request.GET.get("sleep", "0")))
    return JsonResponse({"process": os.getpid(), "session": first, "same": first == await sync_to_async(session)()})


urlpatterns = [path("one", one), path("awaited", awaited)]

wsgi = get_wsgi_application()
asgi = get_asgi_application()

if os.environ.get("POOL_WARM"):
    # In the middle of something: the parent's thread holds one connection, and another idles.
    thread = threading.Thread(target=briefly)
    thread.start()
    thread.join()
    connection.cursor().execute("SELECT 1")
    PARENTS = session()


async def get(url: str, cancel_after: float | None = None) -> dict[str, Any] | None:
    """Ask the ASGI application, as a server does; hang up after a while where told to."""
    name, _, query = url.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": name,
        "query_string": query.encode(),
        "headers": [],
        "asgi": {"version": "3.0"},
    }
    body: list[bytes] = []
    gone = asyncio.Event()
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        body.append(message.get("body", b""))

    task = asyncio.ensure_future(asgi(scope, receive, send))
    if cancel_after is not None:
        await asyncio.sleep(cancel_after)
        gone.set()
        task.cancel()
    await asyncio.gather(task, return_exceptions=cancel_after is not None)
    return None if cancel_after is not None else json.loads(b"".join(body))


def pool() -> Any:
    return connections["default"].noa_pool  # type: ignore[attr-defined]


def state() -> dict[str, int]:
    now = pool().state()
    return {"used": now.used, "idle": now.idle, "waiting": now.waiting, "opening": now.opening}


def settled() -> dict[str, int]:
    """Return the state once nothing is in use, or after a while."""
    deadline = time.monotonic() + 30
    while (state()["used"] or state()["waiting"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return state()


async def crowd(url: str, many: int) -> dict[str, Any]:
    """Ask ``many`` times at once."""
    answers = [answer for answer in await asyncio.gather(*(get(url) for _ in range(many))) if answer]
    return {
        "answers": len(answers),
        "same": all(answer["same"] for answer in answers),
        "sessions": len({answer["session"] for answer in answers}),
    }


async def cancel(url: str, many: int) -> dict[str, Any]:
    """Hang up in the middle of ``many`` requests."""
    await asyncio.gather(*(get(url, 0.05 + 0.01 * number) for number in range(many)))
    return {}


def exit_with_waiters() -> dict[str, Any]:
    """Hold all there are, let threads wait for one, and end."""
    connection.ensure_connection()
    size = pool().limit
    for _ in range(size - 1):
        threading.Thread(target=hold, daemon=True).start()
    while state()["used"] < size:
        time.sleep(0.01)
    for number in range(4):
        threading.Thread(target=session, daemon=number % 2 == 0).start()
    while state()["waiting"] < 4:
        time.sleep(0.01)
    return {"state": state()}


def main() -> None:
    what = sys.argv[1]
    if what == "crowd":
        told = {**asyncio.run(crowd(sys.argv[2], int(sys.argv[3]))), "state": settled()}
    elif what == "cancel":
        asyncio.run(cancel(sys.argv[2], int(sys.argv[3])))
        told = {"state": settled(), **asyncio.run(crowd("/awaited", 20))}
    else:
        told = exit_with_waiters()
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
