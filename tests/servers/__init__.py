"""Real servers for the tests: private, on free loopback ports, started when first asked for, gone with the run.

``servers.get("postgres")`` starts a server, or returns the one that this run has started already. Each server is one
small module here with a subclass of :class:`~tests.servers.base.Server`; ``python -m tests.servers NAME`` starts one by
hand.
"""

from tests.servers.base import MissingServer, Server
from tests.servers.registry import get, names, stop_all

__all__ = ["MissingServer", "Server", "get", "names", "stop_all"]
