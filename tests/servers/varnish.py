"""Varnish with xkey, before an origin on loopback, as the VCL of ``cdn_edge_config`` makes it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import ClassVar

from noa_perf.cdn.providers.varnish import TOKEN_VARIABLE, vcl
from tests.servers.base import Server, free_port

TOKEN = "a token of the tests"


class Varnish(Server):
    """The role ``varnish`` answers viewers; :meth:`put_before` tells it its origin."""

    name = "varnish"
    programs: ClassVar[dict[str, str]] = {"varnishd": "varnish", "varnishadm": "varnish"}
    files: ClassVar[dict[str, str]] = {"/usr/lib/*/varnish/vmods/libvmod_xkey.so": "varnish-modules"}
    folders = ("/usr/sbin", "/usr/bin")

    def start(self) -> None:
        """Start it before an origin that is not there yet."""
        self._generation = 0
        self.ports["origin"] = free_port()
        self.settle("varnish", lambda port: self.begin("varnish", port))

    def begin(self, role: str, port: int) -> None:
        """Start the process of ``role`` on ``port``; return when it answers."""
        (self.folder / "work").mkdir(exist_ok=True)
        self.spawn(
            role, "varnishd", "-F", "-n", self.folder / "work", "-a", f"127.0.0.1:{port}",
            "-f", self._write(f"http://127.0.0.1:{self.ports['origin']}"),
            "-s", "malloc,32m", "-p", "vcc_allow_inline_c=off", "-j", "none",
        )  # fmt: skip
        self.wait_until(lambda: _accepts(port), role)

    def urls(self) -> dict[str, str]:
        """Return where viewers reach it."""
        return {"varnish": f"http://127.0.0.1:{self.ports['varnish']}"}

    def put_before(self, origin: str) -> None:
        """Ask ``origin`` from now on, and forget what was kept."""
        self._generation += 1
        name = f"vcl{self._generation}"
        self._admin("vcl.load", name, str(self._write(origin)))
        self._admin("vcl.use", name)
        self._admin("ban", "obj.status", "!=", "0")

    def _admin(self, *words: str) -> None:
        command = [self.paths["varnishadm"], "-n", str(self.folder / "work"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise RuntimeError(f"varnishadm {words[0]} failed: {done.stdout}{done.stderr}")

    def _write(self, origin: str) -> Path:
        path = self.folder / f"edge{self._generation}.vcl"
        path.write_text(vcl(origin, "/static/"))
        return path

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), TOKEN_VARIABLE: TOKEN, "PATH": os.environ.get("PATH", "") + ":/usr/sbin"}


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
