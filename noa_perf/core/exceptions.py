"""The errors that noa_perf raises; each app's own errors derive from these."""

from __future__ import annotations


class NoaPerfError(Exception):
    """Base of every error that noa_perf raises on purpose."""


class CommandInputError(NoaPerfError):
    """A command got input that it cannot work with; the message names the option and the cure."""
