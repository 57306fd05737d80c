"""An endpoint of S3: moto's server, which keeps everything in its own memory."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from typing import Any, ClassVar

from tests.servers.base import Server

CREDENTIALS = {"access_key": "test", "secret_key": "test", "region_name": "us-east-1"}


class S3(Server):
    """The role ``s3`` answers on its port; buckets are made by whoever tests."""

    name = "s3"
    programs: ClassVar[dict[str, str]] = {}

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.paths["python"] = sys.executable
        self.settle("s3", lambda port: self.begin("s3", port))

    def begin(self, role: str, port: int) -> None:
        """Start the process of ``role`` on ``port``; return when it answers."""
        self.spawn(role, "python", "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
        self.wait_until(lambda: self._answers(port), role)

    def urls(self) -> dict[str, str]:
        """Return its address."""
        return {"s3": f"http://127.0.0.1:{self.ports['s3']}"}

    def client(self, port: int | None = None, attempts: int = 2) -> Any:
        """Return a boto3 client of it, or of whoever stands before it on ``port``, that tries so often."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port or self.ports['s3']}",
            aws_access_key_id=CREDENTIALS["access_key"],
            aws_secret_access_key=CREDENTIALS["secret_key"],
            region_name=CREDENTIALS["region_name"],
            config=Config(retries={"total_max_attempts": attempts}, connect_timeout=5, read_timeout=5, proxies={}),
        )

    def _answers(self, port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/data.json", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False
