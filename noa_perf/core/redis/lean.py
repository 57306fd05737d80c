"""The shortest way to a reply: a packed command, and nothing of redis-py's client between the caller and the socket."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from noa_perf.core.redis.errors import (
    NOT_ENOUGH,
    connection_error,
    down,
    is_astray,
    is_connection_error,
    is_reply,
    too_long,
)

Argument = bytes | str | int | float

PART = 2**20
"""Bytes, sent or received, that have a timeout of their own."""
MANY = 250
"""Commands, or values, that add one timeout to what their replies may take together."""

_PLAIN = frozenset({bytes, int, type(None), list})
"""What most replies are."""
_RESP2 = frozenset({2, "2"})


def fast_get(client: Any, key: bytes) -> bytes | None:
    """Return what GET returns, on a client that :class:`~noa_perf.core.redis.Clients` gave; raises as its ``get`` does.

    A connection that the server has closed meanwhile costs no error: the read is made once more on another. On a
    Cluster, and with a pool class of the site's own, this is ``client.get``.
    """
    pool: Any = getattr(client, "connection_pool", None)
    if not hasattr(pool, "take"):
        return client.get(key)  # type: ignore[no-any-return]
    return _read(pool, b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key))  # type: ignore[no-any-return]


def fast_mget(client: Any, keys: Sequence[bytes]) -> list[bytes | None]:
    """Return what MGET returns for one key or more, likewise; on a Cluster one GET for each key, in a pipeline."""
    pool: Any = getattr(client, "connection_pool", None)
    if hasattr(pool, "take"):
        return _read(pool, pack("MGET", *keys), len(keys))  # type: ignore[no-any-return]
    if pool is not None:
        return client.mget(keys)  # type: ignore[no-any-return]
    pipeline = client.pipeline()
    for key in keys:
        pipeline.get(key)
    return pipeline.execute()  # type: ignore[no-any-return]


class Tail:
    """Arguments with which many commands end, packed once."""

    __slots__ = ("arguments", "wire")

    def __init__(self, *arguments: Argument) -> None:
        """Pack them."""
        self.arguments = arguments
        self.wire = _packed(arguments)


def fast_call(client: Any, *arguments: Argument, again: bool = False, tail: Tail | None = None) -> Any:
    """Return the reply to any command as Redis sends it: bytes, integers, None and lists of these.

    ``again`` says that the command may be made twice, as a read may: then a connection is not looked at before it is
    used, which saves a system call, and a connection that was closed costs a second try instead of an error.
    """
    pool: Any = getattr(client, "connection_pool", None)
    if not hasattr(pool, "take"):
        return client.execute_command(*arguments, *(tail.arguments if tail else ()))
    command = pack(*arguments, tail=tail)
    return _read(pool, command) if again else _exchange(pool, pool.get_connection(), command)


def fast_batch(client: Any, commands: Sequence[Sequence[Argument]]) -> list[Any]:
    """Return the replies to several commands, sent together; each stands for itself, and may be an exception."""
    pool: Any = getattr(client, "connection_pool", None)
    if hasattr(pool, "take"):
        if not commands:
            return []
        packed = b"".join([pack(*arguments) for arguments in commands])
        return _exchanged(pool, pool.get_connection(), packed, len(commands), len(commands))
    pipeline = client.pipeline(transaction=False)
    for arguments in commands:
        pipeline.execute_command(*arguments)
    return pipeline.execute(raise_on_error=False)  # type: ignore[no-any-return]


def pack(*arguments: Argument, tail: Tail | None = None) -> bytes:
    """Return a command as it goes over the wire; text as UTF-8."""
    if tail is None:
        return b"*%d\r\n%b" % (len(arguments), _packed(arguments))
    return b"*%d\r\n%b%b" % (len(arguments) + len(tail.arguments), _packed(arguments), tail.wire)


def _packed(arguments: Sequence[Argument]) -> bytes:
    parts = []
    for argument in arguments:
        value = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


def _read(pool: Any, command: bytes, many: int = 1) -> Any:
    connection = pool.take()
    used = connection._sock is not None
    try:
        return _exchange(pool, connection, command, many)
    except Exception as error:
        if not (used and is_connection_error(error)):
            raise
    return _exchange(pool, pool.get_connection(), command, many)


def _exchange(pool: Any, connection: Any, command: bytes, many: int = 1) -> Any:
    """Return the reply to one command that asks for ``many`` values, or raise it."""
    reply = _exchanged(pool, connection, command, 1, many)[0]
    if is_reply(reply):
        raise reply
    return reply


def _exchanged(pool: Any, connection: Any, command: bytes, replies: int, many: int) -> list[Any]:
    clean = astray = False
    try:
        if connection._sock is None:
            connection.connect()
        _send(connection._sock, command)
        found = _received(connection, replies, many)
        clean = True
        for reply in found:
            if reply.__class__ not in _PLAIN and is_astray(reply):
                astray = True
    except OSError as error:
        raise connection_error(error) from error
    except Exception as error:
        astray = is_astray(error)
        raise
    finally:
        # Whatever came between, an interrupted thread included: nobody may read the reply that is still to come.
        if astray:
            pool.leave(connection)
        elif clean:
            pool.give(connection)
        else:
            pool.drop(connection)
    return found


def _send(sock: Any, command: bytes) -> None:
    # The socket's timeout bounds a call to sendall as a whole: what is large gets it for each part.
    if len(command) <= PART:
        sock.sendall(command)
        return
    view = memoryview(command)
    for start in range(0, len(view), PART):
        sock.sendall(view[start : start + PART])


def _received(connection: Any, replies: int, many: int) -> list[Any]:
    """Return as many replies; raise a timeout where they drip.

    A socket's timeout bounds each read, and a reply may come in any number of them. So all reads together have one
    timeout, and as much again for each :data:`PART` bytes that have come and each :data:`MANY` values that were asked
    for. Redis-py's own parser, for want of hiredis, and RESP3 have a timeout for each read alone.
    """
    parser = connection._parser
    reader = getattr(parser, "_reader", None)
    if reader is None or NOT_ENOUGH is None or connection.protocol not in _RESP2:
        return [_parsed(parser) for _ in range(replies)]
    sock, timeout, buffer = connection._sock, connection.socket_timeout, parser._buffer
    found: list[Any] = []
    size, begun, lowered = 0, 0.0, False
    while len(found) < replies:
        reply = reader.gets(False)
        if reply is not NOT_ENOUGH:
            if reply.__class__ not in _PLAIN and is_connection_error(reply):
                raise reply
            found.append(reply)
            continue
        if not begun:
            begun = monotonic()  # the first read has the socket's own timeout, which is the same
        elif timeout is not None:
            left = begun + timeout * (1 + many / MANY + size / PART) - monotonic()
            if left <= 0:
                raise too_long("The reply from Redis took too long as a whole.")
            sock.settimeout(min(left, timeout))
            lowered = True
        read = sock.recv_into(buffer)
        if not read:
            raise down("Redis closed the connection.")
        reader.feed(buffer, 0, read)
        size += read
    if lowered:
        sock.settimeout(timeout)
    return found


def _parsed(parser: Any) -> Any:
    try:
        return parser.read_response(disable_decoding=True)
    except Exception as error:
        if is_reply(error):
            return error
        raise
