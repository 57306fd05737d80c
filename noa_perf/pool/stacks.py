"""The stack that took a connection, kept so cheaply that every checkout can afford it, and told only when asked for."""

from __future__ import annotations

import sys
from types import CodeType, FrameType

Stack = tuple[tuple[CodeType, int], ...]
"""Code objects with the offset of the instruction that they were at, innermost first: no frame, so no local, is kept
alive."""

DEPTH = 24
"""Frames that are kept."""
_FRAMES = range(DEPTH)


def capture(above: int) -> Stack:
    """Return the stack of this thread, less its ``above`` innermost frames beside this one."""
    frame: FrameType | None = sys._getframe(above + 1)
    found = []
    for _ in _FRAMES:
        if frame is None:
            break
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def told(stack: Stack) -> list[str]:
    """Return its lines as text, innermost first: ``file:line in function``."""
    return [f"{code.co_filename}:{line(code, offset)} in {code.co_qualname}" for code, offset in stack]


def line(code: CodeType, offset: int) -> int:
    """Return the line of an instruction."""
    for start, end, number in code.co_lines():
        if start <= offset < end and number is not None:
            return number
    return code.co_firstlineno
