"""Tell a death for lack of memory from any other SIGKILL, also without rights to anything.

The kernel kills with the very signal that everybody else may send. What tells the two apart, the
surest first: its log names the process; the cgroup of the executor counts such kills; and
/proc/vmstat counts those of the whole host, which anybody may read.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from holdfast.core.verdict import OutOfMemory
from holdfast.worker import proc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.worker.cgroup import Place
    from holdfast.worker.child import Child
    from holdfast.worker.protocol import Done

Scope = Literal["cgroup", "container", "host"]
LOOK = 1.0  # seconds between looks at the counters
_WINDOW = 1.5  # before a death: longer than between two looks
_WRITING = 0.01  # seconds that the kernel may need from the kill to the line in its log
_MOST_CHANGES = 100
_KERNEL_LOG = "/dev/kmsg"
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # where the kernel's own pids are ours; see PROC_PID_INIT_INO
_KILLED_IN_SHELL = 128 + signal.SIGKILL  # how a shell tells that its last command was
_RECORD = 8192  # bytes that one record of the kernel's log has at most
_CONSTRAINT = re.compile(
    rb"oom-kill:constraint=(\w+).*?(?:oom_memcg=([^,]*))?,task_memcg=.*pid=(\d+)"
)
_KILLED = re.compile(rb"(Memory cgroup out|Out) of memory.*: Killed process (\d+) ")


class Counter:
    """Remember when a counter of the kernel grew, as far as anybody looked."""

    def __init__(self, value: int) -> None:
        self._changes = deque([(float("-inf"), value)], maxlen=_MOST_CHANGES)

    def look(self, at: float, value: int) -> bool:
        """Note its value; tell whether it has grown."""
        grown = value != self._changes[-1][1]
        if grown:
            self._changes.append((at, value))
        return grown

    def growth_since(self, at: float, value: int) -> int:
        """Return by how much it has grown since a time, when it is at `value` now."""
        before = [old for seen, old in self._changes if seen <= at]
        return value - (before or [self._changes[0][1]])[-1]


class Kill(NamedTuple):
    """Hold what the kernel wrote about a process that it killed."""

    pid: int
    by_limit: bool  # of a cgroup; else the whole host had no more
    cgroup: str  # whose limit that was, "" when it is not said: of all but one of a group

    def is_in(self, folder: str) -> bool:
        """Tell whether it was the limit of the cgroup with this folder."""
        return self.by_limit and bool(self.cgroup) and folder.endswith(self.cgroup)


class KernelLog:
    """Read what the kernel says of its kills, where that may be read."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._missed = False
        self._kills: deque[Kill] = deque(maxlen=_MOST_CHANGES)
        if Path("/proc/self/ns/pid").stat().st_ino != _FIRST_PID_NAMESPACE:
            return  # it speaks of pids that mean nothing here
        with suppress(OSError):
            self._descriptor = os.open(_KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._descriptor, 0, os.SEEK_END)

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing in it was missed: who is not named there was not killed."""
        return self._descriptor is not None and not self._missed

    def find(self, pid: int) -> Kill | None:
        """Return the newest kill of a process."""
        self.read()
        return next((kill for kill in reversed(self._kills) if kill.pid == pid), None)

    def read(self) -> None:
        """Take what was written since the last time, so that old pids are not mistaken for new."""
        while self._descriptor is not None:
            try:
                record = os.read(self._descriptor, _RECORD)
            except BrokenPipeError:
                self._missed = True  # some were overwritten before they were read
                continue
            except OSError:
                return  # no more for now
            if not record:
                self._missed = True  # something else stands in its place
                return
            self._take(record)

    def _take(self, record: bytes) -> None:
        if found := _CONSTRAINT.search(record):
            by_limit = found[1] == b"CONSTRAINT_MEMCG"
            self._kills.append(Kill(int(found[3]), by_limit, (found[2] or b"").decode()))
        elif found := _KILLED.search(record):
            pid = int(found[2])
            if not any(kill.pid == pid for kill in self._kills):  # the longer line says more
                self._kills.append(Kill(pid, found[1] != b"Out", ""))

    def close(self) -> None:
        """Close the log."""
        if self._descriptor is not None:
            os.close(self._descriptor)


class OomWatch:
    """Watch the counters of this host and of the executors, and judge what died of SIGKILL."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._host = Counter(proc.oom_kills())
        self._log = KernelLog()
        self._due = 0.0

    def look(self, now: float, children: Iterable[Child]) -> None:
        """Look at the counters from time to time: what has grown long before a death is not it."""
        if now < self._due:
            return
        self._due = now + LOOK
        if self._host.look(now, proc.oom_kills()):
            self._log.read()
            for child in children:
                child.oom_kills.look(now, child.group.oom_kills())

    def of_executor(self, child: Child, limit: int | None, at: float) -> OutOfMemory | None:
        """Judge the death of an executor by SIGKILL."""
        return self._judge(child, child.pid, limit, at)

    def of_attempt(
        self, child: Child, done: Done, limit: int | None, at: float
    ) -> OutOfMemory | None:
        """Judge the end of an attempt whose executor lived: something below it may have died."""
        if done.oom_kills:
            return self._place_it(child, done.pid, limit, done.oom_kills)
        if done.signal == signal.SIGKILL or done.exit_code == _KILLED_IN_SHELL:
            return self._judge(child, done.pid, limit, at - done.lingered)
        return None

    def close(self) -> None:
        """Give everything back."""
        self._log.close()

    def _judge(self, child: Child, pid: int, limit: int | None, at: float) -> OutOfMemory | None:
        since = at - _WINDOW
        kills = child.oom_kills.growth_since(since, child.group.oom_kills())
        if kills or self._log.find(pid):
            return self._place_it(child, pid, limit, kills or 1)
        if child.group.is_used():
            return None  # it would have been counted there
        kills = self._host.growth_since(since, proc.oom_kills())
        if not kills:
            return None
        if self._log.is_whole:  # it was somebody else, unless the kernel is just about to write
            time.sleep(_WRITING)
            return self._place_it(child, pid, limit, 1) if self._log.find(pid) else None
        folder, size = self._place.full() or ("", None)
        scope: Scope = "container" if folder else "host"
        return OutOfMemory(scope, "count", kills, size, folder)

    def _place_it(self, child: Child, pid: int, limit: int | None, kills: int) -> OutOfMemory:
        """Say whose memory was used up, when it is certain that the kernel killed for it."""
        said = self._log.find(pid)
        known_by: Literal["kernel log", "cgroup"] = "kernel log" if said else "cgroup"
        if said is not None and not said.by_limit:
            return OutOfMemory("host", known_by, kills)
        own, named = child.group, said is not None and said.cgroup != ""
        if limit is not None and (said.is_in(own.memory) if said and named else own.is_full(limit)):
            return OutOfMemory("cgroup", known_by, kills, limit, own.memory)
        around = self._place.full()
        if said is not None and named:
            around = next((place for place in self._place.around() if said.is_in(place[0])), None)
        if around is None:
            return OutOfMemory("host", known_by, kills)
        return OutOfMemory("container", known_by, kills, around[1], around[0])
