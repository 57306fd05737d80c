"""A test as pytest knows it: what its markers allow, and its function within a decorator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import TestCase

import pytest

ALLOW = "noa_perf_allow"


def allowances(item: pytest.Function) -> dict[str, list[str]]:
    """Return each entry that markers allow the test, with the places of those markers."""
    found: dict[str, list[str]] = {}
    for node, mark in item.iter_markers_with_node(ALLOW):
        # The cases of one parametrized function have their marker in common.
        where = node.nodeid.partition("[")[0] if node is item else node.nodeid
        for entry in mark.args:
            found.setdefault(entry, []).append(f"{ALLOW}({entry!r}) at {where}")
    return found


@contextmanager
def decorated(item: pytest.Function, decorator: Callable[[Any], Any]) -> Iterator[None]:
    """Run the test function itself, and not the ``setUp`` of a TestCase, within ``decorator``."""
    inner = getattr(item.obj, "hypothesis", None)  # of many examples each is a test of its own
    owner, name = (inner, "inner_test") if inner is not None else (item, "obj")
    original = getattr(owner, name)
    replacement = decorator(original)
    setattr(owner, name, replacement)
    method = _method(item, replacement) if inner is None else None
    try:
        yield
    finally:
        setattr(owner, name, original)
        if method is not None:
            vars(item.instance).pop(method, None)


def _method(item: pytest.Function, replacement: Any) -> str | None:
    """Put ``replacement`` where unittest looks for the method; pytest does so for plain functions alone."""
    if not isinstance(item.instance, TestCase):
        return None
    setattr(item.instance, item.name, replacement)
    return item.name
