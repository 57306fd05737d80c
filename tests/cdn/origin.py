"""An origin: WhiteNoise over a folder, and a few pages; what it answers can be spoilt."""

from __future__ import annotations

import threading
from collections import Counter

from waitress.server import create_server
from whitenoise import WhiteNoise


class Origin:
    """``with Origin(folder) as origin: ... origin.url``; counts what it was asked."""

    def __init__(self, folder, tags=None):
        """Serve ``folder`` below ``/static/``."""
        self.asked: Counter[str] = Counter()
        self.tags = tags or {}
        self.spoil = {}
        """By path: a function of status, headers and body that returns what is answered instead."""
        self.page = "page"
        self._files = WhiteNoise(
            self._pages, root=str(folder), prefix="/static/", autorefresh=True,
            immutable_file_test=lambda path, url: True, max_age=60,
        )  # fmt: skip
        self._server = create_server(self, host="127.0.0.1", port=0, threads=4)
        self.url = f"http://127.0.0.1:{self._server.effective_port}"
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *args):
        # In the server's own thread: it must not wait for sockets that are closed under it.
        self._server.trigger.pull_trigger(self._end)
        self._thread.join(60)

    def _end(self):
        self._server.close()
        self._server.asyncore.close_all(self._server._map)

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        self.asked[path] += 1
        spoil = self.spoil.get(path)
        if spoil is None:
            return self._files(environ, start_response)
        told = []
        body = self._files(environ, lambda status, headers, *rest: told.append((status, headers)))
        data = b"".join(body)
        getattr(body, "close", lambda: None)()
        status, headers, data = spoil(told[0][0], dict(told[0][1]), data)
        start_response(status, list(headers.items()))
        return [data]

    def _pages(self, environ, start_response):
        path = environ["PATH_INFO"]
        if not path.startswith("/page"):
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        body = f"{self.page} {path} {environ.get('HTTP_COOKIE', '')}".encode()
        headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "public, s-maxage=600, stale-while-revalidate=600"),
        ]
        if path in self.tags:
            headers.append(("xkey", self.tags[path]))
        start_response("200 OK", headers)
        return [body]
