"""Duty: delete what the retention allows, in small batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.clock import SECOND

if TYPE_CHECKING:
    from holdfast.core.clock import Clock
    from holdfast.core.config import RetentionSettings
    from holdfast.store import Store

DAY = 86_400 * SECOND
BATCH = 200
_WORKERS_KEPT = 7 * DAY


class Janitor:
    """Forget old runs with their attempts and logs, and workers that are long gone."""

    def __init__(self, store: Store, retention: RetentionSettings, clock: Clock) -> None:
        self._store = store
        self._days = {True: retention.succeeded_days, False: retention.other_days}
        self._clock = clock

    def run_once(self) -> int:
        """Delete a batch of each kind and return how many runs were deleted."""
        now = self._clock.now()
        deleted = 0
        for succeeded, days in self._days.items():
            before = now - int(days * DAY)
            gone = self._store.runs.ended_before(before, succeeded=succeeded, limit=BATCH)
            if gone:  # the logs first: killed in between, the next time finds the runs again
                self._store.logs.delete(gone)
                self._store.runs.delete(gone)
            deleted += len(gone)
        self._store.workers.forget(before=now - _WORKERS_KEPT, limit=BATCH)
        return deleted
