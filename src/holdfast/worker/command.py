"""Carry out a command: its standard output and error are the pipes of its executor."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from holdfast.worker import proc
from holdfast.worker.causes import why_not_started

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.core.models import Lease
    from holdfast.worker.output import Output

LINGER = 2.0  # seconds that background processes get once the command has ended
_KILL_SECONDS = 5.0  # after which a process that was killed counts as one that stays
_TRY_AGAIN = 0.002  # seconds in which the kernel takes away most of what was killed


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """Hold how a command ended."""

    exit_code: int | None = None
    signal: int | None = None
    start_failed: str = ""
    cpu: float = 0.0
    peak_rss: int | None = None
    stopped_processes: int = 0
    pid: int = 0
    lingered: float = 0.0  # seconds that other processes outlived it


def run_command(argv: Sequence[str], cwd: str | None, lease: Lease, output: Output) -> CommandEnd:
    """Start a command, wait for it and for the processes it leaves, and say how it ended."""
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",  # or the last lines die in the buffer of a killed Python
        **proc.marks_of(lease.run_id, lease.attempt),
    }
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output.write_end(1),
            stderr=output.write_end(2),
            start_new_session=True,
        )
    except OSError as error:
        return CommandEnd(start_failed=why_not_started(error, argv, cwd, environment))
    return _wait(process)


def _wait(process: subprocess.Popen[bytes]) -> CommandEnd:
    _, status, usage = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.monotonic()
    stopped = _end_and_reap()
    return CommandEnd(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        cpu=usage.ru_utime + usage.ru_stime,
        peak_rss=_peak(usage.ru_maxrss),
        stopped_processes=stopped,
        pid=process.pid,
        lingered=time.monotonic() - ended,
    )


def _peak(kibibytes: int) -> int | None:
    """Return the peak of a command in bytes; None when it stayed below this very process.

    A command starts as a copy of its parent, whose peak Linux counts as its own.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes * 1024 if kibibytes > own else None


def _end_and_reap() -> int:
    ended, _ = end_leftovers(LINGER)
    reap()
    return ended


class Leftovers(NamedTuple):
    """Hold what became of the processes that an attempt has left."""

    ended: int  # so many had to be
    stay: list[int]  # of another user, or hung in the kernel


def end_leftovers(linger: float, left: Callable[[], list[int]] | None = None) -> Leftovers:
    """Let what is left of an attempt end by itself, then stop it.

    An attempt is over only when its last process is, or the last that can be ended. `left` finds
    them; without it they are all processes below this one.
    """
    left = left or partial(alive, os.getpid())
    deadline = time.monotonic() + linger
    while left() and time.monotonic() < deadline:
        time.sleep(0.01)
    stopped = left()
    if stopped:
        proc.kill_all(stopped, signal.SIGTERM)
        deadline = time.monotonic() + linger
        while left() and time.monotonic() < deadline:
            time.sleep(0.01)
    stay = _kill(left)
    return Leftovers(len(set(stopped).difference(stay)), stay)


def _kill(left: Callable[[], list[int]]) -> list[int]:
    """Kill until nothing is left, or only what does not end by that; return the latter."""
    deadline = time.monotonic() + _KILL_SECONDS
    while pids := left():
        for pid in pids:
            proc.kill_tree(pid, with_root=True)
        if time.monotonic() > deadline or all(map(proc.is_out_of_reach, pids)):
            return pids
        time.sleep(_TRY_AGAIN)
    return []


def alive(pid: int) -> list[int]:
    """Return the descendants of a process that are no zombies.

    The tracker that multiprocessing starts once in a process and keeps for good is not counted.
    """
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    spared = tracker._resource_tracker._pid if tracker else None  # noqa: SLF001
    return [p for p in proc.descendants(pid) if p != spared and proc.start_time(p) is not None]


def has_children() -> bool:
    """Tell in one system call whether anything is left below this process, zombies included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reap() -> None:
    """Bury the orphans that ended: this process is their subreaper."""
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
            pass
    except ChildProcessError:
        return
