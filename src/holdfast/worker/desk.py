"""Take what comes back from executors and keep it until the store has it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

import msgspec

from holdfast.core.events import AttemptDied, AttemptEnded, emit
from holdfast.core.ids import RunId
from holdfast.core.models import Lease
from holdfast.core.states import AttemptOutcome
from holdfast.core.verdict import Evidence
from holdfast.worker import outcomes
from holdfast.worker.spool import last_lines, mark_end

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from holdfast.core.clock import Clock
    from holdfast.core.models import Settlement, WorkerRecord
    from holdfast.worker.child import Child, Exit
    from holdfast.worker.held import Held
    from holdfast.worker.limits import Limits
    from holdfast.worker.protocol import Done, Said

_QUIET = (AttemptOutcome.SUCCEEDED, AttemptOutcome.SNOOZED)
_encode = msgspec.json.encode


class Desk:
    """Hold the outcomes that are not written yet, and the attempts that no executor has yet."""

    def __init__(self, identity: WorkerRecord, spool: Path, limits: Limits, clock: Clock) -> None:
        self._identity = identity
        self._spool = spool
        self._limits = limits
        self._clock = clock
        self.settlements: list[Settlement] = []
        self.backlog: deque[Held] = deque()
        self.progress: dict[Lease, str] = {}

    def done(self, held: Held, done: Done) -> None:
        """Take the report of an attempt that has ended."""
        evidence = Evidence() if done.result is not None else self._evidence(held)
        logged = done.logged and mark_end(self._spool, held.lease)
        self._settle(held, outcomes.of_done(held, done, evidence), logged=logged)

    def said(self, said: Said) -> None:
        """Take the progress of a running attempt; only the last is kept."""
        lease = Lease(RunId(said.run_id), said.attempt)
        self.progress[lease] = _encode(said.progress).decode()

    def died(self, child: Child, end: Exit, waiting: list[Held], lost: list[Held]) -> None:
        """Take what a dead executor had: what it had not begun, and what it was doing."""
        self.backlog.extendleft(reversed(waiting))
        for held in lost:
            wall = self._clock.monotonic() - (held.started or self._clock.monotonic())
            evidence = msgspec.structs.replace(
                self._evidence(held),
                pid=child.pid,
                wall_seconds=wall,
                exit_code=end.code,
                signal=end.signal,
                peak_rss=max(held.peak_rss, 0 if child.shared else end.peak_rss) or None,
                oom_kills=self._limits.oom_kills_since(),
                neighbours=len(lost) - 1,
                stack=end.stack,
            )
            logged = mark_end(self._spool, held.lease)
            self._settle(held, outcomes.of_death(held, evidence), logged=logged)

    def release(self, held: Sequence[Held], reason: Literal["busy", "deploy"]) -> None:
        """Give attempts back that never began."""
        for one in held:
            ending = outcomes.of_release(self._evidence(one), reason)
            self._settle(one, ending, logged=False)

    def _evidence(self, held: Held) -> Evidence:
        me = self._identity
        return Evidence(
            host=me.host,
            boot_id=me.boot_id,
            worker=me.worker_id,
            version=me.version,
            memory_limit=held.options.memory,
            last_lines=last_lines(self._spool, held.lease),
        )

    def _settle(self, held: Held, ending: outcomes.Ending, *, logged: bool) -> None:
        now = self._clock.now()
        settlement = outcomes.settle(held.claim, held.options, ending, now, logged=logged)
        self.settlements.append(settlement)
        self.progress.pop(held.lease, None)
        names = (held.claim.run_id, held.claim.attempt, held.claim.task, ending.outcome.value)
        if ending.outcome in _QUIET:
            emit(AttemptEnded(*names, int(ending.evidence.wall_seconds * 1000)))
        else:
            emit(AttemptDied(*names, settlement.state.value, settlement.error or ""))
