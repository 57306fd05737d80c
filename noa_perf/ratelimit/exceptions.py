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


class BansUnavailable(RateLimitError):
    """A ban or a release by hand could not be told to Redis, so nothing was changed."""

    def __init__(self, kind: str) -> None:
        """Say why."""
        super().__init__(
            f'The Redis of the bans cannot be asked ({kind}), so nothing was changed. See NOA_PERF["RATELIMIT"]'
            '["STORAGE"], and try again.'
        )


class BadImport(RateLimitError, ValueError):
    """A file cannot be imported; the message names each bad line, and nothing was changed."""
