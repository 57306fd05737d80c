"""Serve one twin of the shop on a copy of the seeded database, and answer commands on stdin.

A child of the demo: ``python -m testproject.demo.server SEEDED COPY as_is|mended [dashboard|cached|limited|plain|
published:FOLDER]`` (the last two serve static files: as they are, or as they were published in a folder), or
``ADDRESS "" mended fresh|kept|pooled`` for the way to connect to a PostgreSQL, which is used as it is.
Each command is a line, each answer a line of JSON. When stdin closes, because the demo ended or died, the server stops
and removes its copy.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from .children import END

if TYPE_CHECKING:
    from django.core.handlers.wsgi import WSGIHandler

THREADS = 4
MANY_THREADS = 64
WAYS = ("fresh", "kept", "pooled")


def main(seeded: Path | str, copy: Path, twin: str, more: str = "") -> None:
    """Serve until stdin closes."""
    os.environ |= {"SHOP_DATABASE": str(copy), "SHOP_TWIN": twin, "SHOP_DEBUG": "0"}
    os.environ["SHOP_DASHBOARD"] = "1" if more == "dashboard" else "0"
    os.environ["SHOP_CACHED"] = "1" if more == "cached" else "0"
    os.environ["SHOP_LIMITED"] = "1" if more in {"limited", "dashboard"} else "0"
    assets, _, folder = more.partition(":")
    os.environ |= {"SHOP_ASSETS": assets if assets in {"plain", "published"} else "", "SHOP_STATIC": folder}
    os.environ["DJANGO_SETTINGS_MODULE"] = "testproject.settings"  # whatever else the caller works on
    if more in WAYS:
        os.environ |= {"SHOP_DATABASE": str(seeded), "SHOP_CONNECTIONS": more}
        serve(twin, MANY_THREADS)
        return
    told_to_end = False
    try:
        shutil.copyfile(seeded, copy)
        told_to_end = serve(twin)
    finally:
        for path in copy.parent.glob(f"{copy.name}*"):
            path.unlink(missing_ok=True)
        if not told_to_end:  # the demo was killed, and could not clean up after itself
            remove(copy.parent)


def serve(twin: str, threads: int = THREADS) -> bool:
    """Start the shop, say on which port, and answer commands; return whether the demo said that this is the end.

    Its process id would not tell: a dead parent's pipes close before its children are given another parent.
    """
    from waitress import create_server

    # The shop itself says whom it believes who the visitors are.
    own = {"clear_untrusted_proxy_headers": False}
    server = create_server(application(twin), host="127.0.0.1", port=0, threads=threads, **own)
    Thread(target=server.run, daemon=True).start()
    say({"port": server.effective_port})
    for line in sys.stdin:
        if line.strip() == END:
            return True
        say(answer(line.strip()))
    return False


def application(twin: str) -> WSGIHandler:
    """Return the shop, its database made ready for it."""
    from testproject.wsgi import application

    if twin == "mended" and "SHOP_CONNECTIONS" not in os.environ:
        from testproject.shop.indexes import create_indexes

        create_indexes()
    return with_dashboard(application) if os.environ["SHOP_DASHBOARD"] == "1" else application


def with_dashboard(application: WSGIHandler) -> WSGIHandler:
    """Return the shop with the dashboard's tables, and with its style sheet, which is served only here."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.management import call_command

    from noa_perf.core.muting import muted

    with muted():  # its queries are no visitor's
        call_command("migrate", verbosity=0)
    return StaticFilesHandler(application)


def remove(folder: Path) -> None:
    """Remove the folder, though threads that still serve may each open a database in it meanwhile."""
    for _ in range(4 * THREADS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def answer(command: str) -> dict[str, Any]:
    """Return the answer to one command."""
    from noa_perf.optimizer.collector import collector

    if command == "reset":
        collector.reset()
        cache_counts()
        return {"done": True}
    if command == "flush":
        from noa_perf.metrics import service

        counting = service.current()
        if counting is not None:
            counting.flush(force=True)
        return {"done": True}
    if command == "report":
        findings = [finding.as_dict() for finding in collector.findings()]
        return {"totals": collector.totals(), "findings": findings, "cache": cache_counts()}
    return {"error": f"unknown command {command!r}"}


def cache_counts() -> dict[str, int]:
    """Return how many keys the caches had and had not since the last time."""
    from noa_perf.cache import registry

    hits = misses = 0
    for stack in registry.stacks():
        hits += sum(stack.memory.collect()[0].values())
        misses += sum(counts.misses for counts in stack.groups.drain().values())
    return {"hits": hits, "misses": misses}


def say(data: dict[str, Any]) -> None:
    """Write one line to the demo."""
    sys.stdout.write(json.dumps(data, default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
    # Threads of the server may still be busy; nothing of theirs is worth waiting for.
    os._exit(0)
