"""tdewolff's minifier in a process of its own, for it holds a Go runtime, which no fork of a web process survives.

The process is started afresh, never forked, reads requests from its standard input and answers on its standard output.
A request is the length of what follows, the media type, a zero byte and the text; an answer the length, ``=`` or ``!``,
and the text or why not. Lengths are four bytes, the highest first.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, cast

_LENGTH = struct.Struct(">I")


class Refused(Exception):
    """The minifier could not read the text."""


class Died(Refused):
    """It hung, or died: over the text, or for another reason."""


class Helper:
    """The process, started when it is first needed, and anew where it died; one request at a time."""

    def __init__(self, patience: float) -> None:
        """Wait ``patience`` seconds for an answer, then kill it."""
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def minified(self, media_type: str, text: str) -> str:
        """Return ``text`` smaller; raise :class:`Refused` (or :class:`Died`) where that cannot be had."""
        body = media_type.encode() + b"\0" + text.encode()
        with self._lock:
            process = self._running()
            guard = threading.Timer(self._patience, process.kill)
            guard.start()
            try:
                write_frame(cast("IO[bytes]", process.stdin), body)
                answer = read_frame(cast("IO[bytes]", process.stdout))
            except (OSError, EOFError) as error:
                self._end()
                raise Died("it hung or died") from error
            except BaseException:  # interrupted: its answer would be taken for the next one's
                self._end()
                raise
            finally:
                guard.cancel()
        if answer[:1] != b"=":
            raise Refused(answer[1:].decode(errors="replace"))
        return answer[1:].decode()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return self._process

    def _end(self) -> None:
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.kill()
        self._process.wait()
        self._process = None


def write_frame(pipe: IO[bytes], body: bytes) -> None:
    """Write one request or answer."""
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes:
    """Read one request or answer; raise EOFError where the other side is gone."""
    return _exactly(pipe, _LENGTH.unpack(_exactly(pipe, _LENGTH.size))[0])


def _exactly(pipe: IO[bytes], many: int) -> bytes:
    data = pipe.read(many)
    if len(data) < many:
        raise EOFError
    return data


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    import minify

    while True:
        try:
            media_type, _, text = read_frame(requests).partition(b"\0")
        except EOFError:
            return
        try:
            answer = b"=" + minify.string(media_type.decode(), text.decode()).encode()
        except Exception as error:  # whatever it says, the asker keeps his file
            answer = b"!" + str(error).encode()
        write_frame(answers, answer)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
