"""Know which child processes of a shared executor belong to which of its attempts.

A process inherits the environment of its parent. So the attempt is noted there at the moment a
coroutine starts a process, and whatever descends from it carries the note, wherever it goes.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from holdfast.worker import proc
from holdfast.worker.command import alive, end_leftovers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from holdfast.core.models import Lease


class Families:
    """Mark the processes that attempts start, and end those that an attempt leaves behind.

    Processes started with ``os.fork`` or with an environment that cannot be written to carry no
    mark; they end with their executor.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, current: Callable[[], Lease | None]
    ) -> None:
        self._loop = loop
        self._current = current  # whose context this is
        sys.addaudithook(self._hear)

    def end(self, lease: Lease, linger: float) -> int:
        """End what an attempt has left running and return how many processes that were."""
        marks = proc.marks_of(lease.run_id, lease.attempt)
        me = os.getpid()
        seen: set[int] = set()

        def left() -> list[int]:
            found = [pid for pid in alive(me) if proc.has_marks(pid, marks)]
            seen.update(found)
            return found

        count = end_leftovers(linger, left)
        for pid in seen:
            with suppress(ChildProcessError):  # it is not ours to bury, or buried already
                os.waitpid(pid, os.WNOHANG)
        return count

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and (lease := self._current()) is not None:
            own = os.environ if arguments[3] is None else arguments[3]
            with suppress(AttributeError, TypeError):
                own.update(proc.marks_of(lease.run_id, lease.attempt))
            if own is os.environ:  # only for this one: the next may be started unheard
                self._loop.call_soon_threadsafe(_unmark)


def _unmark() -> None:
    for name in proc.marks_of("", 0):
        os.environ.pop(name, None)
