"""Node and npm: programs that run to their end, and a corpus of packages fetched once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import ClassVar

from tests.servers.base import Server
from tests.servers.fetching import locked

PLACE = Path(__file__).parent.parent.parent / ".corpus"

PACKAGES = {
    "bootstrap": "5.3.8",
    "d3": "7.9.0",
    "esbuild": "0.25.12",
    "lodash": "4.17.21",
    "react": "18.3.1",
    "react-dom": "18.3.1",
    "tailwindcss": "2.2.19",
    "terser": "5.44.1",
    "three": "0.160.1",
}
"""What is minified, and with what: pinned, for the files are named in tests."""


class Node(Server):
    """No process is kept: :meth:`packages` fetches, :meth:`run_script` runs."""

    name = "node"
    programs: ClassVar[dict[str, str]] = {"node": "nodejs", "npm": "npm"}

    def start(self) -> None:
        """Nothing has to be started."""

    def urls(self) -> dict[str, str]:
        """Return where the packages are."""
        return {"packages": str(self.packages())}

    def packages(self) -> Path:
        """Return ``node_modules`` with :data:`PACKAGES`, fetched by npm when first asked for."""
        wanted = json.dumps({"private": True, "dependencies": PACKAGES}, indent=1)
        done = PLACE / "done"
        with locked(PLACE):
            if not done.exists() or done.read_text() != wanted:
                (PLACE / "package.json").write_text(wanted)
                quiet = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
                subprocess.run([self.paths["npm"], "install", *quiet], cwd=PLACE, check=True, timeout=600)
                done.write_text(wanted)
        return PLACE / "node_modules"

    def run_script(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run a script to its end and return what it printed; fail with what it said if it fails."""
        command = [self.paths["node"], *map(str, arguments)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=cwd)
        if ran.returncode:
            raise AssertionError(f"{' '.join(command)[:300]}: {ran.stderr[-2000:]}")
        return ran.stdout
