"""What every server has in common: a folder, an OS user, processes that the watchdog knows, and a clean end."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from tests.servers import sweep

READY_WITHIN = 60.0
"""Seconds after which a server that does not answer has failed: a guard, not a measure."""


ANSWERS_WITHIN = 2
"""Seconds after which whoever listens on a port and says nothing is no server of ours."""
ATTEMPTS = 5
"""Ports that are tried before something else than bad luck is to blame."""
TAKEN = re.compile(r"address already in use|could not create any TCP/IP sockets", re.IGNORECASE)
"""How servers say that their port is somebody else's."""


class MissingServer(Exception):
    """A server cannot be started here; the message names the packages, or the room, that it needs."""


class Watchdog:
    """A process in a session of its own that ends our servers when we do, however we end.

    It holds the reading end of a pipe. When this run ends, by return, Ctrl-C, a crash or ``kill -9``, the kernel
    closes the writing end, and the watchdog kills what it was told of and removes the folders.
    """

    def __init__(self) -> None:
        """Start the watchdog."""
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("watchdog.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Process id of the watchdog."""
        return self._process.pid

    def tell(self, word: str, value: str | int) -> None:
        """Tell it of a ``group`` to kill or a ``folder`` to remove."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # killed: then stop_all() is all that is left to clean up
            self._process.stdin.write(f"{word} {value}\n")
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """Let it do its work now, and wait until it is done."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(READY_WITHIN)


class Server:
    """One server, or one set of servers that belong together."""

    name: ClassVar[str]
    programs: ClassVar[Mapping[str, str]]
    """Programs needed, each with the Debian package that brings it."""
    files: ClassVar[Mapping[str, str]] = {}
    """Other files needed, as patterns, each with the package that brings one."""
    folders: ClassVar[tuple[str, ...]] = ()
    """Where to look for the programs beside PATH; may hold a ``*``."""
    refuses_root: ClassVar[bool] = False
    user: ClassVar[str] = "nobody"
    """OS user to run as where the server refuses root and we are root."""
    room: ClassVar[int] = 300
    """Megabytes that it may fill."""

    def __init__(self, watchdog: Watchdog) -> None:
        """Find the programs and make a folder; nothing is started yet."""
        self.watchdog = watchdog
        self.paths = {program: self._find(program) for program in self.programs}
        self.folder = self._make_folder()
        self.watchdog.tell("folder", str(self.folder))
        sweep.sign(self.folder)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        account = self._account()
        self._uid = account.pw_uid if account is not None else None
        self._gid = account.pw_gid if account is not None else None
        if account is not None:
            os.chown(self.folder, account.pw_uid, account.pw_gid)

    def start(self) -> None:
        """Start all processes and return when they answer."""
        raise NotImplementedError

    def urls(self) -> dict[str, str]:
        """Return what a client needs to connect, by role."""
        raise NotImplementedError

    @classmethod
    def missing(cls) -> set[str]:
        """Return the packages whose programs are not installed."""
        wanted = {package for program, package in cls.programs.items() if cls._search(program) is None}
        return wanted | {package for pattern, package in cls.files.items() if not any(_glob(pattern))}

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of the programs to its end, as the server's user."""
        done = subprocess.run(
            [self.paths[program], *map(str, arguments)],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            user=self._uid,
            group=self._gid,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed ({done.returncode}): {done.stderr.strip()[-2000:]}")

    def spawn(self, role: str, program: str, *arguments: str | Path) -> None:
        """Start one of the programs in the background; its output goes to ``<role>.log`` in the folder."""
        with (self.folder / f"{role}.log").open("ab") as log:
            process = subprocess.Popen(
                [self.paths[program], *map(str, arguments)],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._uid,
                group=self._gid,
            )
        self.processes[role] = process
        self.watchdog.tell("group", process.pid)

    def settle(self, role: str, start: Callable[[int], None]) -> None:
        """Call ``start`` with a free port for ``role``; with another, where somebody took that one meanwhile."""
        for attempt in range(1, ATTEMPTS + 1):
            self.ports[role] = free_port()
            try:
                start(self.ports[role])
            except RuntimeError as error:
                if attempt == ATTEMPTS or not TAKEN.search(str(error)):
                    raise
                del self.processes[role]
                (self.folder / f"{role}.log").unlink()
            else:
                return

    def end(self, role: str, how: signal.Signals = signal.SIGINT) -> None:
        """End one process by ``how``, and wait until it is gone."""
        os.kill(self.processes[role].pid, how)
        self.processes.pop(role).wait(READY_WITHIN)

    def begin(self, role: str, port: int) -> None:
        """Start the process of ``role`` on ``port``; return when it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """End all processes and wait for them; the folder goes with the watchdog."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGQUIT)
        for process in self.processes.values():
            try:
                process.wait(READY_WITHIN / 10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Return when ``ready()`` is true; fail when a process has died or :data:`READY_WITHIN` is over."""
        deadline = time.monotonic() + READY_WITHIN
        while not ready():
            dead = [role for role, process in self.processes.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: {what} did not come up ({dead or 'too slow'})\n{self._logs()}")
            time.sleep(0.02)

    def _make_folder(self) -> Path:
        place = scratch()
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"noa-perf-{self.name}-", dir=place))
        except OSError as error:
            raise MissingServer(f"{self.name} cannot make a folder in {place}: {error.strerror}. {ELSEWHERE}") from None
        free = shutil.disk_usage(folder).free // 2**20
        if free < self.room:
            folder.rmdir()
            raise MissingServer(f"{self.name} needs {self.room} MB, and {place} has {free} left. {ELSEWHERE}")
        return folder

    def _environment(self) -> dict[str, str]:
        # The server's user may not write where we may, and what it leaves behind goes with the folder.
        return {**os.environ, "TMPDIR": str(self.folder)}

    def _logs(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in self.folder.glob("*.log"))

    def _account(self) -> pwd.struct_passwd | None:
        return pwd.getpwnam(self.user) if self.refuses_root and os.geteuid() == 0 else None

    @classmethod
    def _find(cls, program: str) -> str:
        found = cls._search(program)
        if found is None:
            packages = " ".join(sorted(cls.missing()))
            raise MissingServer(f"{cls.name} needs {program}. Install it: apt-get install {packages}")
        return found

    @classmethod
    def _search(cls, program: str) -> str | None:
        places = [str(path) for pattern in cls.folders for path in sorted(_glob(pattern))]
        return shutil.which(program, path=os.pathsep.join([*reversed(places), os.environ.get("PATH", os.defpath)]))


def _glob(pattern: str) -> Iterator[Path]:
    return Path("/").glob(pattern.lstrip("/"))


ELSEWHERE = "Set TMPDIR to a folder with room that can be written to."


def scratch() -> Path:
    """Return where servers' folders are made: what TMPDIR says, even where that cannot be written to."""
    return Path(os.environ.get("TMPDIR") or tempfile.gettempdir())


def free_port() -> int:
    """Return a port of the loopback interface that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_below(pid: int) -> list[int]:
    """Return a process and all that it has begotten: SIGSTOP of a PostgreSQL's first one stops none of its others."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += parents.get(found[-1], [])
    return found
