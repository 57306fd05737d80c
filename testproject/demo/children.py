"""Child processes that speak lines of JSON, and that end when their parent does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

ROOT = Path(__file__).resolve().parent.parent.parent
END = "end"
"""The last line that a child hears from a demo that ends in order; without it, the demo died."""


class DemoError(Exception):
    """The demo could not run, or the two twins did not answer alike."""


class Child:
    """A module run as a program; leaving the ``with`` block ends it, and so does our death."""

    def __init__(self, module: str, *args: object) -> None:
        self.module = module
        # A session of its own: Ctrl-C reaches us alone, and the child ends in order when its stdin closes.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("SHOP_")},
        )
        self._stdin, self._stdout = (
            cast("IO[str]", self._process.stdin),
            cast("IO[str]", self._process.stdout),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tell(self, line: str) -> None:
        """Send one line."""
        try:
            self._stdin.write(line + "\n")
            self._stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def hear(self) -> dict[str, Any]:
        """Return the next line's data."""
        line = self._stdout.readline()
        if not line:
            raise self._gone()
        said: dict[str, Any] = json.loads(line)
        return said

    def ask(self, line: str) -> dict[str, Any]:
        """Send one line and return the answer."""
        self.tell(line)
        return self.hear()

    def close(self) -> None:
        """End the child: ask first, then insist."""
        with suppress(DemoError):
            self.tell(END)
        with suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._stdout.close()

    def _gone(self) -> DemoError:
        return DemoError(f"{self.module} ended early; what it wrote above says why.")
