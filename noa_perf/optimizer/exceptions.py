"""The optimizer's errors."""

from __future__ import annotations

from noa_perf.core.exceptions import NoaPerfError


class OptimizerError(NoaPerfError):
    """Base of the optimizer's errors."""


class NPlusOneError(OptimizerError):
    """An N+1 was found while ``NOA_PERF["OPTIMIZER"]["ON_N_PLUS_ONE"]`` is ``"raise"``."""


class ExplainUnavailable(OptimizerError):
    """This database's plans cannot be read; the message names the vendor and what goes on working."""


class CaptureOff(OptimizerError):
    """Queries are not watched, so nothing can be said of them; the message names the setting."""
