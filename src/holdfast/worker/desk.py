"""Take what comes back from executors and keep it until the store has it."""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import msgspec

from holdfast.core.events import (
    AttemptDied,
    AttemptEnded,
    AttemptsReleased,
    ProcessesLeft,
    emit,
    is_heard,
)
from holdfast.core.ids import RunId
from holdfast.core.models import Lease
from holdfast.core.states import AttemptOutcome
from holdfast.core.verdict import Evidence
from holdfast.worker import outcomes
from holdfast.worker.endings import Endings
from holdfast.worker.lastlines import last_lines
from holdfast.worker.secrets import hide, mask_if_readable
from holdfast.worker.spool import folder_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from holdfast.core.clock import Clock
    from holdfast.core.masking import Mask
    from holdfast.core.models import Settlement, WorkerRecord
    from holdfast.worker.child import Child, Exit
    from holdfast.worker.held import Held
    from holdfast.worker.oom import OomWatch
    from holdfast.worker.protocol import Done, Said

_encode = msgspec.json.encode


class Desk:
    """Hold the outcomes that are not written yet, and the attempts that no executor has yet."""

    def __init__(
        self,
        identity: WorkerRecord,
        spool: Path,
        oom: OomWatch,
        known: Mask,
        clock: Clock,
    ) -> None:
        self._known = known
        self._identity = identity
        self._spool = spool
        self._oom = oom
        self._clock = clock
        self.endings = Endings(spool)
        self.settlements: list[Settlement] = []
        self.backlog: deque[Held] = deque()
        self.progress: dict[Lease, str] = {}

    def done(self, child: Child, held: Held, done: Done) -> None:
        """Take the report of an attempt that has ended."""
        if done.result is None:
            self._take_failure(child, held, done)
            return
        if done.logged:
            self.endings.mark(held.lease)
        self._keep(held, outcomes.succeed(held, done, self._clock.now(), logged=done.logged))
        if done.stopped_processes:
            claim = held.claim
            names = (claim.run_id, claim.attempt, claim.task)
            emit(ProcessesLeft(*names, done.stopped_processes))
        if is_heard(AttemptEnded):
            self._say_ended(held, AttemptOutcome.SUCCEEDED, done.wall)

    def _take_failure(self, child: Child, held: Held, done: Done) -> None:
        at = self._clock.monotonic()
        oom = self._oom.of_attempt(child, done, held.options.memory, at)
        mask = self._mask_of(held.lease)
        evidence = msgspec.structs.replace(self._evidence(held, mask), oom=oom)
        # Only now: the folder of a log that has ended, with what it names, goes at any time.
        if done.logged:
            self.endings.mark(held.lease)
        self._settle(held, outcomes.of_done(held, done, evidence), mask, logged=done.logged)

    def said(self, said: Said) -> None:
        """Take the progress of a running attempt; only the last is kept."""
        lease, progress = Lease(RunId(said.run_id), said.attempt), said.progress
        if progress.text and (mask := self._mask_of(lease)):
            progress = msgspec.structs.replace(progress, text=mask.text(progress.text))
        self.progress[lease] = _encode(progress).decode()

    def died(self, child: Child, end: Exit, waiting: list[Held], lost: list[Held]) -> None:
        """Take what a dead executor had: what it had not begun, and what it was doing."""
        self.backlog.extendleft(reversed(waiting))
        masks = [self._mask_of(held.lease) for held in lost]  # first: see `_take_failure`
        logged = self.endings.mark_dead(child.output, [held.lease for held in lost])
        for held, mask in zip(lost, masks, strict=True):
            evidence = msgspec.structs.replace(
                self._evidence_of_death(child, end, held, mask), neighbours=len(lost) - 1
            )
            ending = outcomes.of_death(held, evidence)
            self._settle(held, ending, mask, logged=held.lease in logged)

    def _evidence_of_death(self, child: Child, end: Exit, held: Held, mask: Mask) -> Evidence:
        now = self._clock.monotonic()
        peak = max(held.peak_rss, end.peak_rss)
        limit = held.options.memory
        oom = None
        if end.signal == signal.SIGKILL and held.asked is None:
            oom = self._oom.of_executor(child, limit, now)
        if oom is not None and oom.scope == "cgroup" and limit is not None:
            peak = min(child.group.peak(), limit)
        return msgspec.structs.replace(
            self._evidence(held, mask),
            pid=child.pid,
            wall_seconds=now - (held.started or now),
            exit_code=end.code,
            signal=end.signal,
            peak_rss=peak or None,
            oom=oom,
            stopped_processes=end.killed_below,
            stack=end.stack,
        )

    def release(
        self,
        held: Sequence[Held],
        reason: Literal["busy", "deploy"],
        known: Collection[str] | None = None,
    ) -> None:
        """Give attempts back that never began; those of tasks not known any more, for that."""
        now = self._clock.now()
        for one in held:
            evidence = self._evidence(one, self._mask_of(one.lease))
            if known is None or one.claim.task in known:
                ending = outcomes.of_release(evidence, reason)
            else:
                ending = outcomes.of_unknown_task(evidence, known)
            self._keep(one, outcomes.settle(one.claim, one.options, ending, now, logged=False))
        if held:
            emit(AttemptsReleased(len(held), reason))

    def _mask_of(self, lease: Lease) -> Mask:
        return mask_if_readable(self._known, folder_of(self._spool, lease))

    def _evidence(self, held: Held, mask: Mask) -> Evidence:
        me = self._identity
        return Evidence(
            host=me.host,
            boot_id=me.boot_id,
            worker=me.worker_id,
            version=me.version,
            memory_limit=held.options.memory,
            paused_seconds=round(held.paused_for(), 3),
            last_lines=last_lines(self._spool, held.lease, mask),
        )

    def _settle(self, held: Held, ending: outcomes.Ending, mask: Mask, *, logged: bool) -> None:
        now = self._clock.now()
        ending = replace(ending, evidence=hide(ending.evidence, mask))
        settlement = outcomes.settle(
            held.claim, held.options, ending, now, logged=logged, usage=held.usage()
        )
        self._keep(held, settlement)
        if ending.outcome is AttemptOutcome.SNOOZED:
            self._say_ended(held, ending.outcome, ending.evidence.wall_seconds)
            return
        names = (held.claim.run_id, held.claim.attempt, held.claim.task, ending.outcome.value)
        emit(AttemptDied(*names, settlement.state.value, settlement.error or ""))

    def _keep(self, held: Held, settlement: Settlement) -> None:
        self.settlements.append(settlement)
        if self.progress:
            self.progress.pop(held.lease, None)

    def _say_ended(self, held: Held, outcome: AttemptOutcome, wall: float) -> None:
        claim = held.claim
        milliseconds = int(wall * 1000)
        emit(AttemptEnded(claim.run_id, claim.attempt, claim.task, outcome.value, milliseconds))
