"""Carry out a command: its standard output and error are the spool files themselves."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.worker import proc
from holdfast.worker.spool import ERR, OUT, AttemptSpool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.core.models import Lease

LINGER = 2.0  # seconds that background processes get once the command has ended


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """Hold how a command ended."""

    exit_code: int | None = None
    signal: int | None = None
    start_failed: str = ""
    cpu: float = 0.0
    peak_rss: int | None = None
    stopped_processes: int = 0


def run_command(
    argv: Sequence[str], cwd: str | None, lease: Lease, spool: AttemptSpool
) -> CommandEnd:
    """Start a command, wait for it and for the processes it leaves, and say how it ended.

    Nothing stands between the command and the files, so no death loses what it wrote.
    """
    out, err = spool.open(OUT), spool.open(ERR)
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
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    except OSError as error:
        return CommandEnd(start_failed=_why_not(error, argv, cwd))
    finally:
        os.close(out)
        os.close(err)
    return _wait(process)


def _why_not(error: OSError, argv: Sequence[str], cwd: str | None) -> str:
    if cwd is not None and not Path(cwd).is_dir():
        return f"the working directory {cwd} does not exist on this host."
    return f"{argv[0]}: {error.strerror}."


def _wait(process: subprocess.Popen[bytes]) -> CommandEnd:
    _, status, usage = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    return CommandEnd(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        cpu=usage.ru_utime + usage.ru_stime,
        peak_rss=_peak(usage.ru_maxrss),
        stopped_processes=_end_and_reap(),
    )


def _peak(kibibytes: int) -> int | None:
    """Return the peak of a command in bytes; None when it stayed below this very process.

    A command starts as a copy of its parent, whose peak Linux counts as its own.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes * 1024 if kibibytes > own else None


def _end_and_reap() -> int:
    count = end_leftovers(LINGER)
    reap()
    return count


def end_leftovers(linger: float, left: Callable[[], list[int]] | None = None) -> int:
    """Let what is left of an attempt end by itself, then stop it; return how many were.

    An attempt is over only when its last process is. `left` finds them; without it they are all
    processes below this one.
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
    while pids := left():
        for pid in pids:
            proc.kill_tree(pid, with_root=True)
    return len(stopped)


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
