"""Move what executors and commands write into the spool, as long as there is room.

A thread of the supervisor. Its loop waits for the store, and a flood of output makes each commit
wait; no writer has to wait for that.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from threading import Thread, get_native_id
from typing import TYPE_CHECKING

from holdfast.core.events import DutyFailed, emit
from holdfast.worker.disk import LOOK_FOR_ROOM, lacks_room
from holdfast.worker.gauge import Level
from holdfast.worker.output import CAPACITY, Busy

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.worker.child import Child
    from holdfast.worker.guard import Guard

_ONCE = select.EPOLLIN | select.EPOLLONESHOT
_REST = 0.001  # seconds after a small move, so that a line for itself is not a wake-up for itself
_MUCH = CAPACITY // 2
_STEP = 4 << 20  # bytes after which the guard looks again
_BUSY, _BROKEN = 0.002, 1.0  # seconds until the next try
_NICE = -10  # who writes waits for this thread


class Pump:
    """Serve the pipes of all executors of a worker, and let the guard look in between."""

    def __init__(self, spool: Path, guard: Guard) -> None:
        self._spool = spool
        self._guard = guard
        self._poll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll.register(self._bell, select.EPOLLIN)
        self._pipes: dict[int, tuple[Child, int]] = {}
        self._resting: dict[int, float] = {}  # pipes -> when to look at them again, monotonic
        self._moved = 0  # bytes since the guard looked
        self._look_at = 0.0  # monotonic
        self._ended = False
        self._thread = Thread(target=self._run, name="log pump", daemon=True)

    def start(self) -> None:
        """Begin to move."""
        self._thread.start()

    def close(self) -> None:
        """Move no more."""
        self._ended = True
        os.eventfd_write(self._bell, 1)
        if self._thread.is_alive():
            self._thread.join()
        self._poll.close()
        os.close(self._bell)

    def add(self, child: Child) -> None:
        """Serve the pipes of an executor."""
        for stream, pipe in child.output.reads.items():
            self._pipes[pipe] = child, stream
            self._poll.register(pipe, _ONCE)

    def forget(self, child: Child) -> None:
        """Serve the pipes of an executor no longer: before they are closed."""
        for pipe in child.output.reads.values():
            del self._pipes[pipe]
            self._poll.unregister(pipe)

    def _run(self) -> None:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICE)
        while not self._ended:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - as a duty of the loop, which it is not
                emit(DutyFailed("log pump", f"{type(error).__name__}: {error}"))
                time.sleep(_BROKEN)

    def _turn(self) -> None:
        wake_at = min((self._look_at, *self._resting.values()))
        ready = self._poll.poll(max(0.0, wake_at - time.monotonic()))
        moved = sum(self._move(pipe) for pipe, _ in ready if pipe != self._bell)
        self._moved += moved
        enough = _STEP if self._guard.gauge.level is Level.FINE else 1
        if self._moved >= enough or time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + self._guard.look()
            self._moved = 0
        if 0 < moved < _MUCH:
            time.sleep(_REST)
        self._wake_up(time.monotonic())

    def _move(self, pipe: int) -> int:
        """Move what a pipe holds, and let it rest until it may be looked at again."""
        child, stream = self._pipes.get(pipe, (None, 0))
        if child is None:
            return 0
        self._resting[pipe] = 0.0
        if self._guard.gauge.is_critical:
            self._guard.pause(child)
        if child.paused:
            return 0
        moved = 0
        try:
            with child.output.moving(within=0.0):
                moved = child.output.pour(self._spool, stream)
        except Busy:
            self._resting[pipe] = time.monotonic() + _BUSY
        except OSError as error:
            self._resting[pipe] = time.monotonic() + LOOK_FOR_ROOM
            if not lacks_room(error):
                self._resting[pipe] = time.monotonic() + _BROKEN
                emit(DutyFailed("log pump", str(error)))
        return moved

    def _wake_up(self, now: float) -> None:
        for pipe, until in list(self._resting.items()):
            child, _ = self._pipes.get(pipe, (None, 0))
            if child is None:
                del self._resting[pipe]
            elif child.paused:
                self._resting[pipe] = self._look_at
            elif until <= now:
                del self._resting[pipe]
                with suppress(OSError):  # forgotten just now
                    self._poll.modify(pipe, _ONCE)
