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
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.clock import Clock, SystemClock
from holdfast.core.config import StoreSettings
from holdfast.core.errors import StoreUnavailable
from holdfast.core.events import WorkerDied, emit
from holdfast.core.ids import WorkerId
from holdfast.core.verdict import WorkerDeath
from holdfast.store import open_store
from holdfast.worker import cgroup, proc
from holdfast.worker.beside import READY, speak_through_supervisor, tell
from holdfast.worker.output import SAVE_SECONDS

if TYPE_CHECKING:
    from holdfast.core.models import WorkerRecord
    from holdfast.store.workers import Workers

LOOKS_IN_A_LEASE = 6
_BLIND_LOOKS = 4  # without an own beat; a worker beats three times in a lease at least
LOCAL_LOOK_SECONDS = 0.5  # how soon a dead neighbour on this host is noticed
_SAVED_YET_SECONDS = 0.02  # between two looks for executors that save their output
ALIVE, GOODBYE = b".", b"!"  # what the supervisor writes
FENCED = b"fenced"  # what it reads, a line


class HeartbeatSetup(msgspec.Struct, frozen=True):
    """Tell the process whom to beat for: one line of JSON on its standard input."""

    store: StoreSettings
    worker_id: str
    beat_seconds: float
    lease_seconds: float
    spool: str  # the worker's folder in the spool


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
        self._mine = -1  # this worker's own beat
        self._moved_at = clock.monotonic()  # when that was seen to move
        self._last_look: float | None = None

    def look(self) -> list[WorkerId]:
        """Compare all beats with those of the last look; return the workers declared dead.

        A look that came late, because this process was stopped or the store was away, proves
        nothing: then counting starts again. The same while this worker itself cannot beat,
        because the disk is full or somebody keeps the store locked: then nobody can.
        """
        now = self._clock.monotonic()
        workers = self._workers.list()
        others = [w for w in workers if w.worker_id != self._me]
        late = self._last_look is None or now - self._last_look > 2 * self._pause
        self._last_look = now
        seen = {} if late or not self._can_beat(workers, now) else self._seen
        self._seen = {}
        dead = []
        for worker in others:
            before = seen.get(worker.worker_id)
            still = before.still + 1 if before and before.beat == worker.beat else 0
            self._seen[worker.worker_id] = Seen(worker.beat, still)
        heard = {w.host_id for w in others if self._seen[w.worker_id].still < LOOKS_IN_A_LEASE}
        for worker in others:
            if self._seen[worker.worker_id].still < LOOKS_IN_A_LEASE:
                continue
            if self._declare(worker, silent_cause(worker, host_is_heard=worker.host_id in heard)):
                dead.append(worker.worker_id)
        return dead

    def _can_beat(self, workers: list[WorkerRecord], now: float) -> bool:
        mine = next((w.beat for w in workers if w.worker_id == self._me), self._mine)
        if mine != self._mine:
            self._mine, self._moved_at = mine, now
        return now - self._moved_at < _BLIND_LOOKS * self._pause

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


def silent_cause(worker: WorkerRecord, *, host_is_heard: bool) -> str:
    """Return why a worker that fell silent probably did, as far as one can see from here."""
    if worker.host_id != proc.host_id():
        return "silent" if host_is_heard else "host silent"
    if worker.boot_id != proc.boot_id():
        return "host rebooted"
    return "stopped" if proc.is_stopped(worker.pid) else "cut off"


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
        self._alive = False  # until the supervisor says so: it has registered by then

    def run(self) -> None:
        """Go on until the supervisor says goodbye or is gone."""
        tell(READY)
        while (word := self._listen()) != GOODBYE:
            if not word:
                self._let_executors_save()
                proc.kill_marked(self._me)  # the supervisor is gone: nothing of it may go on
                cgroup.end_left(Path(self._setup.spool), self._me)
                return
            self._do_what_is_due()

    def beat(self) -> None:
        """Beat once if the supervisor has lived since the last beat; tell it when fenced."""
        if self._alive and not self._workers.beat(self._me):
            tell(FENCED)
        self._alive = False

    def _let_executors_save(self) -> None:
        patience = self._clock.monotonic() + SAVE_SECONDS
        while proc.executors_of(self._me) and self._clock.monotonic() < patience:
            time.sleep(_SAVED_YET_SECONDS)

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
    speak_through_supervisor("heartbeat")
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    setup = msgspec.json.decode(line, type=HeartbeatSetup)
    clock = SystemClock()
    Heart(setup, open_store(setup.store, clock).workers, clock).run()


if __name__ == "__main__":
    main()
