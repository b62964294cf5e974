"""Wake workers by PostgreSQL's NOTIFY: a hint, never relied on.

A NOTIFY takes a lock of the whole database server at its commit, so it is a statement of its own
after what it tells of, waits for no disk, and one process sends few: who hears one looks again
when the next may have been held back. What is lost costs one poll interval. Behind a pooler nothing
is heard: there who listens looks, as on MySQL.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from holdfast.store import queries
from holdfast.store.ears import ThreadEar
from holdfast.store.poll import look_often

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.store.database import Database, Tx
    from holdfast.store.joining import Guest

_QUIET = 0.01  # seconds between two rings of a process
_LISTEN = "LISTEN holdfast"
_LOOK = 1.0  # seconds in which a closed ear ends


class NotifyBell:
    """Ring all listeners of one store, wherever they are."""

    def __init__(self, database: Database, hears: Callable[[Any], bool]) -> None:
        self._database = database
        self._hears = hears  # whether the bell reaches a connection
        self._rung = 0.0  # monotonic
        self._newest = queries.of(database.dialect, "newest_run").text

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

    def listen(self) -> ThreadEar:
        """Start to listen."""
        return ThreadEar(self._database.dialect, self._hear)

    def _hear(self, ear: ThreadEar, connection: Any) -> None:
        if not self._hears(connection):
            look_often(ear, connection, self._newest)
            return
        connection.execute(_LISTEN)
        ear.ring()  # what was missed meanwhile
        while not ear.is_closed():
            if list(connection.notifies(timeout=_LOOK, stop_after=1)):
                ear.ring()
                for _ in connection.notifies(timeout=_QUIET):
                    ear.ring()
                ear.ring()  # for what its sender did not ring again so soon
