"""What is done to a connection's socket itself, whatever speaks over it."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress


def watch(fd: int) -> select.poll:
    """Return what tells whether there is something to read: data, or that the other side has closed."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll


def cut(fd: int) -> None:
    """End what is said over a socket, so that closing it waits for nobody."""
    with suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def disown(fd: int) -> None:
    """Let a socket's number lead nowhere: what is still said to it, a farewell say, does not reach the server."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, fd)
        os.close(nowhere)
