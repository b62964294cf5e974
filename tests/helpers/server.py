"""What the private servers of tests have in common: a folder, a port, and a process to kill."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from helpers.waiting import wait_until
from holdfast.worker import proc

PATIENCE = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PrivateServer(ABC):
    """One server that tests may stop, kill and start again; `url` names a database on it.

    Its folder is its own, away from those of pytest, which are closed to the servers' users.
    """

    user = ""  # who it runs as when we are root, whom such servers refuse
    settings: ClassVar = {}
    gentle = signal.SIGTERM  # ends all connections, then the server
    at_our_end = "KILL"  # what it gets when the thread that started it has ended

    def __init__(self, **settings):
        self.port = free_port()
        self.settings = {**type(self).settings, **settings}
        self._identity = pwd.getpwnam(self.user) if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix=f"holdfast-{self.user}-"))
        self._tidy = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self._process = None
        if self._identity:
            shutil.chown(self.folder, self._identity.pw_uid, self._identity.pw_gid)
        made = self._run(self.making())
        assert made.returncode == 0, made.stdout + made.stderr

    @property
    def data(self):
        return self.folder / "data"

    @property
    def log(self):
        return self.folder / "log"

    @abstractmethod
    def making(self):
        """The command that makes its files."""

    @abstractmethod
    def serving(self):
        """The command that runs it."""

    @abstractmethod
    def answers(self):
        """Tell whether it takes connections."""

    def _run(self, command):
        return subprocess.run(command, check=False, capture_output=True, text=True, **self._as())

    def _as(self):
        if self._identity is None:
            return {}
        return {"user": self._identity.pw_uid, "group": self._identity.pw_gid, "extra_groups": []}

    def start(self):
        """Start it and wait until it answers; it ends with the thread that started it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", self.at_our_end, "--", *self.serving()],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as(),
            )
        wait_until(self._ready, within=PATIENCE)
        return self

    def _ready(self):
        assert self._process.poll() is None, self.log.read_text()
        return self.answers()

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def send(self, number):
        """Send a signal to all its processes: those of PostgreSQL are in sessions of their own."""
        for pid in (self._process.pid, *proc.descendants(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, number=None):
        """Stop it: without a signal all connections are ended, SIGKILL leaves all as it is."""
        if self._process is not None:
            number = number or self.gentle
            if number == signal.SIGKILL:
                os.kill(self._process.pid, signal.SIGSTOP)  # it starts no more
                self.send(number)
            else:
                os.kill(self._process.pid, number)
            self._process.wait(PATIENCE)
            self._process = None
