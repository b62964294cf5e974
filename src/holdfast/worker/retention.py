"""Duty: delete the logs of ended runs that are too old, or too many, the oldest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.clock import SECOND
from holdfast.core.events import LogsRetired, emit
from holdfast.core.ids import RunId
from holdfast.core.models import Lease
from holdfast.store.upkeep import Place

if TYPE_CHECKING:
    from holdfast.core.clock import Clock
    from holdfast.core.config import RetentionSettings
    from holdfast.store import Store

DAY = 86_400 * SECOND
BATCH = 200  # logs in one step
PAUSE = 10.0  # seconds between looks when there was nothing to delete
_ROW = 400  # bytes that a log takes besides its own: its rows and their index entries
_SLACK = 1.5  # times the limit: above that even logs that are not compacted yet have to go
_ANY_TIME = 1 << 62
_START = Place(0, RunId(""), 0)


class LogRetention:
    """Choose logs to delete. Each keeps its last record, which says when and how much it was.

    Logs of runs that have not ended stay, also those of their ended attempts.
    """

    def __init__(self, store: Store, settings: RetentionSettings, clock: Clock) -> None:
        self._store = store
        self._days = settings.log_days
        self._most = settings.log_bytes
        self._clock = clock
        self._place = _START  # up to here all that may go has gone
        self._next = 0.0

    def run_once(self) -> bool:
        """Choose a batch, and tell whether there may be more."""
        if self._clock.monotonic() < self._next:
            return False
        more = self._retire_old() or self._make_room()
        if not more:
            self._place = _START
            self._next = self._clock.monotonic() + PAUSE
        return more

    def _retire_old(self) -> bool:
        if self._days is None:
            return False
        return self._retire(self._clock.now() - int(self._days * DAY), None)

    def _make_room(self) -> bool:
        if self._most is None:
            return False
        room = self._store.upkeep.room()
        if room.size <= self._most * (1 if room.compact else _SLACK):
            return False
        return self._retire(_ANY_TIME, room.size - self._most)

    def _retire(self, before: int, excess: int | None) -> bool:
        """Retire the next logs that ended before a time, until the excess is made up for."""
        upkeep = self._store.upkeep
        page = upkeep.oldest(before, self._place, BATCH)
        live = self._store.runs.live_among({place.run_id for place in page})
        chosen: list[Lease] = []
        freed = 0
        for place in page:
            if excess is not None and freed >= excess:
                break
            self._place = place
            if place.run_id not in live:
                chosen.append(Lease(place.run_id, place.attempt))
                freed += upkeep.stored_size(chosen[-1]) + _ROW
        if chosen:
            emit(LogsRetired(upkeep.retire(chosen), freed))
        return bool(page)
