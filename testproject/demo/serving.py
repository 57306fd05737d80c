"""Leave the shop served, as it is, with the dashboard: its faults are what there is to see."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from testproject.shop.seed import STAFF

from .children import Child
from .phases import drive

if TYPE_CHECKING:
    from .workload import Workload


def serve(seeded: Path, run: Path, workload: Workload) -> None:
    """Send the mix once through a shop with the dashboard, say where that is, and serve it until Ctrl-C."""
    with Child("testproject.demo.server", seeded, run / "dashboard.sqlite3", "as_is", "dashboard") as server:
        port = server.hear()["port"]
        print("\nThe same requests once more, for the dashboard:", flush=True)
        drive(port, workload, "As it is, with dashboard")
        server.ask("flush")
        print(invitation(port), flush=True)
        try:
            server.hear()  # It says nothing unasked: this waits, and raises if the server ends first.
        except KeyboardInterrupt:
            sys.stderr.write("\nStopped.\n")


def invitation(port: int) -> str:
    """Return how to get in, and how to end it."""
    user, password = STAFF
    return (
        "\nThe shop as it is, its faults left in, is served on this machine alone. Its dashboard:\n\n"
        f"    http://127.0.0.1:{port}/admin/noa_perf/dashboard/\n"
        f"    user {user}, password {password}\n\n"
        "Ctrl-C ends it and leaves nothing behind."
    )
