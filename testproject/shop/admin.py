"""The admin of the chosen twin."""

from __future__ import annotations

from .twin import twin

twin("admin")
