"""Signals for what is rare: sent once for each ban that a process makes or ends, never for each request."""

from __future__ import annotations

from django.dispatch import Signal

banned = Signal()
"""Sent with ``ban`` (:class:`~noa_perf.ratelimit.bans.Ban`) when this process has banned somebody."""

released = Signal()
"""Sent with ``client`` (text, as ``ip:203.0.113.7``) when this process has released somebody before the time."""
