"""Who changed what by hand: one line each in the log ``noa_perf.audit``, by the id of the row."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("noa_perf.audit")

COMMAND = "a command"


def note(what: str, row: Any, user: Any = None) -> None:
    """Log that ``user`` (None: a command) has done ``what`` with the row of this id."""
    who = COMMAND if user is None else f"user {user.pk}"
    logger.info("noa_perf.ratelimit: %s %s, by %s", what, row, who, extra={"row": str(row), "by": who})
