"""Signals for what is rare: sent once for each N+1 and each scope, never for each query."""

from __future__ import annotations

from django.dispatch import Signal

n_plus_one_found = Signal()
"""Sent with ``group`` (:class:`~noa_perf.optimizer.groups.Group`) when a scope first sees an N+1."""
