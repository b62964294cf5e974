"""Give every thread a connection of its own, and let none of them cross a fork.

A connection that came through a fork loses data. SQLite remembers in memory which locks its
process holds; the child inherits the memory without the locks, so connections that it opens hold
none either, another process removes the journal under them, and what they commit is gone
(https://www.sqlite.org/howtocorrupt.html, section 2.6). A socket that two processes share gives
one of them the answer meant for the other. So all connections are closed before a fork, and
parent and child open new ones at their next use.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, finalize

from holdfast import forks

if TYPE_CHECKING:
    from collections.abc import Callable


class Line:
    """Hold the connection of one thread; locked while a transaction runs on it."""

    __slots__ = ("__weakref__", "_end", "connection", "in_use", "lock", "pid", "used_at")

    def __init__(self) -> None:
        self.connection: Any = None
        self.in_use = False
        self.lock = threading.RLock()
        self.pid = os.getpid()
        self.used_at = 0.0  # monotonic
        self._end: Callable[[], object] = _nothing

    def open(self, connect: Callable[[], Any]) -> None:
        """Open a connection, which is closed when the thread has ended."""
        self.connection = connect()
        # Not by __del__: of a circle of garbage, the connection might have its own called first.
        self._end = finalize(self, self.connection.close)
        self._end.atexit = False

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        end, self._end = self._end, _nothing
        self.connection = None
        end()


def _nothing() -> None:
    """Close nothing: there is no connection."""


class Connections:
    """Open a connection for each thread that asks, and close all of them before a fork."""

    def __init__(
        self,
        connect: Callable[[], Any],
        in_transaction: Callable[[Any], bool],
        most_idle: float,
    ) -> None:
        self._connect = connect
        self._in_transaction = in_transaction
        self._most_idle = most_idle  # seconds; what was idle for longer is not trusted
        self._local = threading.local()
        self._lines: WeakSet[Line] = WeakSet()
        self._gate = threading.RLock()
        self._halting = False
        self._halted: list[Line] = []
        self._inherited: list[Line] = []
        with forks.away:
            _everyone.add(self)

    def acquire(self) -> Line:
        """Return the line of this thread, open and locked; `release` it."""
        line: Line | None = getattr(self._local, "line", None)
        if line is None or line.pid != os.getpid():
            line = self._new_line(line)
        if self._halting:
            with self._gate:  # a thread that never pauses would not let the fork have its turn
                pass
        line.lock.acquire()
        try:
            now = time.monotonic()
            if now - line.used_at > self._most_idle:
                line.close()
            if line.connection is None:
                line.open(self._connect)
            line.used_at = now
        except BaseException:
            line.lock.release()
            raise
        line.in_use = True
        return line

    def release(self, line: Line) -> None:
        """Give a line back."""
        line.in_use = False
        line.lock.release()

    def undo(self, line: Line) -> None:
        """Give a line back on which something has failed: nothing of it is left open."""
        try:
            if self._in_transaction(line.connection):
                line.connection.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - whatever it is, this connection is not used again
            line.close()
        finally:
            self.release(line)

    def close(self) -> None:
        """Close the connection of this thread."""
        line: Line | None = getattr(self._local, "line", None)
        if line is not None and line.pid == os.getpid():
            line.close()

    def _new_line(self, old: Line | None) -> Line:
        if old is not None:
            self._inherited.append(old)  # a fork that Python did not see: closing would do harm
        with self._gate:
            line = self._local.line = Line()
            self._lines.add(line)
        return line

    def halt(self) -> None:
        """Wait for the transactions that run, close all connections, and let none be opened."""
        self._gate.acquire()
        self._halting = True
        self._halted = list(self._lines)
        for line in self._halted:
            line.lock.acquire()
            if not line.in_use:  # else this very thread forks in its own transaction
                line.close()

    def resume(self) -> None:
        """Let connections be opened again."""
        for line in self._halted:
            line.lock.release()
        self._halted = []
        self._halting = False
        self._gate.release()


_everyone: WeakSet[Connections] = WeakSet()
_halted: list[Connections] = []


def _halt_all() -> None:
    for connections in list(_everyone):
        connections.halt()
        _halted.append(connections)


def _resume_all() -> None:
    while _halted:
        _halted.pop().resume()


forks.around(_halt_all, _resume_all)
