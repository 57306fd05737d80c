"""Speaks up while the site runs: an N+1 or a slow query is logged with its line, once, not at every request."""

from __future__ import annotations

import logging
import warnings

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.optimizer import capture
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.detectors import allow
from noa_perf.optimizer.exceptions import NPlusOneError
from noa_perf.optimizer.groups import Group, Verdict
from noa_perf.optimizer.report import where
from noa_perf.optimizer.scopes import Scope
from noa_perf.optimizer.signals import n_plus_one_found

logger = logging.getLogger("noa_perf.optimizer")

SLOW_AGAIN_AFTER = 600.0
"""Seconds before one and the same slow query is logged again."""


class Notifier:
    """Remembers what it has said, in a fixed memory."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        """Start with nothing said."""
        self._clock = clock
        self._said: set[object] = set()
        self._slow: dict[object, float] = {}

    def n_plus_one(self, scope: Scope, group: Group) -> None:
        """Do what ``ON_N_PLUS_ONE`` says about a group that has just become an N+1."""
        if group.verdict is not Verdict.N_PLUS_ONE or allow.entry_for(group) is not None:
            return
        n_plus_one_found.send_robust(sender=Scope, group=group)
        action = settings().on_n_plus_one
        if action == "raise":
            raise NPlusOneError(describe(group))
        if action == "collect" or group.key in self._said or len(self._said) >= settings().max_fingerprints:
            return
        self._said.add(group.key)
        if action == "warn":
            warnings.warn(describe(group), RuntimeWarning, stacklevel=2)
        else:
            logger.warning("%s", describe(group), extra={"fingerprint": group.statement.digest, "scope": scope.kind})

    def closed(self, scope: Scope) -> None:
        """Log the slow queries of a scope, each at most every :data:`SLOW_AGAIN_AFTER` seconds."""
        if capture.is_quiet():
            return
        for group in scope.groups.values():
            if group.slow and self._due(group):
                logger.warning(
                    "slow query: %.0f ms%s in %s: %s",
                    group.max * 1000,
                    where(group),
                    scope.route,
                    group.statement.folded[:500],
                    extra={"fingerprint": group.statement.digest, "scope": scope.kind},
                )

    def _due(self, group: Group) -> bool:
        key, now = (group.alias, group.statement.folded), self._clock.monotonic()
        if now - self._slow.get(key, -SLOW_AGAIN_AFTER) < SLOW_AGAIN_AFTER:
            return False
        if len(self._slow) >= settings().max_fingerprints:
            self._slow.clear()
        self._slow[key] = now
        return True


def describe(group: Group) -> str:
    """Return one line about an N+1 as it is being found: enough for a log, a warning or an error."""
    subject = group.relation.subject if group.relation else group.statement.folded[:80]
    return f"N+1: {subject} is fetched once for each row{where(group)}; manage.py perf_report names the cure"


notifier = Notifier()


def install() -> None:
    """Speak up about what this process does, from now on."""
    capture.on_found(notifier.n_plus_one)
    capture.on_closed(notifier.closed)
