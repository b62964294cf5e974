"""Read what Linux tells about processes and this machine, and ask it for two favours."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EXECUTOR = "holdfast.worker.executor"  # the module that an executor runs
MARKER = "HOLDFAST_WORKER_ID"  # environment variable of every process that a worker starts

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_FIRST_OF_ALL, _RATHER = 1000, 500  # see proc_pid_oom_score_adj(5)
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)  # the last: hidden, proc(5)
_PATIENCE = 0.5  # seconds for a tree of which some cannot be stopped, and so may grow for ever


def python(*arguments: str) -> list[str]:
    """Return a call of this Python that finds its own modules, whatever lies in this folder.

    Else a file of the user that is called `queue.py` would take the place of the library's. An
    app is found all the same: `load_app` adds the folder, behind what is imported by then.
    """
    return [sys.executable, *_safely(), *arguments]


@cache
def _safely() -> tuple[str, ...]:
    here = Path(__file__).parents[2] == Path.cwd()  # run from its source: only that finds it
    return () if here else ("-P",)


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
    fields = _stat(pid)
    return None if fields is None or fields[0] in b"ZX" else int(fields[19])


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped by a signal or is held by a debugger."""
    fields = _stat(pid)
    return fields is not None and fields[0] in b"Tt"


def _stat(pid: int) -> list[bytes] | None:
    """Return the fields of proc_pid_stat(5) from the third, the state, on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except _GONE:
        return None
    return text.rpartition(b")")[2].split()  # the name before it may hold any bytes


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


def usage(pid: int) -> tuple[int, float]:
    """Return what a process and all below it take: bytes held in RAM, seconds of CPU so far.

    The CPU of processes that ended is that of those who waited for them.
    """
    memory, ticks = 0, 0
    for member in (pid, *descendants(pid)):
        fields = _stat(member)
        if fields is not None:
            memory += int(fields[21]) * _PAGE
            ticks += sum(map(int, fields[11:15]))
    return memory, ticks / _TICKS


def proportional_bytes(pid: int) -> int:
    """Return the memory that a process and all below it hold, each shared page counted once.

    That takes the kernel long, so it is for cases of doubt: forked processes share a lot.
    """
    total = 0
    for member in (pid, *descendants(pid)):
        try:
            rows = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:  # gone, or of another user
            fields = _stat(member)
            total += int(fields[21]) * _PAGE if fields else 0
        else:
            total += sum(int(row.split()[1]) for row in rows if row.startswith("Pss:")) * 1024
    return total


def be_first_to_go() -> None:
    """Let the kernel rather kill this process, and what it starts, than its supervisor."""
    path = Path("/proc/self/oom_score_adj")
    with suppress(OSError):
        path.write_text(str(min(_FIRST_OF_ALL, int(path.read_text()) + _RATHER)))


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


def executors_of(worker_id: str) -> list[int]:
    """Return the living executors of a worker, with children that their tasks have forked."""
    return [pid for pid in _left_by(worker_id) if EXECUTOR.encode() in _command_line(pid)]


def _command_line(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def has_marks(pid: int, marks: Mapping[str, str]) -> bool:
    """Tell whether a process was started with these variables in its environment."""
    with suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return all(f"{name}={value}".encode() in environment for name, value in marks.items())
    return False


def kill_all(pids: list[int], number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to each process and return how many got it.

    Those of another user do not: what a task starts may change its user, and this process may not.
    """
    reached = 0
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            reached += 1
    return reached


def is_out_of_reach(pid: int) -> bool:
    """Tell whether a process is there that this one may not signal."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return False


def kill_tree(root: int, *, with_root: bool) -> int:
    """Kill everything below a process, and the process itself if asked; return how many.

    All are stopped first and looked up again until no new one appears, so that none can fork
    away between the look and the kill. Those out of reach stay, and may start others meanwhile.
    """
    found: set[int] = set()
    deadline = time.monotonic() + _PATIENCE
    if with_root:
        kill_all([root], signal.SIGSTOP)
    while new := [pid for pid in descendants(root) if pid not in found]:
        kill_all(new, signal.SIGSTOP)
        found.update(new)
        if time.monotonic() > deadline and any(map(is_out_of_reach, (root, *found))):
            break
    return kill_all([*found, *([root] if with_root else [])])


def kill_marked(worker_id: str, within: float = 5.0) -> int:
    """Kill every process that a dead worker left on this machine; return how many."""
    killed: set[int] = set()
    deadline = time.monotonic() + within
    while (pids := _left_by(worker_id)) and time.monotonic() < deadline:
        kill_all(pids)
        killed.update(pids)
        time.sleep(0.005)  # the kernel needs a moment to take them away
    return len(killed)


def _left_by(worker_id: str) -> list[int]:
    return [pid for pid in marked(worker_id) if pid != os.getpid() and start_time(pid)]
