"""What the limiter answers: whether a request passes, and what each limit had to say about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from noa_perf.ratelimit.algorithms.base import Figures
from noa_perf.ratelimit.rates import SECOND

if TYPE_CHECKING:
    from noa_perf.ratelimit.limits import Limit
    from noa_perf.ratelimit.policy import Policy

Reason = Literal["", "limit", "unavailable", "ban", "deny"]
"""Why a request is denied: over a limit; the storage is away and the policy is ``closed``; banned; on a deny list."""


class Verdict:
    """One limit's part in a decision."""

    __slots__ = ("figures", "limit", "policy")

    def __init__(self, policy: Policy, limit: Limit, figures: Figures) -> None:
        """Keep what was found."""
        self.policy = policy
        self.limit = limit
        self.figures = figures
        """What is left, and when more comes; times in microseconds."""

    @property
    def allowed(self) -> bool:
        """Whether this limit alone lets it pass; one in shadow mode may say no to a request that passes."""
        return self.figures.allowed

    @property
    def remaining(self) -> int:
        """Units that are left."""
        return self.figures.remaining

    @property
    def reset_after(self) -> float:
        """Seconds until the whole quota is there again."""
        return self.figures.reset / SECOND

    @property
    def retry_after(self) -> float | None:
        """Seconds until what was asked for would pass: 0 if it does, None if it never will."""
        return None if self.figures.retry < 0 else self.figures.retry / SECOND


class Decision:
    """Whether a request passes. Truthy if it does."""

    __slots__ = ("allowed", "degraded", "reason", "retry", "verdicts")

    def __init__(
        self,
        allowed: bool,
        verdicts: Sequence[Verdict] = (),
        *,
        degraded: str = "",
        reason: Reason = "",
        retry: int | None = None,
    ) -> None:
        """Keep what was decided."""
        self.allowed = allowed
        self.verdicts = verdicts
        """What each limit said; empty where the storage could not be asked."""
        self.degraded = degraded
        """Why the storage could not be asked (``down``, ``timeout``, ``open``); empty where it was."""
        self.reason: Reason = reason if allowed or reason else "limit"
        self.retry = retry
        """Microseconds after which it is worth while to ask again, where no limit tells; None if nobody knows."""

    def __bool__(self) -> bool:
        return self.allowed

    def and_(self, other: Decision) -> Decision:
        """Return both as one: it passes if both do, and what denied it is told."""
        first = self if not self.allowed or other.allowed else other
        return Decision(
            self.allowed and other.allowed,
            (*self.verdicts, *other.verdicts),
            degraded=self.degraded or other.degraded,
            reason=first.reason,
            retry=first.retry,
        )

    @property
    def violated(self) -> list[Verdict]:
        """The limits that said no, those in shadow mode aside."""
        return [one for one in self.verdicts if not one.allowed and not one.policy.shadow]

    @property
    def shadowed(self) -> list[Verdict]:
        """The limits in shadow mode that would have said no."""
        return [one for one in self.verdicts if not one.allowed and one.policy.shadow]

    @property
    def told(self) -> list[Verdict]:
        """The limits that a client may know of: those that are enforced."""
        return [one for one in self.verdicts if not one.policy.shadow]

    @property
    def remaining(self) -> int | None:
        """Units left under the tightest limit; None where there is none."""
        return min((one.remaining for one in self.told), default=None)

    @property
    def retry_after(self) -> float | None:
        """Seconds until it would pass: 0 if it does, None if it never will or nobody knows."""
        if self.allowed:
            return 0.0
        if self.retry is not None:
            return self.retry / SECOND
        times = [one.retry_after for one in self.violated]
        return None if not times or None in times else max(time for time in times if time is not None)


class OneLimit(Decision):
    """A decision of one limit, as quick to make as can be: its figures are read when somebody asks for them."""

    __slots__ = ("facts",)

    facts: tuple[Policy, Limit, Any, int, int]
    """What the figures are read off: policy, limit, state, microseconds now, units. Whoever makes one sets them."""

    __init__ = object.__init__  # a call of Python less, of the four that a check has
    agrees = True
    allowed = True
    degraded = ""
    reason = ""
    retry = None

    @property
    def verdicts(self) -> Sequence[Verdict]:  # type: ignore[override]
        """What the limit said."""
        policy, limit, state, now, cost = self.facts
        return (Verdict(policy, limit, limit.arithmetic.figures(state, now, cost, self.agrees)),)


class Refused(OneLimit):
    """One that says no."""

    __slots__ = ()

    agrees = False
    allowed = False
    reason = "limit"


class Shadowed(OneLimit):
    """One that would have said no."""

    __slots__ = ()

    agrees = False


ALLOWED = Decision(True)
"""Nothing speaks against it, and nobody was asked."""
