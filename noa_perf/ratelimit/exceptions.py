"""The errors of the rate limiter; none but those of bad input ever reaches a view."""

from __future__ import annotations

from noa_perf.core.exceptions import NoaPerfError


class RateLimitError(NoaPerfError):
    """Base of the rate limiter's errors."""


class BadPolicy(RateLimitError, ValueError):
    """A rate, a limit, a policy or an identity cannot be used; the message names it, and the cure."""


class UnknownPolicy(RateLimitError, LookupError):
    """No policy has this name; the message lists those that there are."""


class StorageDown(RateLimitError):
    """The storage could not be asked; ``kind`` says why, as the metric's label does. Never raised into a view."""

    def __init__(self, kind: str) -> None:
        """Say why."""
        super().__init__(kind)
        self.kind = kind
