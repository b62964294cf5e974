"""Wake workers where the server tells nobody of anything: look often, in quiet times less so.

A look is one statement that reads the end of an index. It sees that something was enqueued, by
whomever. All else that rings, and a run with an id from a clock that is behind, is found by the
worker itself, in one poll interval at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from holdfast.store import queries
from holdfast.store.bell import RingsApart
from holdfast.store.ears import ThreadEar

if TYPE_CHECKING:
    from holdfast.store.database import Database, Tx
    from holdfast.store.joining import Guest

_SHORTEST, _LONGEST = 0.01, 0.25  # seconds between two looks
_SLOWER = 1.02  # after each look that found nothing: it takes twelve seconds to the longest pause


class PollBell(RingsApart):
    """Ring the listeners of this process; those elsewhere look for themselves."""

    def __init__(self, database: Database) -> None:
        self._dialect = database.dialect
        self._newest = queries.of(self._dialect, "newest_run").text
        self._ears: WeakSet[ThreadEar] = WeakSet()

    def ring(self) -> None:
        """Tell the listeners here that something was committed."""
        for ear in list(self._ears):
            ear.ring()

    def ring_within(self, _tx: Tx, guest: Guest) -> None:
        """Ring after the commit of a caller, where somebody tells of that."""
        guest.when_committed(self.ring)

    def listen(self) -> ThreadEar:
        """Start to look."""
        ear = ThreadEar(self._dialect, self._hear)
        self._ears.add(ear)
        return ear

    def _hear(self, ear: ThreadEar, connection: Any) -> None:
        look_often(ear, connection, self._newest)


def look_often(ear: ThreadEar, connection: Any, newest_run: str) -> None:
    """Ring whenever there is a newer run than at the last look."""
    ear.ring()  # what was missed meanwhile
    seen, pause = connection.execute(newest_run).fetchone(), _SHORTEST
    while not ear.is_closed(within=pause):
        newest = connection.execute(newest_run).fetchone()
        if newest == seen:
            pause = min(_LONGEST, pause * _SLOWER)
        else:
            seen, pause = newest, _SHORTEST
            ear.ring()
