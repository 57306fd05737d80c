"""A proxy before a server on this machine that delays, cuts off or swallows what the server answers."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Literal

Fault = Literal["", "cut", "swallow"]

CHUNK = 65536


class Proxy:
    """Passes bytes on, until told otherwise; ``with Proxy(port) as proxy: ... proxy.port``.

    ``delay``: seconds that each reply is late. ``fault``: ``"cut"`` passes half a reply on and closes both sockets,
    ``"swallow"`` lets the server do its work and the client wait for ever. Both may be changed at any moment, and hold
    for the replies that come from then on.
    """

    def __init__(self, target: int, *, host: str = "127.0.0.1") -> None:
        """Listen on a free port for connections to ``target``."""
        self._target = (host, target)
        self.delay = 0.0
        self.fault: Fault = ""
        self.accepted = 0
        """Connections taken so far."""
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listen(0)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def refuse(self) -> None:
        """Close all connections, and refuse new ones."""
        # Without the shutdown the thread in accept() keeps the port.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.sever()

    def accept(self) -> None:
        """Take connections again after :meth:`refuse`, on the same port."""
        self._listen(self.port)

    def sever(self) -> None:
        """Close all connections that there are; new ones are taken."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._drop(pair)

    def close(self) -> None:
        """End it."""
        self.refuse()

    def _listen(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._take, args=(self._listener,), name="proxy", daemon=True)
        self._thread.start()

    def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._join(client, server)

    def _join(self, client: socket.socket, server: socket.socket) -> None:
        pair = (client, server)
        for end in pair:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.add(pair)
        for pump in (self._requests, self._replies):
            threading.Thread(target=pump, args=(pair,), name="proxy", daemon=True).start()

    def _requests(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        with suppress(OSError):
            while data := client.recv(CHUNK):
                server.sendall(data)
        self._drop(pair)

    def _replies(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        with suppress(OSError):
            while data := server.recv(CHUNK):
                if self.delay:
                    time.sleep(self.delay)
                if self.fault == "cut":
                    client.sendall(data[: len(data) // 2])
                    break
                if self.fault != "swallow":
                    client.sendall(data)
        self._drop(pair)

    def _drop(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
