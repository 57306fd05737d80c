"""Lua run by its hash, and sent in full only to a server that has not seen it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from noa_perf.core.redis.errors import is_noscript
from noa_perf.core.redis.lean import Argument, Tail, fast_call


class Script:
    """A Lua script; on a Cluster all its keys have to lie in one slot."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        """Compute the hash by which Redis knows ``text``."""
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(
        self,
        client: Any,
        keys: Sequence[Argument],
        args: Sequence[Argument] = (),
        *,
        again: bool = False,
        tail: Tail | None = None,
    ) -> Any:
        """Run it; ``again`` says that it only reads, as in :func:`~noa_perf.core.redis.fast_call`.

        ``tail`` holds what follows ``args``.

        A server that does not know it (restarted, failed over, SCRIPT FLUSH) gets the text, and knows it from then on.
        """
        try:
            return fast_call(client, "EVALSHA", self.sha, len(keys), *keys, *args, again=again, tail=tail)
        except Exception as error:
            if not is_noscript(error):
                raise
        return fast_call(client, "EVAL", self.text, len(keys), *keys, *args, again=again, tail=tail)

    async def arun(self, client: Any, keys: Sequence[Argument], args: Sequence[Argument] = ()) -> Any:
        """Run it on a client of the running event loop."""
        try:
            return await client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except Exception as error:
            if not is_noscript(error):
                raise
        return await client.execute_command("EVAL", self.text, len(keys), *keys, *args)

    def load(self, client: Any) -> None:
        """Make it known to the server, or to each primary of a Cluster: before a pipeline that runs it by its hash."""
        client.script_load(self.text)

    async def aload(self, client: Any) -> None:
        """Make it known, on a client of the running event loop."""
        await client.script_load(self.text)
