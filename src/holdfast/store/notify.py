"""Wake workers by PostgreSQL's NOTIFY: a hint, never relied on.

A NOTIFY takes a lock of the whole database server until its commit is over. So one process sends
few: who hears one looks again when the next may have been held back. It goes along with an enqueue,
which saves a round trip; where those have to wait, since many do so or the disk is slow, it is a
statement of its own after what it tells of, and waits for no disk. What is lost costs one poll
interval. Behind a pooler nothing is heard: there who listens looks, as on MySQL.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.store import queries
from holdfast.store.ears import ThreadEar
from holdfast.store.poll import look_often

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.store.database import Database, Tx
    from holdfast.store.joining import Guest

_QUIET = 0.01  # seconds between two rings of a process
_LONG = 0.005  # seconds that an enqueue takes which had to wait for the lock of others
_APART = 10.0  # seconds in which it is not tried again then
_LISTEN = "LISTEN holdfast"


class NotifyBell:
    """Ring all listeners of one store, wherever they are."""

    def __init__(self, database: Database, hears: Callable[[Any], bool]) -> None:
        self._database = database
        self._hears = hears  # whether the bell reaches a connection
        self._rung = 0.0  # monotonic
        self._began = 0.0  # monotonic; the enqueue that rings itself
        self._apart_until = 0.0  # monotonic

    def goes_along(self) -> bool:
        """Tell whether the next commit of this process may ring itself; then say `went_along`."""
        now = self._began = time.monotonic()
        return now - self._rung >= _QUIET and now >= self._apart_until

    def went_along(self) -> None:
        """Note that a commit has rung, and whether that took long."""
        now = self._rung = time.monotonic()
        if now - self._began > _LONG:
            self._apart_until = now + _APART

    def ring(self) -> None:
        """Tell the listeners that something was committed; never raises."""
        now = time.monotonic()
        if now - self._rung < _QUIET:
            return
        self._rung = now
        try:
            self._database.at_once("ring_alone")
        except Exception as error:
            if not self._database.dialect.is_error(error):
                raise

    def ring_within(self, tx: Tx, _guest: Guest) -> None:
        """Let the commit of a caller tell the listeners."""
        tx.execute("ring")

    def listen(self) -> NotifyEar:
        """Start to listen in this thread; raises StoreUnavailable."""
        return NotifyEar(self._database, self._hears)


class NotifyEar:
    """Hear the bell on the connection of one thread, which looks for runs with it next.

    So the server's process is awake already when it is asked, and nobody else has to be woken. When
    that connection is lost, or opened anew, it rings: what came meanwhile is to be found.
    """

    again_after: float | None = 1.2 * _QUIET

    def __init__(self, database: Database, hears: Callable[[Any], bool]) -> None:
        self._database = database
        self._hears = hears
        self._flag = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ready = select.epoll()  # when one of these is: the flag, the connection
        self._ready.register(self._flag, select.EPOLLIN)
        self._connection: Any = None
        self._line = -1  # its descriptor
        self._looking: ThreadEar | None = None
        database.heed(self._attend)
        database.close()
        database.read(lambda _: None)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._ready.fileno()

    def clear(self) -> bool:
        """Forget the rings so far and tell whether there were any."""
        if any(number == self._line for number, _ in self._ready.poll(0)):
            self._receive()
        rang = self._looking is not None and self._looking.clear()
        with suppress(BlockingIOError):
            rang = os.eventfd_read(self._flag) > 0
        return rang

    def close(self) -> None:
        """Stop listening."""
        self._database.heed(None)
        if self._looking is not None:
            self._looking.close()
        self._ready.close()
        os.close(self._flag)

    def _attend(self, connection: Any) -> None:
        """Listen on a new connection."""
        if not self._hears(connection):
            self._look()
            return
        connection.execute(_LISTEN)
        connection.add_notify_handler(lambda _: self._ring())  # of what comes within a statement
        self._connection = connection
        self._line = connection.fileno()
        self._ready.register(self._line, select.EPOLLIN)
        self._ring()

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # it rings already
            os.eventfd_write(self._flag, 1)

    def _receive(self) -> None:
        """Take what the server says by itself: that somebody rang, or that the connection ends."""
        try:
            self._connection.pgconn.consume_input()
            while self._connection.pgconn.notifies():
                self._ring()
        except Exception as error:
            if not self._database.dialect.is_error(error):
                raise
            self._database.close()
            self._ring()

    def _look(self) -> None:
        if self._looking is None:
            dialect = self._database.dialect
            newest_run = queries.of(dialect, "newest_run").text
            self._looking = ThreadEar(dialect, partial(look_often, newest_run=newest_run))
            self._ready.register(self._looking, select.EPOLLIN)
