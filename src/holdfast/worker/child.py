"""Start, feed, hear and bury one executor process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.worker import proc
from holdfast.worker.oom import Counter
from holdfast.worker.output import Output
from holdfast.worker.plain import remove, write_plain
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
    from collections.abc import Sequence

    from holdfast.core.models import Lease
    from holdfast.worker.held import Held

_DYING_SECONDS = 1.0  # that a process takes at most, unless it hangs in the kernel
_BUFFER = 1 << 20  # bytes of messages that may wait in a socket, or be read at once


@dataclass(frozen=True, slots=True)
class Exit:
    """Hold how an executor process ended."""

    code: int | None
    signal: int | None
    peak_rss: int  # bytes; 0 when several attempts took them together
    stack: str  # what faulthandler wrote, if anything
    killed_below: int  # processes of its attempts that were killed with it

    def __str__(self) -> str:
        if self.signal is not None:
            return f"signal {self.signal}"
        return f"exit code {self.code}"


class Child:
    """Be the supervisor's end of one executor.

    A start that fails raises OSError and leaves nothing: no descriptor, no process.
    """

    def __init__(self, setup: Setup) -> None:
        self.shared = setup.shared
        self.spool = Path(setup.spool)
        self.group = setup.group
        self.oom_kills = Counter(0)  # in its group
        self.ready = False
        self.tasks: dict[str, bool] = {}  # of its app, once it is ready
        self.retired = False  # it is being ended on purpose
        self.hung_up_at: float | None = None  # it closed the line, or speaks no sense any more
        self._killed_below = 0
        self.outstanding: deque[Held] = deque()  # given to it; of an exclusive one, the first runs
        self.paused = False  # what it and all below it write has to wait
        self._frames = Frames()
        self._heard = memoryview(bytearray(_BUFFER))
        with ExitStack() as undo:
            self._open(setup, undo)
            undo.pop_all()

    def _open(self, setup: Setup, undo: ExitStack) -> None:
        """Open what is between it and this process, and start it; note how that is undone."""
        self.output = Output.make()
        undo.callback(self.output.close)
        self._work, self._take_back, self.line, there = socket_pairs()
        for mine in (self._work, self._take_back, self.line):
            undo.enter_context(mine)
        with there:
            self._work.settimeout(0)
            self._work.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            crash = os.memfd_create("crash")  # it must not need a disk
            self._crash = undo.enter_context(os.fdopen(crash, "w+b"))
            theirs = (there.fileno(), self._take_back.fileno(), crash)
            self._process = _spawn(setup, (*theirs, *self.output.descriptors))
        undo.callback(_end, self._process)
        self.output.give_away()
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)
        undo.callback(os.close, self.pidfd)
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
        path = None
        memory = held.options.memory or 0
        start = Start(claim.run_id, claim.attempt, claim.task, claim.arguments, "", memory)
        message = encode(start)
        try:
            if len(message) > LARGEST_START:
                path = self.spool / f"{claim.run_id}.{claim.attempt}.arguments"
                remove(path)
                write_plain(path, claim.arguments.encode())
                message = encode(msgspec.structs.replace(start, arguments="", file=str(path)))
            self._work.send(message)
        except OSError:
            if path is not None:
                with suppress(OSError):
                    path.unlink()
            return False  # full socket or disk, or dying: its pidfd will tell
        self.outstanding.append(held)
        return True

    def stop(self, lease: Lease, why: str) -> None:
        """Ask it to end an attempt."""
        with suppress(OSError):  # dying, or not listening: the grace period handles both
            self.line.send(frame(Stop(lease.run_id, lease.attempt, why)), socket.MSG_DONTWAIT)

    def pause(self, why: str) -> None:
        """Let its attempts wait when they write, and everything below it."""
        self.paused = True
        self.output.hold_back(yes=True)
        for held in self.running:
            held.pause(why, time.monotonic())

    def go_on(self) -> None:
        """Let it go on after a pause."""
        self.paused = False
        self.output.hold_back(yes=False)
        for held in self.running:
            held.go_on(time.monotonic())

    def reports(self) -> list[Report]:
        """Return what it has said since the last call."""
        said: list[Report] = []
        with suppress(BlockingIOError):
            with suppress(ConnectionResetError, msgspec.MsgspecError):
                while size := self.line.recv_into(self._heard):
                    said += map(decode_report, self._frames.feed(self._heard[:size]))
            self.hung_up_at = time.monotonic()
        return said

    def settle(self, done: Done) -> Held | None:
        """Take the attempt that a report is about off the list."""
        for place, held in enumerate(self.outstanding):
            if held.lease == (done.run_id, done.attempt):
                del self.outstanding[place]  # the first, nearly always
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
                    with suppress(OSError):
                        Path(start.file).unlink()
        back = [held for held in self.outstanding if held.lease in taken]
        self.outstanding = deque(held for held in self.outstanding if held.lease not in taken)
        return back

    def dump_stack(self) -> None:
        """Ask the process where it stands, without the help of its Python."""
        with suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGUSR1)

    def kill(self) -> None:
        """Kill the process with everything below it."""
        below = proc.kill_tree(self.pid, with_root=True) - 1
        self._killed_below += max(0, below)
        self.group.kill()

    def release(self) -> None:
        """Let the process end by itself: no more work will come."""
        self.retired = True
        self.line.shutdown(socket.SHUT_WR)

    def bury(self) -> Exit:
        """Collect the exit of the ended process and close everything but its output."""
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
            peak_rss=0 if self.shared and len(self.outstanding) > 1 else usage.ru_maxrss * 1024,
            stack=stack,
            killed_below=self._killed_below,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that has just been started, and bury it if it dies as soon as all do."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_DYING_SECONDS)


def _spawn(setup: Setup, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    # -u, and the same for what it starts: what was printed must not wait in a buffer, to be lost
    # with the process or to turn up in the log of a later attempt. It holds for C's stdout too.
    program = proc.python("-u", "-m", proc.EXECUTOR)
    return subprocess.Popen(
        setup.group.command([*program, *map(str, (os.getpid(), *descriptors))]),
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
