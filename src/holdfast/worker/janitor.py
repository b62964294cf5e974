"""Duty: delete what the retention allows, in small batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.clock import SECOND
from holdfast.core.ids import oldest_id
from holdfast.core.states import RunState

if TYPE_CHECKING:
    from holdfast.core.clock import Clock
    from holdfast.core.config import RetentionSettings
    from holdfast.core.ids import RunId
    from holdfast.store import Store

DAY = 86_400 * SECOND
BATCH = 200
STRAYS = 1000  # ended runs looked at each time
_WORKERS_KEPT = 7 * DAY


class Janitor:
    """Forget old runs with their attempts and logs, and workers that are long gone."""

    def __init__(self, store: Store, retention: RetentionSettings, clock: Clock) -> None:
        self._store = store
        self._days = {True: retention.succeeded_days, False: retention.other_days}
        self._clock = clock
        self._place = ""  # up to here the strays were looked at

    def has_more(self) -> bool:
        """Delete a batch of each kind and tell whether there is more to delete."""
        return self.run_once() >= BATCH

    def run_once(self) -> int:
        """Delete a batch of each kind and return how many runs were deleted."""
        now = self._clock.now()
        before = {succeeded: now - int(days * DAY) for succeeded, days in self._days.items()}
        gone = self._strays(before, now)
        for succeeded, time in before.items():
            gone += self._store.runs.ended_before(time, succeeded=succeeded, limit=BATCH)
        if gone:  # the logs first: killed in between, the next time finds the runs again
            self._store.logs.delete(gone)
            self._store.runs.delete(gone)
        self._store.workers.forget(before=now - _WORKERS_KEPT, limit=BATCH)
        return len(gone)

    def _strays(self, before: dict[bool, int], now: int) -> list[RunId]:
        """Look through some of the runs whose ids say nothing of their age, another part each time.

        People make ids of their own, and clocks were wrong: such ids seem to be of the future.
        """
        runs = self._store.runs
        page = runs.ended_from(self._place or oldest_id(now + DAY), limit=STRAYS)
        self._place = page[-1].run_id if len(page) == STRAYS else ""
        return [
            run.run_id for run in page if run.finished_at < before[run.state == RunState.SUCCEEDED]
        ]
