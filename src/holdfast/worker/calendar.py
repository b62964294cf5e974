"""Tell the time to those who delete by age: a clock that runs ahead must cost nobody his runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.clock import SECOND
from holdfast.core.events import ClockAhead, emit

if TYPE_CHECKING:
    from holdfast.core.clock import Clock
    from holdfast.store.workers import Workers

DAY = 86_400 * SECOND
_LONGEST_REST = 7 * DAY  # between two workers of a store, before the clock is in doubt
_TOLD = 3600 * SECOND  # ahead, and it is said


class Calendar:
    """Be a clock that goes on from when the store was last used, and never jumps forward.

    What is deleted too late does no harm, and the next worker makes up for it: what the clock
    of one worker says is what the next one finds.
    """

    def __init__(self, workers: Workers, me: str, clock: Clock) -> None:
        self._workers = workers
        self._me = me
        self._clock = clock
        self._start: tuple[int, float] | None = None  # both times when it was first looked at
        self._told = False

    def now(self) -> int:
        """Return the time of day in microseconds since 1970, UTC, as far as it can be trusted."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        if self._start is None:
            self._start = (self._last_use(wall), monotonic)
        begin, began = self._start
        steady = begin + int((monotonic - began) * SECOND)
        if wall - steady > _TOLD and not self._told:
            self._told = True
            emit(ClockAhead((wall - steady) / (3600 * SECOND)))
        return min(wall, steady)

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""
        return self._clock.monotonic()

    def _last_use(self, wall: int) -> int:
        seen = [w.seen_at for w in self._workers.list(gone=True) if w.worker_id != self._me]
        last = max(seen, default=wall)
        return last if wall - last > _LONGEST_REST else wall
