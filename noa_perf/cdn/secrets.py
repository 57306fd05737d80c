"""Secrets by reference: settings say where one is, and nothing of ours ever shows it."""

from __future__ import annotations

import os
from pathlib import Path

from noa_perf.cdn.exceptions import BadProvider


class Secret:
    """A value that is read when it is needed, and shown by nobody: ``env:NAME``, ``file:/path``, or the value."""

    def __init__(self, reference: str, setting: str) -> None:
        """Keep the reference; ``setting`` names it in messages."""
        self._reference = reference
        self._setting = setting

    def __repr__(self) -> str:
        return "<Secret>"

    __str__ = __repr__

    def reveal(self) -> str:
        """Return the value; raise :class:`~noa_perf.cdn.exceptions.BadProvider` where it is not to be had."""
        value = self._read()
        if not (value.isascii() and value.isprintable()):
            raise BadProvider(f"{self._setting} holds what no header can carry: use letters and digits of ASCII.")
        return value

    def _read(self) -> str:
        kind, colon, where = self._reference.partition(":")
        if colon and kind == "env":
            if where not in os.environ:
                raise BadProvider(f"{self._setting} is in the environment variable {where}, which is not set.")
            return os.environ[where]
        if colon and kind == "file":
            try:
                return Path(where).read_text().strip()
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "no text"
                raise BadProvider(f"{self._setting} is in {where}, which cannot be read: {why}.") from error
        return self._reference
