"""Send the recorded requests from several clients at once, and tell how each went.

A child of the demo: ``python -m testproject.demo.driver PORT``. The first line on stdin is the workload; then
each line ``warm_up`` or ``measured`` sends that part. It writes one line of JSON per answer, and one when all
are in.
"""

from __future__ import annotations

import json
import os
import re
import sys
from hashlib import blake2b
from http.client import HTTPConnection, HTTPResponse
from http.cookies import SimpleCookie
from threading import Lock, Thread
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

from .children import END

# The one part of a page that differs each time, whatever the shop does.
TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="[^"]*"')
CSRF = "s" * 32
said = Lock()


class Visitor:
    """One client: a connection that is kept open, and its cookies."""

    def __init__(self, number: int, port: int) -> None:
        self.number = number
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._cookies: SimpleCookie = SimpleCookie()

    def log_in(self, name: str, password: str) -> None:
        """Enter the back office; staff pages send the cookie from then on."""
        self._cookies["csrftoken"] = CSRF
        form = {"username": name, "password": password, "csrfmiddlewaretoken": CSRF, "next": "/admin/"}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        response, _ = self._exchange("POST", "/admin/login/", urlencode(form).encode(), kind, staff=True)
        if response.status != 302:
            raise RuntimeError(f"staff could not log in: status {response.status}")
        for value in response.headers.get_all("Set-Cookie", []):
            self._cookies.load(value)

    def send_all(self, requests: list[dict[str, Any]]) -> None:
        """Send the requests one after the other, and tell of each."""
        for index, request in enumerate(requests):
            data = json.dumps(request["json"]).encode() if "json" in request else None
            kind = {"Content-Type": "application/json"} if data else {}
            started = perf_counter()
            response, body = self._exchange("POST" if data else "GET", request["path"], data, kind, request["staff"])
            ms = 1000 * (perf_counter() - started)
            digest = blake2b(TOKEN.sub(b"", body), digest_size=8).hexdigest()
            say({"client": self.number, "index": index, "status": response.status, "ms": ms, "digest": digest})

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str], staff: bool
    ) -> tuple[HTTPResponse, bytes]:
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in self._cookies.items())
        # The API's links name the host: without the port, which differs each time.
        sent = headers | {"Host": "localhost"} | ({"Cookie": cookies} if staff else {})
        self._connection.request(method, path, data, sent)
        response = self._connection.getresponse()
        return response, response.read()


def main(port: int) -> None:
    """Drive the shop as told on stdin."""
    workload = json.loads(sys.stdin.readline())
    visitors = [Visitor(number, port) for number in range(len(workload["measured"]))]
    for visitor in visitors:
        visitor.log_in(*workload["staff"])
    for line in sys.stdin:
        part = line.strip()
        if part == END:
            return
        # In a thread: this one stays at stdin, to notice the demo's death in the middle of a part too.
        Thread(target=measure, args=(visitors, workload[part]), daemon=True).start()


def measure(visitors: list[Visitor], requests: list[list[dict[str, Any]]]) -> None:
    """Send one part of the workload, and say how long all of it took."""
    started = perf_counter()
    drive(visitors, requests)
    say({"seconds": perf_counter() - started})


def drive(visitors: list[Visitor], requests: list[list[dict[str, Any]]]) -> None:
    """Send each visitor's requests in a thread of its own, and wait for all."""
    threads = [
        Thread(target=visitor.send_all, args=(own,), daemon=True)
        for visitor, own in zip(visitors, requests, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def say(data: dict[str, Any]) -> None:
    """Write one line to the demo."""
    with said:
        sys.stdout.write(json.dumps(data) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)
