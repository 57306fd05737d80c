"""Starts a server by hand: ``python -m tests.servers postgres`` prints its URLs and waits for Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys

from tests.servers import registry
from tests.servers.base import MissingServer


def main() -> int:
    """Start the servers named on the command line and wait."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(registry.names()))
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(registry.names())
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))} (there are: {', '.join(registry.names())})")
    try:
        for name in chosen.names:
            for role, url in registry.get(registry.SERVERS[name]).urls().items():
                sys.stdout.write(f"{name} {role}: {url}\n")
        sys.stdout.write("Running; Ctrl-C ends it.\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except MissingServer as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        pass
    finally:
        registry.stop_all()
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main())
