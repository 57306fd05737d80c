"""A limit: a rate, the algorithm that holds it, and the most that it ever admits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from noa_perf.ratelimit.algorithms.base import Algorithm
from noa_perf.ratelimit.algorithms.bucket import Bucket
from noa_perf.ratelimit.algorithms.fixed_window import FixedWindow
from noa_perf.ratelimit.algorithms.sliding_counter import SlidingCounter
from noa_perf.ratelimit.algorithms.sliding_log import SlidingLog
from noa_perf.ratelimit.algorithms.sub_windows import SubWindows
from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.rates import MAX_UNITS, Rate, is_whole, span

AlgorithmName = Literal["fixed_window", "sliding_log", "sliding_counter", "token_bucket", "leaky_bucket", "gcra"]
Guarantee = Literal["average", "window"]

BUCKETS = ("token_bucket", "leaky_bucket", "gcra")
DEFAULT_ALGORITHM: AlgorithmName = "gcra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One rate for each client, as one algorithm holds it. Equal limits count alike."""

    rate: Rate
    """Units and a period: ``"100/m"``, ``"5/15m"``, ``"10 per second"``, or a pair with seconds, ``(100, 60)``."""
    algorithm: AlgorithmName = DEFAULT_ALGORITHM
    """How it is held; see "How rate limits keep their word"."""
    burst: int | None = None
    """Units that may come at once, for ``token_bucket``, ``leaky_bucket`` and ``gcra``. Where nobody says, that is the
    whole limit, one for ``leaky_bucket``, and half the limit, rounded up, under ``guarantee="window"``."""
    guarantee: Guarantee = "average"
    """``window``: no window of the rate's period, wherever it begins, ever admits more than the limit."""
    arithmetic: Algorithm = field(init=False, repr=False, compare=False)
    tag: str = field(init=False, repr=False, compare=False)
    """What tells its counts from those of another limit: a part of the key."""

    def __post_init__(self) -> None:
        """Refuse what does not go together, and make the arithmetic."""
        if self.algorithm not in get_args(AlgorithmName):
            known = ", ".join(get_args(AlgorithmName))
            raise BadPolicy(f"algorithm is {self.algorithm!r}. It has to be one of {known}.")
        if self.guarantee not in get_args(Guarantee):
            raise BadPolicy(f'guarantee is {self.guarantee!r}. It has to be "average" or "window".')
        self._check_burst()
        object.__setattr__(self, "arithmetic", self._arithmetic())
        object.__setattr__(self, "tag", self._tag())

    @property
    def size(self) -> int:
        """Units that may come at once."""
        return self.arithmetic.capacity

    @property
    def refill(self) -> int:
        """Units that come back in a period; for a bucket with a guarantee fewer than the limit."""
        if self.algorithm in BUCKETS and self.guarantee == "window":
            # In a window that is open at one end fewer than size + refill pass.
            return self.rate.limit + 1 - self._burst()
        return self.rate.limit

    @property
    def worst_case(self) -> int:
        """The most units that any window of the rate's period ever admits, wherever it begins."""
        limit = self.rate.limit
        if self.algorithm in BUCKETS:
            return self._burst() + self.refill - 1
        if self.algorithm == "sliding_log" or self.guarantee == "window":
            return limit
        return 2 * limit if self.algorithm == "fixed_window" else 2 * limit - 1

    def __str__(self) -> str:
        """Return it as people write it."""
        more = f", burst {self._burst()}" if self.algorithm in BUCKETS else ""
        return f"{self.rate} {self.algorithm}{more}{', never more in a window' if self.guarantee == 'window' else ''}"

    @classmethod
    def parse(cls, written: Any, **defaults: Any) -> Limit:
        """Return the limit that a rate, or a dict with ``rate`` and any of the fields, means.

        ``defaults`` are fields that the dict does not name. Raises :class:`BadPolicy`.
        """
        if isinstance(written, cls):
            return written
        if not isinstance(written, Mapping):
            return cls(rate=Rate.parse(written), **defaults)
        unknown = set(written) - {"rate", "algorithm", "burst", "guarantee"}
        if unknown or "rate" not in written:
            why = f"does not know {sorted(map(str, unknown))}" if unknown else 'has no "rate"'
            raise BadPolicy(f"The limit {dict(written)!r} {why}. Its keys are rate, algorithm, burst and guarantee.")
        return cls(**{**defaults, **written, "rate": Rate.parse(written["rate"])})

    def _burst(self) -> int:
        if self.burst is not None:
            return self.burst
        if self.guarantee == "window":
            return -(-self.rate.limit // 2)
        return 1 if self.algorithm == "leaky_bucket" else self.rate.limit

    def _check_burst(self) -> None:
        if self.burst is None:
            return
        if not is_whole(self.burst) or not 1 <= self.burst <= MAX_UNITS:
            raise BadPolicy(f"burst is {self.burst!r}. It has to be a whole number of at least 1, {MAX_UNITS} at most.")
        if self.algorithm not in BUCKETS:
            raise BadPolicy(f"{self.algorithm} has no burst. Leave it out, or use one of {', '.join(BUCKETS)}.")
        if self.guarantee == "window" and self.burst > self.rate.limit:
            raise BadPolicy(f"burst is {self.burst}: a window of {self.rate} cannot be kept. Make it smaller.")

    def _arithmetic(self) -> Algorithm:
        limit, period = self.rate.limit, self.rate.period
        if self.algorithm in BUCKETS:
            return Bucket(self.refill, period, self._burst())
        if self.algorithm == "sliding_log":
            return SlidingLog(limit, period)
        if self.guarantee == "average":
            return (FixedWindow if self.algorithm == "fixed_window" else SlidingCounter)(limit, period)
        if self.algorithm == "fixed_window":
            raise BadPolicy(
                "fixed_window admits twice the limit around the border of two windows. "
                'For guarantee="window" use gcra, sliding_counter or sliding_log.'
            )
        return SubWindows(limit, period)

    def _tag(self) -> str:
        burst = f"-{self._burst()}" if self.algorithm in BUCKETS else ""
        return f"{self.arithmetic.lua}-{self.rate.limit}-{span(self.rate.period)}{burst}-{self.guarantee[0]}"
