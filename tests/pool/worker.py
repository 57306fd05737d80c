"""A Celery application on :mod:`tests.pool.site`, and, run as a script, what asks it; ``POOL_BROKER`` is its Redis."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from celery import Celery
from django.db import connection

from tests.pool import site

app = Celery("pool", broker=os.environ["POOL_BROKER"], backend=os.environ["POOL_BROKER"])
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)


@app.task(name="ask")
def ask() -> dict[str, Any]:
    """Ask twice: both must come from one session; leave giving back to Celery's own care of Django."""
    first = site.session()
    return {"process": os.getpid(), "session": first, "same": first == site.session(), "vendor": connection.vendor}


if __name__ == "__main__":
    sent = [app.send_task("ask") for _ in range(int(sys.argv[1]))]
    sys.stdout.write(json.dumps([one.get(timeout=60) for one in sent]) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the client's own threads are nobody's concern
