"""Keep the executors of one worker: start them, give them attempts, replace the dead."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from holdfast.core.events import ExecutorDied, emit
from holdfast.core.verdict import Asked
from holdfast.worker import proc
from holdfast.worker.child import Child, Exit
from holdfast.worker.protocol import Done, Hello, Said, Setup, Unready
from holdfast.worker.spool import rescue_sheets

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from holdfast.core.config import Settings
    from holdfast.core.models import Lease
    from holdfast.worker.held import Held
    from holdfast.worker.loop import Waiter

AHEAD_SECONDS = 0.02  # how much work an executor may have waiting in its socket
MOST_AHEAD = 200
HUNG_UP_SECONDS = 0.5  # between the end of its line and the end of an executor
STALLED_SECONDS = 0.05  # a longer attempt must not keep those behind it waiting
_SMOOTHING = 0.2
_LONGEST_BACKOFF = 30.0


class Ends(Protocol):
    """Take what comes of the attempts that executors were given."""

    def done(self, held: Held, done: Done) -> None:
        """Take the report of an attempt that has ended."""
        ...

    def said(self, said: Said) -> None:
        """Take the progress of a running attempt."""
        ...

    def died(self, child: Child, end: Exit, waiting: list[Held], lost: list[Held]) -> None:
        """Take what a dead executor had: what it had not begun, and what it was doing."""
        ...


class Pool:
    """Be all executors of one worker."""

    def __init__(
        self,
        settings: Settings,
        worker_id: str,
        spool: Path,
        waiter: Waiter,
        ends: Ends,
    ) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._spool = spool
        self._waiter = waiter
        self._ends = ends
        self.children: list[Child] = []
        self.tasks: dict[str, bool] = {}
        self.unready: Unready | None = None
        self._grown = False
        self.app_store = ""
        self.known_pids: set[int] = set()  # other child processes of the supervisor
        self._number = 0
        self._failed_starts = 0
        self._next_start = 0.0
        self._pace = 1.0  # seconds an attempt takes, smoothed

    @property
    def ready(self) -> bool:
        """Tell whether some executor has said hello."""
        return any(child.ready for child in self.children)

    def has_grown(self) -> bool:
        """Tell whether an executor has become ready since the last call: it can take work."""
        grown, self._grown = self._grown, False
        return grown

    def held(self) -> list[Held]:
        """Return all attempts that executors have."""
        return [held for child in self.children for held in child.outstanding]

    def fill(self) -> None:
        """Start executors where some are missing, and end those that do not speak any more."""
        for child in self.children:
            if child.hung_up_at is not None and not child.retired:
                self._end_silent(child, child.hung_up_at)
        if time.monotonic() < self._next_start:
            return
        missing = self._settings.worker.executors - self._count(shared=False)
        for _ in range(missing):
            self._start(shared=False)
        if self._needs_shared() and not self._count(shared=True):
            self._start(shared=True)

    def room(self) -> dict[bool, int]:
        """Return how many more attempts exclusive (False) and shared (True) executors can take.

        Short attempts are taken ahead, so that executors do not wait for the store; of long
        ones no more than there are free executors.
        """
        room = {False: 0, True: 0}
        for child in self.children:
            room[child.shared] += self._space(child)
        return room

    def shares(self, held: Held) -> bool:
        """Tell whether an attempt may share its executor with others."""
        return bool(held.claim.shared) and self.tasks.get(held.claim.task, False)

    def give(self, held: Held) -> bool:
        """Hand an attempt to the executor with the least to do; False when none can take it."""
        shared = self.shares(held)
        fit = [c for c in self.children if c.shared == shared and self._space(c)]
        if not fit:
            return False
        child = min(fit, key=lambda c: len(c.outstanding))
        idle = shared or not child.outstanding
        if not child.start(held):
            return False
        if idle:
            held.started = time.monotonic()
        return True

    def take_back_stalled(self, now: float) -> list[Held]:
        """Take back what waits behind an attempt that turned out to be long."""
        back: list[Held] = []
        for child in self.children:
            if len(child.outstanding) > 1 and _is_stalled(child, now):
                back += child.take_back()
        return back

    def take_back(self, leases: Collection[Lease]) -> list[Held]:
        """Take back all that waits in executors where one of these attempts does."""
        back: list[Held] = []
        for child in self.children:
            waiting = () if child.shared else list(child.outstanding)[1:]
            if any(held.lease in leases for held in waiting):
                back += child.take_back()
        return back

    def take_back_all(self) -> list[Held]:
        """Take back everything that no executor has begun."""
        return [held for child in self.children for held in child.take_back()]

    def close(self) -> None:
        """Let all executors end; those that do not are killed by `wait_closed`."""
        for child in self.children:
            child.release()

    def kill_all(self) -> None:
        """Kill all executors with everything below them."""
        for child in self.children:
            child.retired = True
            child.kill()

    def _space(self, child: Child) -> int:
        """Return how many more attempts an executor can take."""
        if not child.ready or child.retired or child.hung_up_at is not None:
            return 0
        if child.shared:
            return self._settings.worker.async_slots - len(child.outstanding)
        ahead = min(MOST_AHEAD, int(AHEAD_SECONDS / max(self._pace, 1e-6)))
        if child.outstanding and _is_stalled(child, time.monotonic()):
            ahead = 0
        return max(0, 1 + ahead - len(child.outstanding))

    def _needs_shared(self) -> bool:
        """Tell whether the app has tasks that share an executor, or may have: it starts soon."""
        return any(self.tasks.values()) if self.tasks else bool(self._settings.app)

    def _count(self, *, shared: bool) -> int:
        return sum(child.shared == shared for child in self.children)

    def _start(self, *, shared: bool) -> None:
        setup = Setup(
            app=self._settings.app,
            store=self._settings.store.url,
            worker_id=self._worker_id,
            spool=str(self._spool),
            number=self._number,
            shared=shared,
        )
        self._number += 1
        child = Child(setup)
        self.children.append(child)
        self.known_pids.add(child.pid)
        self._waiter.watch(child.line, lambda: self._hear(child))
        self._waiter.watch(child.pidfd, lambda: self._bury(child))

    def _hear(self, child: Child) -> None:
        for report in child.reports():
            match report:
                case Done():
                    self._take_done(child, report)
                case Said():
                    self._ends.said(report)
                case Hello():
                    child.ready = self._grown = True
                    self._failed_starts = 0
                    self._learn(report)
                case Unready():
                    self.unready = report
        if child.hung_up_at is not None:
            self._waiter.forget(child.line)

    def _end_silent(self, child: Child, since: float) -> None:
        if time.monotonic() - since < HUNG_UP_SECONDS:
            return  # it is dying most probably, and how it died tells more
        for held in child.running:
            held.asked = held.asked or Asked("hung_up")
        child.retired = True
        child.kill()

    def _learn(self, hello: Hello) -> None:
        self.tasks = hello.tasks
        self.app_store = hello.store
        for child in self.children:
            if child.shared and not child.retired and not self._needs_shared():
                child.release()

    def _take_done(self, child: Child, done: Done) -> None:
        held = child.settle(done)
        if held is None:
            return
        self._pace += _SMOOTHING * (done.wall - self._pace)
        if not child.shared and child.outstanding:
            child.outstanding[0].started = time.monotonic()
        self._ends.done(held, done)

    def _bury(self, child: Child) -> None:
        """See to the death of an executor: what it said, what it had, what it left."""
        if child.hung_up_at is None:
            self._hear(child)
        if child.hung_up_at is None:
            self._waiter.forget(child.line)
        waiting = child.take_back()
        lost = list(child.outstanding)
        self._waiter.forget(child.pidfd)
        self.children.remove(child)
        self.known_pids.discard(child.pid)
        end = child.bury()
        self._bury_orphans()
        rescue_sheets(self._spool, child.number)
        if not child.ready:
            self._failed_starts += 1
            backoff = min(_LONGEST_BACKOFF, 2.0 ** (self._failed_starts - 1))
            self._next_start = time.monotonic() + backoff
        if not child.retired:
            emit(ExecutorDied(child.pid, str(end)))
        self._ends.died(child, end, waiting, lost)

    def _bury_orphans(self) -> None:
        """End what dead executors left: as subreaper, the supervisor inherits it."""
        me = os.getpid()
        while orphans := [pid for pid in proc.children(me) if pid not in self.known_pids]:
            for pid in orphans:
                proc.kill_tree(pid, with_root=True)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _is_stalled(child: Child, now: float) -> bool:
    """Tell whether an exclusive executor is busy with an attempt that turned out to be long."""
    first = child.outstanding[0]
    if child.shared or first.started is None:
        return False
    return now - first.started > STALLED_SECONDS
