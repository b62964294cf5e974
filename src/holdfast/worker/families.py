"""Know which child processes of a shared executor belong to which of its attempts.

A process inherits the environment of its parent. So the attempt is noted there at the moment a
coroutine starts a process, and whatever descends from it carries the note, wherever it goes. A
forked child has the environment of the executor, but also its memory: it knows whose it is.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from holdfast.core.ids import RunId
from holdfast.core.models import Lease
from holdfast.worker import proc
from holdfast.worker.command import alive, end_leftovers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_FORK = struct.Struct("<i36sI")  # pid, run, attempt: written in one piece, as it is short


class Families:
    """Know which processes attempts start, and end those that an attempt leaves behind.

    What Python starts as a program carries a mark in its environment; what it forks makes itself
    known through a pipe. Processes that C code forks, or that clear their environment, are known
    by neither. They end with the last attempt in the executor, or with that.
    """

    def __init__(self, current: Callable[[], Lease | None]) -> None:
        self._current = current  # whose context this is
        self.loop: asyncio.AbstractEventLoop | None = None  # in which attempts run
        self._forked: dict[int, Lease] = {}
        self._staying: set[int] = set()  # attempts left them, and they cannot be ended
        self._told, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        sys.addaudithook(self._hear)
        os.register_at_fork(after_in_child=self._tell_of_fork)

    def listen(self) -> None:
        """Take note of forks: often enough that the pipe does not fill."""
        with suppress(BlockingIOError):
            while data := os.read(self._told, _FORK.size * 1000):
                for pid, run_id, attempt in _FORK.iter_unpack(data):
                    self._forked[pid] = Lease(RunId(run_id.decode()), attempt)

    def end(self, lease: Lease, linger: float, *, alone: bool) -> int:
        """End what an attempt has left running and return how many processes that were.

        `alone` says that no other attempt runs, so that all below this process is left by one
        that has ended.
        """
        marks = proc.marks_of(lease.run_id, lease.attempt)
        me = os.getpid()
        strays = set(alive(me)) if alone else set()  # those that start meanwhile are another's
        if alone:
            self._staying &= strays
            strays -= self._staying
        seen: set[int] = set()

        def left() -> list[int]:
            below = alive(me)
            forked = self._family_of(lease)
            found = [pid for pid in below if pid in strays | forked or proc.has_marks(pid, marks)]
            seen.update(found)
            return found

        ended, stay = end_leftovers(linger, left)
        self._staying.update(stay)
        for pid in [pid for pid, whose in list(self._forked.items()) if whose == lease]:
            del self._forked[pid]
        for pid in seen:
            with suppress(ChildProcessError):  # it is not ours to bury, or buried already
                os.waitpid(pid, os.WNOHANG)
        return ended

    def _family_of(self, lease: Lease) -> set[int]:
        """Return the processes that an attempt has forked, with all below them."""
        self.listen()
        forked = [pid for pid, whose in list(self._forked.items()) if whose == lease]
        return {member for pid in forked for member in (pid, *proc.descendants(pid))}

    def _tell_of_fork(self) -> None:
        """Make a forked child known; this runs in that child, in the context of its parent."""
        if (lease := self._current()) is not None:
            with suppress(OSError):
                fork = _FORK.pack(os.getpid(), lease.run_id.encode(), lease.attempt)
                os.write(self._tell, fork)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and (lease := self._current()) is not None:
            own = os.environ if arguments[3] is None else arguments[3]
            with suppress(AttributeError, TypeError):
                own.update(proc.marks_of(lease.run_id, lease.attempt))
            if (
                own is os.environ and self.loop is not None
            ):  # only for this one: the next may be started unheard
                self.loop.call_soon_threadsafe(_unmark)


def _unmark() -> None:
    for name in proc.marks_of("", 0):
        os.environ.pop(name, None)
