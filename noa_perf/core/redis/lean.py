"""The shortest way to a reply: a packed command, and nothing of redis-py's client between the caller and the socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noa_perf.core.redis.errors import connection_error, is_connection_error, is_reply

Argument = bytes | str | int | float


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
        return _read(pool, pack("MGET", *keys))  # type: ignore[no-any-return]
    if pool is not None:
        return client.mget(keys)  # type: ignore[no-any-return]
    pipeline = client.pipeline()
    for key in keys:
        pipeline.get(key)
    return pipeline.execute()  # type: ignore[no-any-return]


def fast_call(client: Any, *arguments: Argument, again: bool = False) -> Any:
    """Return the reply to any command as Redis sends it: bytes, integers, None and lists of these.

    ``again`` says that the command may be made twice, as a read may: then a connection is not looked at before it is
    used, which saves a system call, and a connection that was closed costs a second try instead of an error.
    """
    pool: Any = getattr(client, "connection_pool", None)
    if not hasattr(pool, "take"):
        return client.execute_command(*arguments)
    command = pack(*arguments)
    return _read(pool, command) if again else _exchange(pool, pool.get_connection(), command)


def pack(*arguments: Argument) -> bytes:
    """Return a command as it goes over the wire; text as UTF-8."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        value = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


def _read(pool: Any, command: bytes) -> Any:
    connection = pool.take()
    used = connection._sock is not None
    try:
        return _exchange(pool, connection, command)
    except Exception as error:
        if not (used and is_connection_error(error)):
            raise
    return _exchange(pool, pool.get_connection(), command)


def _exchange(pool: Any, connection: Any, command: bytes) -> Any:
    clean = False
    try:
        if connection._sock is None:
            connection.connect()
        connection._sock.sendall(command)
        reply = connection._parser.read_response(disable_decoding=True)
        clean = True
    except OSError as error:
        raise connection_error(error) from error
    finally:
        # Whatever came between, an interrupted thread included: nobody may read the reply that is still to come.
        pool.give(connection) if clean else pool.drop(connection)
    if is_reply(reply):
        raise reply
    return reply
