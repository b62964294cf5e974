"""Duty: what dead workers held goes back to the queue, and their logs are taken over."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.clock import SECOND
from holdfast.core.errors import StoreRefused
from holdfast.core.events import SpoolAdopted, SpoolStuck, emit
from holdfast.core.ids import WorkerId
from holdfast.core.models import TaskOptions, WorkerState
from holdfast.core.verdict import Evidence, WorkerDeath
from holdfast.worker import cgroup, outcomes, proc
from holdfast.worker.lastlines import last_lines
from holdfast.worker.output import SAVE_SECONDS
from holdfast.worker.ownership import adopt, is_left_by, own
from holdfast.worker.plain import is_folder
from holdfast.worker.refusals import settle_apart
from holdfast.worker.secrets import mask_if_readable
from holdfast.worker.spool import folder_of

if TYPE_CHECKING:
    from holdfast.core.clock import Clock
    from holdfast.core.masking import Mask
    from holdfast.core.models import Claim, Lease, WorkerRecord
    from holdfast.store import Store

BATCH = 500
_FRESH_SECONDS = 60.0


class Reaper:
    """Settle the attempts of dead workers, and those that nobody knows of."""

    def __init__(
        self, store: Store, me: WorkerRecord, spool: Path, clock: Clock, known: Mask
    ) -> None:
        self._known = known
        self._store = store
        self._me = me
        self._spool = spool  # this worker's own folder
        self._clock = clock
        self._orphans: dict[str, float] = {}  # worker -> when its executors were seen, monotonic
        self._unfit: set[str] = set()  # folders that could not be taken over, as was said

    def run_once(self) -> bool:
        """Expire what dead workers hold; True when some are still saving what was written."""
        expired, waits = 0, False
        for worker in self._store.workers.gone_with_leases():
            if self._is_saving(worker):
                waits = True
                continue
            if worker.host_id == self._me.host_id:
                self._end(worker.worker_id)  # its attempts end before the next ones begin
            while claims := self._store.leases.held(worker.worker_id, BATCH):
                all_settled = self._expire(claims, worker, _death(worker))
                expired += len(claims)
                if not all_settled:
                    break  # it would be found again and again
        if expired:
            self._store.bell.ring()
        self._adopt()
        return waits

    def give_back(self, claims: list[Claim]) -> None:
        """Settle attempts that the store says this worker holds and that it knows nothing of.

        The heartbeat would keep them for ever.
        """
        death = WorkerDeath("unknown claim", self._me.host, seen_by=self._me.worker_id)
        self._expire(claims, self._me, death)
        self._store.bell.ring()

    def _expire(self, claims: list[Claim], worker: WorkerRecord, death: WorkerDeath) -> bool:
        """Settle what a worker held as lost; False when the store refuses some of it."""
        now = self._clock.now()
        left = self._spool.parent / worker.worker_id
        usages = self._store.leases.usages(worker.worker_id, BATCH)
        settlements = []
        for claim in claims:
            usage = usages.get(claim.lease)
            evidence = Evidence(
                host=worker.host,
                boot_id=worker.boot_id,
                worker=worker.worker_id,
                version=worker.version,
                wall_seconds=max(0, now - claim.claimed_at) / 1e6,
                peak_rss=max(usage.memory) if usage else None,
                worker_death=death,
                last_lines=last_lines(
                    left, claim.lease, mask_if_readable(self._known, folder_of(left, claim.lease))
                ),
            )
            options = msgspec.json.decode(claim.options, type=TaskOptions)
            logged = self._has_log(left, claim.lease)
            ending = outcomes.of_loss(evidence)
            settlements.append(
                outcomes.settle(claim, options, ending, now, logged=logged, usage=usage)
            )
        try:
            self._store.leases.settle(worker.worker_id, settlements)
        except StoreRefused:
            leases = self._store.leases
            return not settle_apart(leases, worker.worker_id, settlements)[1]
        return True

    def _has_log(self, left: Path, lease: Lease) -> bool:
        """Tell whether an attempt has written anything: it is here, or stored already."""
        return is_folder(folder_of(left, lease)) or self._store.logs.position(lease).size > 0

    def _adopt(self) -> None:
        """Take over the logs that dead workers left on this host and hold no attempt of any more.

        Whoever settles the attempts looks there for what they wrote.
        """
        for name in os.listdir(self._spool.parent):
            left = self._spool.parent / name
            try:
                if left != self._spool and self._is_abandoned(left):
                    self._take_over(left)
            except OSError as error:
                if is_folder(left) and name not in self._unfit:  # else another one was faster
                    emit(SpoolStuck(name, str(error)))
                    self._unfit.add(name)

    @cached_property
    def _names(self) -> set[str]:
        return self._store.names()

    def _is_abandoned(self, left: Path) -> bool:
        if not is_left_by(self._names, left):
            return False
        worker = self._store.workers.get(left.name)
        fresh = self._clock.now() / SECOND - left.stat().st_mtime < _FRESH_SECONDS
        if fresh if worker is None else worker.state < WorkerState.STOPPED:
            return False  # about to register, or alive
        held = self._store.leases.held(WorkerId(left.name), 1)
        return not (held or (proc.executors_of(left.name) and self._has_time(left.name)))

    def _is_saving(self, worker: WorkerRecord) -> bool:
        """Tell whether executors may still save their output: they notice that they are orphans.

        Those of another host are for its own workers to end, who see them.
        """
        if worker.host_id == self._me.host_id:
            saves = bool(proc.executors_of(worker.worker_id))
        else:
            saves = any(
                other.host_id == worker.host_id and other.state < WorkerState.STOPPED
                for other in self._store.workers.list()
            )
        return saves and self._has_time(worker.worker_id)

    def _has_time(self, worker_id: str) -> bool:
        now = self._clock.monotonic()
        return now - self._orphans.setdefault(worker_id, now) < SAVE_SECONDS

    def _end(self, worker_id: str) -> None:
        """End what a dead worker on this host has left running."""
        proc.kill_marked(worker_id)
        cgroup.end_left(self._spool.parent / worker_id, worker_id)

    def _take_over(self, left: Path) -> None:
        lock = own(left)
        if lock is None:
            return  # it has not registered yet, or is only stopped, or another adopts it
        try:
            self._end(left.name)
            leases = adopt(self._spool, left)
        finally:
            os.close(lock)
        if leases:
            emit(SpoolAdopted(len(leases), left.name))


def _death(worker: WorkerRecord) -> WorkerDeath:
    if worker.death is None:  # it said goodbye, and yet it held something
        return WorkerDeath("process gone", worker.host)
    return msgspec.json.decode(worker.death, type=WorkerDeath)
