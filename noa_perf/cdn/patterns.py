"""Patterns of paths, as settings and commands take them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Tell whether a path, or its last part, matches one of the patterns; capitals matter on every system."""
    return any(fnmatchcase(path, each) or fnmatchcase(posixpath.basename(path), each) for each in patterns)
