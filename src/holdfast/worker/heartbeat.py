"""Beat for a worker, watch the beats of the others, and see to its last will.

A process of its own with a connection of its own: no user code, log flood or long statement
delays it. It beats only while its supervisor gives signs of life, so that a supervisor that
hangs or is stopped loses its lease like a dead one. It compares no clocks: a worker is dead when
its beat stood still in as many successful looks in a row as a lease has.
"""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.clock import Clock, SystemClock
from holdfast.core.config import StoreSettings
from holdfast.core.errors import StoreUnavailable
from holdfast.core.events import WorkerDied, emit
from holdfast.core.ids import WorkerId
from holdfast.core.verdict import WorkerDeath
from holdfast.store import open_store
from holdfast.worker import proc

if TYPE_CHECKING:
    from holdfast.core.models import WorkerRecord
    from holdfast.store.workers import Workers

LOOKS_IN_A_LEASE = 6
LOCAL_LOOK_SECONDS = 0.5  # how soon a dead neighbour on this host is noticed
ALIVE, GOODBYE = b".", b"!"  # what the supervisor writes
FENCED = b"fenced\n"  # what it reads


class HeartbeatSetup(msgspec.Struct, frozen=True):
    """Tell the process whom to beat for: one line of JSON on its standard input."""

    store: StoreSettings
    worker_id: str
    beat_seconds: float
    lease_seconds: float


@dataclass(slots=True)
class Seen:
    """Remember the beat of a worker and in how many looks in a row it stood still."""

    beat: int
    still: int = 0


class Observer:
    """Watch the other workers and declare the dead ones dead."""

    def __init__(self, workers: Workers, me: WorkerId, lease_seconds: float, clock: Clock) -> None:
        self._workers = workers
        self._me = me
        self._pause = lease_seconds / LOOKS_IN_A_LEASE
        self._clock = clock
        self._seen: dict[WorkerId, Seen] = {}
        self._last_look: float | None = None

    def look(self) -> list[WorkerId]:
        """Compare all beats with those of the last look; return the workers declared dead.

        A look that came late, because this process was stopped or the store was away, proves
        nothing: then counting starts again.
        """
        now = self._clock.monotonic()
        others = [w for w in self._workers.list() if w.worker_id != self._me]
        late = self._last_look is None or now - self._last_look > 2 * self._pause
        self._last_look = now
        seen = {} if late else self._seen
        self._seen = {}
        dead = []
        for worker in others:
            before = seen.get(worker.worker_id)
            still = before.still + 1 if before and before.beat == worker.beat else 0
            self._seen[worker.worker_id] = Seen(worker.beat, still)
            if still >= LOOKS_IN_A_LEASE and self._declare(worker, silent_cause(worker)):
                dead.append(worker.worker_id)
        return dead

    def look_around(self) -> list[WorkerId]:
        """Look for the processes of workers on this very host, which needs no patience."""
        dead = []
        for worker in self._workers.list():
            if worker.worker_id == self._me or not is_gone(worker):
                continue
            if self._declare(worker, "process gone"):
                dead.append(worker.worker_id)
        return dead

    def _declare(self, worker: WorkerRecord, cause: str) -> bool:
        death = death_of(worker, cause, seen_by=self._me)
        declared = self._workers.declare_dead(worker.worker_id, beat=worker.beat, death=death)
        if declared:
            emit(WorkerDied(worker.worker_id, worker.host, cause))
        return declared


def is_gone(worker: WorkerRecord) -> bool:
    """Tell whether the process of a worker of this very host and boot is gone."""
    here = (proc.host_id(), proc.boot_id())
    return (worker.host_id, worker.boot_id) == here and (
        proc.start_time(worker.pid) != worker.pid_start
    )


def silent_cause(worker: WorkerRecord) -> str:
    """Return why a worker that fell silent probably did."""
    rebooted = worker.host_id == proc.host_id() and worker.boot_id != proc.boot_id()
    return "host rebooted" if rebooted else "silent"


def death_of(worker: WorkerRecord, cause: str, *, seen_by: str) -> WorkerDeath:
    """Return the record of a worker's death."""
    return msgspec.convert(
        {"cause": cause, "host": worker.host, "seen_by": seen_by}, type=WorkerDeath
    )


class Heart:
    """Beat, observe, and in the end carry out the last will."""

    def __init__(self, setup: HeartbeatSetup, workers: Workers, clock: Clock) -> None:
        self._setup = setup
        self._me = WorkerId(setup.worker_id)
        self._workers = workers
        self._clock = clock
        self._observer = Observer(workers, self._me, setup.lease_seconds, clock)
        self._due = dict.fromkeys((self.beat, self._observer.look, self._observer.look_around), 0.0)
        self._every = (
            setup.beat_seconds,
            setup.lease_seconds / LOOKS_IN_A_LEASE,
            LOCAL_LOOK_SECONDS,
        )
        self._alive = True

    def run(self) -> None:
        """Go on until the supervisor says goodbye or is gone."""
        while (word := self._listen()) != GOODBYE:
            if not word:
                proc.kill_marked(self._me)  # the supervisor is gone: nothing of it may go on
                return
            self._do_what_is_due()

    def beat(self) -> None:
        """Beat once if the supervisor has lived since the last beat; tell it when fenced."""
        if self._alive and not self._workers.beat(self._me):
            os.write(1, FENCED)
        self._alive = False

    def _listen(self) -> bytes:
        pause = max(0.0, min(self._due.values()) - self._clock.monotonic())
        if not select.select([0], [], [], pause)[0]:
            return ALIVE
        words = os.read(0, 4096)
        self._alive = self._alive or ALIVE in words
        return GOODBYE if GOODBYE in words else words

    def _do_what_is_due(self) -> None:
        now = self._clock.monotonic()
        for (act, due), every in zip(self._due.items(), self._every, strict=True):
            if now >= due:
                self._due[act] = now + every
                try:
                    act()
                except StoreUnavailable:
                    time.sleep(0.05)  # the next time will do; what others see is what counts


def main() -> None:
    """Start as ``python -m holdfast.worker.heartbeat``."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    setup = msgspec.json.decode(line, type=HeartbeatSetup)
    clock = SystemClock()
    Heart(setup, open_store(setup.store, clock).workers, clock).run()


if __name__ == "__main__":
    main()
