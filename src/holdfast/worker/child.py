"""Start, feed, hear and bury one executor process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.worker import proc
from holdfast.worker.protocol import (
    LARGEST_START,
    Done,
    Frames,
    Report,
    Setup,
    Start,
    Stop,
    decode_report,
    decode_start,
    encode,
    frame,
    socket_pairs,
)

if TYPE_CHECKING:
    from holdfast.core.models import Lease
    from holdfast.worker.held import Held

_BUFFER = 1 << 20  # bytes of Start messages that may wait in a socket


@dataclass(frozen=True, slots=True)
class Exit:
    """Hold how an executor process ended."""

    code: int | None
    signal: int | None
    peak_rss: int  # bytes
    stack: str  # what faulthandler wrote, if anything

    def __str__(self) -> str:
        if self.signal is not None:
            return f"signal {self.signal}"
        return f"exit code {self.code}"


class Child:
    """Be the supervisor's end of one executor."""

    def __init__(self, setup: Setup) -> None:
        self.shared = setup.shared
        self.number = setup.number
        self.spool = Path(setup.spool)
        self.ready = False
        self.retired = False  # it is being ended on purpose
        self.hung_up_at: float | None = None  # it closed the line, or speaks no sense any more
        self.outstanding: deque[Held] = deque()  # given to it; of an exclusive one, the first runs
        self._frames = Frames()
        self._work, self._take_back, self.line, there = socket_pairs()
        self._work.settimeout(0)
        self._work.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._crash = tempfile.TemporaryFile(dir=self.spool)  # noqa: SIM115 - closed in bury
        with there:
            self._process = _spawn(setup, there, self._take_back, self._crash.fileno())
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)
        self.line.settimeout(None)
        self.line.sendall(frame(setup))
        self.line.settimeout(0)

    @property
    def running(self) -> list[Held]:
        """Return the attempts that it carries out now, as far as one can tell."""
        return list(self.outstanding) if self.shared else list(self.outstanding)[:1]

    def start(self, held: Held) -> bool:
        """Give it an attempt; False when there is no room for more."""
        claim = held.claim
        message = encode(Start(claim.run_id, claim.attempt, claim.task, claim.arguments))
        try:
            if len(message) > LARGEST_START:
                path = self.spool / f"{claim.run_id}.{claim.attempt}.arguments"
                path.write_text(claim.arguments)
                start = Start(claim.run_id, claim.attempt, claim.task, "", str(path))
                message = encode(start)
            self._work.send(message)
        except OSError:
            return False  # full socket or disk, or dying: its pidfd will tell
        self.outstanding.append(held)
        return True

    def stop(self, lease: Lease, why: str) -> None:
        """Ask it to end an attempt."""
        with suppress(OSError):  # dying, or not listening: the grace period handles both
            self.line.send(frame(Stop(lease.run_id, lease.attempt, why)), socket.MSG_DONTWAIT)

    def reports(self) -> list[Report]:
        """Return what it has said since the last call."""
        said: list[Report] = []
        with suppress(BlockingIOError):
            with suppress(ConnectionResetError, msgspec.MsgspecError):
                while data := self.line.recv(1 << 18):
                    said += map(decode_report, self._frames.feed(data))
            self.hung_up_at = time.monotonic()
        return said

    def settle(self, done: Done) -> Held | None:
        """Take the attempt that a report is about off the list."""
        for held in self.outstanding:
            if held.lease == (done.run_id, done.attempt):
                self.outstanding.remove(held)
                return held
        return None

    def take_back(self) -> list[Held]:
        """Take back what it was given and has not begun."""
        taken = set()
        with suppress(BlockingIOError):
            # No timeout of 0 instead: the executor shares this end, and it does want to wait.
            while data := self._take_back.recv(1 << 17, socket.MSG_DONTWAIT):
                start = decode_start(data)
                taken.add((start.run_id, start.attempt))
                if start.file:
                    Path(start.file).unlink(missing_ok=True)
        back = [held for held in self.outstanding if held.lease in taken]
        self.outstanding = deque(held for held in self.outstanding if held.lease not in taken)
        return back

    def dump_stack(self) -> None:
        """Ask the process where it stands, without the help of its Python."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGUSR1)

    def kill(self) -> int:
        """Kill the process with everything below it and return how many that were."""
        return proc.kill_tree(self.pid, with_root=True)

    def release(self) -> None:
        """Let the process end by itself: no more work will come."""
        self.retired = True
        self.line.shutdown(socket.SHUT_WR)

    def bury(self) -> Exit:
        """Collect the exit of the ended process and close everything."""
        _, status, usage = os.wait4(self.pid, 0)
        code = self._process.returncode = os.waitstatus_to_exitcode(status)
        self._crash.seek(0)
        stack = self._crash.read(20_000).decode(errors="replace")
        for thing in (self._work, self._take_back, self.line, self._crash):
            thing.close()
        os.close(self.pidfd)
        return Exit(
            code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            peak_rss=usage.ru_maxrss * 1024,
            stack=stack,
        )


def _spawn(
    setup: Setup, line: socket.socket, work: socket.socket, crash: int
) -> subprocess.Popen[bytes]:
    descriptors = (line.fileno(), work.fileno(), crash)
    # -u, and the same for what it starts: what was printed must not wait in a buffer, to be lost
    # with the process or to turn up in the log of a later attempt. It holds for C's stdout too.
    program = [sys.executable, "-u", "-m", "holdfast.worker.executor"]
    return subprocess.Popen(
        [*program, *map(str, descriptors), str(os.getpid())],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={
            **os.environ,
            proc.MARKER: setup.worker_id,
            "HOLDFAST_STORE": setup.store,
            "PYTHONUNBUFFERED": "1",
        },
    )
