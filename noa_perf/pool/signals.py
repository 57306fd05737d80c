"""What may be listened to: rare events."""

from __future__ import annotations

from django.dispatch import Signal

connection_leaked = Signal()
"""A connection was held for longer than ``leak_threshold``. Sent with ``leak`` (:class:`noa_perf.pool.leaks.Leak`)."""
