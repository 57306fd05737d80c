"""Visitors who take their time, and one client who asks fifty times as often: each by the clock, whatever is answered.

A child of the demo: ``python -m testproject.demo.crowd PORT``. A line on stdin says who asks for what: visitors, or the
abuser, who has a process of his own, so that measuring the others does not wait for him. It writes one line of JSON
when the visitors are done, or when the abuser is told by another line that it is over.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from threading import Event, Thread
from time import perf_counter, sleep
from typing import Any

CONNECTIONS = 16
"""Over which the abuser asks: one would have to wait for each answer."""
ABUSER = "198.51.100.66"


class Asker:
    """One connection, kept open; its requests are due at equal intervals, or as soon as the last was answered."""

    def __init__(self, port: int, address: str, paths: Sequence[str], interval: float) -> None:
        """``address`` is what the proxy in front of the shop would name; ``interval`` is in seconds; 0: none."""
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Host": "localhost", "X-Forwarded-For": address}
        self._paths = paths
        self._interval = interval
        self.ms: list[float] = []
        """From when a request was due to its answer: one that had to wait for the one before it waited."""
        self.statuses: Counter[int] = Counter()

    def ask(self, began: float, more: Callable[[], bool]) -> None:
        """Ask for one path after the other for as long as there is ``more``."""
        for number, path in enumerate(self._paths):
            due = began + number * self._interval if self._interval else perf_counter()
            sleep(max(0.0, due - perf_counter()))
            if not more():
                return
            status = self._status(path)
            self.statuses[status] += 1
            self.ms.append(1000 * (perf_counter() - due))

    def _status(self, path: str) -> int:
        try:
            self._connection.request("GET", path, headers=self._headers)
            response = self._connection.getresponse()
            response.read()
        except (OSError, HTTPException):
            self._connection.close()
            return 0
        return response.status


def main(port: int) -> None:
    """Let them ask at once, and tell how they fared."""
    orders = json.loads(sys.stdin.readline())
    if orders["times"]:
        abuse(port, orders["interval"] / orders["times"], orders["wanted"])
    else:
        visit(port, orders["interval"], orders["visitors"])


def visit(port: int, interval: float, wanted: Sequence[Sequence[str]]) -> None:
    """Let each visitor ask for what he wants, and tell how long it took."""
    visitors = [Asker(port, f"198.51.100.{number}", paths, interval) for number, paths in enumerate(wanted, 1)]
    began = perf_counter()
    crowd = [Thread(target=one.ask, args=(began, lambda: True), daemon=True) for one in visitors]
    _run(crowd)
    for thread in crowd:
        thread.join()
    say(visitors, perf_counter() - began)


def abuse(port: int, interval: float, wanted: str) -> None:
    """Ask for one path at intervals of so many seconds, until somebody says that it is over."""
    apart = interval * CONNECTIONS
    abusers = [Asker(port, ABUSER, cycle([wanted]), apart) for _ in range(CONNECTIONS)]  # type: ignore[arg-type]
    over, began = Event(), perf_counter()
    attack = [
        Thread(target=one.ask, args=(began + number * interval, lambda: not over.is_set()), daemon=True)
        for number, one in enumerate(abusers)
    ]
    _run(attack)
    sys.stdin.readline()
    seconds = perf_counter() - began
    over.set()
    for thread in attack:
        thread.join()
    say(abusers, seconds)


def _run(threads: Sequence[Thread]) -> None:
    for thread in threads:
        thread.start()


def say(askers: Sequence[Asker], seconds: float) -> None:
    """Write what came of it."""
    told: dict[str, Any] = {
        "ms": [ms for one in askers for ms in one.ms],
        "statuses": sum((one.statuses for one in askers), Counter()),
        "seconds": seconds,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)
