"""What all servers have in common: a process that dies with the bench, and stores on it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from bench.process import BenchError, Program, tree_cpu_seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

START_SECONDS = 60.0
NOBODYS_OWN = 0o011  # others may pass a folder on their way, and see nothing in it


class Server(ABC):
    """One server process; `stores` on it are made and dropped by name."""

    name = ""
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._program: Program | None = None

    @property
    @abstractmethod
    def version(self) -> str:
        """Return the version of the server."""

    @abstractmethod
    def make(self, store: str) -> None:
        """Make an empty store."""

    def settle(self, store: str) -> None:  # noqa: B027 - most have nothing to do
        """Do what follows when a store was filled, and would disturb the first measure else."""

    @abstractmethod
    def drop(self, store: str) -> None:
        """Forget a store and all that is in it."""

    @abstractmethod
    def environment(self, store: str) -> dict[str, str]:
        """Return what the processes of a contestant must know."""

    def cpu_seconds(self) -> float:
        """Return the processor time of the server so far, with that of its ended children."""
        assert self._program is not None
        return tree_cpu_seconds(self._program.pid)

    def stop(self) -> None:
        """Stop it, and all that it has started."""
        if self._program is not None:
            self._program.end()
            self._program = None

    def _run(
        self, argv: list[str], *, environment: Mapping[str, str] = os.environ, user: str = ""
    ) -> None:
        self._program = Program(
            argv,
            environment=environment,
            words=self.folder / "words",
            stop_signal=self.stop_signal,
            **as_user(user),
        )
        wait_until(self._checked, within=START_SECONDS, what=f"{self.name} answers", pause=0.05)

    def _checked(self) -> bool:
        assert self._program is not None
        self._program.check()
        return self._answers()

    @abstractmethod
    def _answers(self) -> bool:
        """Tell whether it takes connections."""


class CopyingServer(Server):
    """A server that can copy a full store; on others each is filled anew."""

    @abstractmethod
    def copy(self, full: str, store: str) -> None:
        """Make a store that holds what another does."""


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_user(user: str) -> dict[str, object]:
    """Return what starts a process as somebody else, if we are root and somebody is named."""
    if not user or os.geteuid() != 0:
        return {}
    known = pwd.getpwnam(user)
    return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}


def give(folder: Path, user: str) -> None:
    """Give a folder to the user of a server that refuses to run as root."""
    if not (owner := as_user(user)):
        return
    shutil.chown(folder, owner["user"], owner["group"])  # type: ignore[call-overload]
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | NOBODYS_OWN)


def program(name: str, package: str, *folders: str) -> str:
    """Return the path of a server's program; raises BenchError where it is missing."""
    found = shutil.which(name)
    for folder in folders:
        places = sorted(Path("/").glob(f"{folder.lstrip('/')}/{name}"))
        found = str(places[-1]) if places else found
    if found is None:
        problem = f"{name} is missing: on Debian, apt-get install {package}"
        raise BenchError(problem)
    return found
