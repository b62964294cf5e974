"""Read what Linux tells about processes and this machine, and ask it for two favours."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MARKER = "HOLDFAST_WORKER_ID"  # environment variable of every process that a worker starts

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GONE = (FileNotFoundError, ProcessLookupError)


def become_subreaper() -> None:
    """Receive the orphans of this process's descendants, so that none escapes by daemonizing."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: signal.Signals) -> None:
    """Receive a signal when the thread that started this process ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@cache
def boot_id() -> str:
    """Return the id that the kernel drew at this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@cache
def host_id() -> str:
    """Return what names the place where this process's pids mean something.

    The machine id, and the pid namespace: containers of one image may share the former.
    """
    machine = ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text().strip()
    return f"{machine or socket.gethostname()}/{Path('/proc/self/ns/pid').stat().st_ino}"


def host_name() -> str:
    """Return the name of this machine, for people."""
    return socket.gethostname()


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone.

    Together with the pid it names one process for good. A zombie counts as gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except _GONE:
        return None
    fields = text.rpartition(b")")[2].split()  # the name before it may hold any bytes
    return None if fields[0] in b"ZX" else int(fields[19])


def children(pid: int) -> list[int]:
    """Return the child processes of a process, of all its threads."""
    found: list[int] = []
    with suppress(*_GONE):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(*_GONE):
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """Return all processes below a process."""
    found, unseen = [], children(pid)
    while unseen:
        child = unseen.pop()
        found.append(child)
        unseen += children(child)
    return found


def resident_bytes(pid: int) -> int:
    """Return the memory that a process and all below it hold in RAM, in bytes."""
    total = 0
    for member in (pid, *descendants(pid)):
        with suppress(*_GONE):
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * _PAGE
    return total


def oom_kills() -> int:
    """Return how often the kernel has killed for lack of memory since boot."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return 0


def marked(worker_id: str) -> list[int]:
    """Return the processes of this machine that a worker started, by their environment."""
    pids = map(int, filter(str.isdigit, os.listdir("/proc")))
    return [pid for pid in pids if has_marks(pid, {MARKER: worker_id})]


def marks_of(run_id: str, attempt: int) -> dict[str, str]:
    """Return the environment by which the processes of an attempt are known, and know it."""
    return {"HOLDFAST_RUN_ID": run_id, "HOLDFAST_ATTEMPT": str(attempt)}


def has_marks(pid: int, marks: Mapping[str, str]) -> bool:
    """Tell whether a process was started with these variables in its environment."""
    with suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return all(f"{name}={value}".encode() in environment for name, value in marks.items())
    return False


def kill_all(pids: list[int], number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to each process and return how many were there."""
    reached = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            reached += 1
    return reached


def kill_tree(root: int, *, with_root: bool) -> int:
    """Kill everything below a process, and the process itself if asked; return how many.

    All are stopped first and looked up again until no new one appears, so that none can fork
    away between the look and the kill.
    """
    stopped: set[int] = set()
    if with_root:
        kill_all([root], signal.SIGSTOP)
    while new := [pid for pid in descendants(root) if pid not in stopped]:
        kill_all(new, signal.SIGSTOP)
        stopped.update(new)
    kill_all([*stopped, *([root] if with_root else [])])
    return len(stopped) + int(with_root)


def kill_marked(worker_id: str, within: float = 5.0) -> int:
    """Kill every process that a dead worker left on this machine; return how many."""
    killed: set[int] = set()
    deadline = time.monotonic() + within
    while (pids := [p for p in marked(worker_id) if p != os.getpid() and start_time(p)]) and (
        time.monotonic() < deadline
    ):
        kill_all(pids)
        killed.update(pids)
        time.sleep(0.005)  # the kernel needs a moment to take them away
    return len(killed)
