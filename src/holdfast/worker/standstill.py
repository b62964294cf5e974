"""Tell people of attempts that are paused, and of a worker that begins nothing new."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from holdfast.core.events import (
    AttemptPaused,
    AttemptResumed,
    ClaimingPaused,
    ClaimingResumed,
    emit,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.ids import WorkerId
    from holdfast.core.models import Lease
    from holdfast.store import Store
    from holdfast.worker.gauge import Gauge
    from holdfast.worker.held import Held

_SETTLED = 2.0  # seconds: who is paused again within them has not really gone on
_LASTING = 1.0  # seconds that a disk is nearly full before that is told


class Standstills:
    """Say each pause once, and keep in the store what is true now."""

    def __init__(self, store: Store, worker_id: WorkerId, gauge: Gauge) -> None:
        self._store = store
        self._worker_id = worker_id
        self._gauge = gauge
        self._told: set[Lease] = set()
        self._unwritten: dict[Lease, str | None] = {}
        self._critical_since: float | None = None
        self._trouble: str | None = None  # as it was told
        self._written: str | None = None  # as it stands in the store

    def tell(self, attempts: Sequence[Held]) -> None:
        """Look at the attempts that executors have; raises StoreUnavailable, to be called again."""
        now = time.monotonic()
        for held in attempts:
            self._tell_attempt(held, now)
        self._told &= {held.lease for held in attempts}
        self._tell_worker(now)
        if self._unwritten:
            self._store.leases.set_paused(self._unwritten)
            self._unwritten.clear()
        if self._written != self._trouble:
            self._store.workers.set_trouble(self._worker_id, self._trouble)
            self._written = self._trouble

    def _tell_attempt(self, held: Held, now: float) -> None:
        still = held.paused_since is not None
        if still and held.lease not in self._told:
            self._told.add(held.lease)
            self._unwritten[held.lease] = held.paused_why
            emit(AttemptPaused(*held.lease, held.paused_why))
        elif not still and held.lease in self._told and now - held.went_on_at > _SETTLED:
            self._told.remove(held.lease)
            self._unwritten[held.lease] = None
            emit(AttemptResumed(*held.lease, int(held.paused_seconds * 1000)))

    def _tell_worker(self, now: float) -> None:
        if not self._gauge.is_critical:
            self._critical_since = None
            if self._trouble is not None:
                self._trouble = None
                emit(ClaimingResumed(self._worker_id))
            return
        self._critical_since = self._critical_since or now
        if self._trouble is None and now - self._critical_since > _LASTING:
            self._trouble = self._gauge.reason
            emit(ClaimingPaused(self._worker_id, self._trouble))
