"""Duty: what dead workers held goes back to the queue, and their logs are taken over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.clock import SECOND
from holdfast.core.events import SpoolAdopted, emit
from holdfast.core.models import TaskOptions, WorkerState
from holdfast.core.verdict import Evidence, WorkerDeath
from holdfast.worker import outcomes, proc
from holdfast.worker.spool import adopt, folder_of, is_left_by, last_lines, own

if TYPE_CHECKING:
    from collections.abc import Collection

    from holdfast.core.clock import Clock
    from holdfast.core.models import Claim, Lease, WorkerRecord
    from holdfast.store import Store

BATCH = 500
_FRESH_SECONDS = 60.0


class Reaper:
    """Settle the attempts of dead workers, and those that nobody knows of."""

    def __init__(self, store: Store, me: WorkerRecord, spool: Path, clock: Clock) -> None:
        self._store = store
        self._me = me
        self._spool = spool  # this worker's own folder
        self._clock = clock

    def run_once(self) -> int:
        """Expire what dead workers hold and return how many attempts that were."""
        expired = 0
        for worker in self._store.workers.gone_with_leases():
            if worker.host_id == self._me.host_id:
                proc.kill_marked(worker.worker_id)  # its attempts end before the next ones begin
            while claims := self._store.leases.held(worker.worker_id, BATCH):
                self._expire(claims, worker, _death(worker))
                expired += len(claims)
        if expired:
            self._store.bell.ring()
        self._adopt()
        return expired

    def reconcile(self, known: Collection[Lease]) -> int:
        """Settle attempts that the store says this worker holds and that it knows nothing of.

        The claim was committed and its answer lost; the heartbeat would keep it for ever.
        """
        claims = self._store.leases.held(self._me.worker_id, BATCH)
        unknown = [claim for claim in claims if claim.lease not in known]
        if unknown:
            death = WorkerDeath("unknown claim", self._me.host, seen_by=self._me.worker_id)
            self._expire(unknown, self._me, death)
            self._store.bell.ring()
        return len(unknown)

    def _expire(self, claims: list[Claim], worker: WorkerRecord, death: WorkerDeath) -> None:
        now = self._clock.now()
        left = self._spool.parent / worker.worker_id
        settlements = []
        for claim in claims:
            evidence = Evidence(
                host=worker.host,
                boot_id=worker.boot_id,
                worker=worker.worker_id,
                version=worker.version,
                wall_seconds=max(0, now - claim.claimed_at) / 1e6,
                worker_death=death,
                last_lines=last_lines(left, claim.lease),
            )
            options = msgspec.json.decode(claim.options, type=TaskOptions)
            logged = folder_of(left, claim.lease).exists()
            ending = outcomes.of_loss(evidence)
            settlements.append(outcomes.settle(claim, options, ending, now, logged=logged))
        self._store.leases.settle(worker.worker_id, settlements)

    def _adopt(self) -> None:
        """Take over the logs that dead workers left on this host."""
        for name in os.listdir(self._spool.parent):
            left = self._spool.parent / name
            if left == self._spool or not is_left_by(self._store.url, left):
                continue
            worker = self._store.workers.get(name)
            fresh = self._clock.now() / SECOND - left.stat().st_mtime < _FRESH_SECONDS
            if fresh if worker is None else worker.state < WorkerState.STOPPED:
                continue  # about to register, or alive
            self._take_over(left)

    def _take_over(self, left: Path) -> None:
        lock = own(left)
        if lock is None:
            return  # it has not registered yet, or is only stopped, or another adopts it
        try:
            proc.kill_marked(left.name)
            leases = adopt(self._spool, left)
        finally:
            os.close(lock)
        if leases:
            emit(SpoolAdopted(len(leases), left.name))


def _death(worker: WorkerRecord) -> WorkerDeath:
    if worker.death is None:  # it said goodbye, and yet it held something
        return WorkerDeath("process gone", worker.host)
    return msgspec.json.decode(worker.death, type=WorkerDeath)
