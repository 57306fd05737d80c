"""Sees every query, tells which ones hurt, and says the exact line and the exact change that mends each."""

from noa_perf.optimizer.capture import scope

__all__ = ["scope"]
