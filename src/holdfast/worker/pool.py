"""Keep the executors of one worker: start them, give them attempts, replace the dead."""

from __future__ import annotations

import os
import time
from collections import ChainMap
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from holdfast.core.events import DutyFailed, ExecutorDied, ExecutorLeft, emit
from holdfast.core.verdict import Asked
from holdfast.worker import proc
from holdfast.worker.child import Child, Exit
from holdfast.worker.protocol import Done, Hello, Leaving, Said, Setup, Unready

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Collection
    from pathlib import Path

    from holdfast.core.config import Settings
    from holdfast.core.models import Lease
    from holdfast.worker.cgroup import Group, Place
    from holdfast.worker.held import Held
    from holdfast.worker.loop import Waiter
    from holdfast.worker.pump import Pump

AHEAD_SECONDS = 0.02  # how much work an executor may have waiting in its socket
MOST_AHEAD = 400
HUNG_UP_SECONDS = 0.5  # between the end of its line and the end of an executor
STALLED_SECONDS = 0.05  # a longer attempt must not keep those behind it waiting
_SMOOTHING = 0.2
_BURIAL_SECONDS = 0.25  # that the loop waits for the end of what an executor left
_TRY_AGAIN = 0.001
_LONGEST_BACKOFF = 30.0


class Ends(Protocol):
    """Take what comes of the attempts that executors were given."""

    def done(self, child: Child, held: Held, done: Done) -> None:
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
        place: Place,
        pump: Pump,
    ) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._spool = spool
        self._waiter = waiter
        self._ends = ends
        self._place = place
        self._pump = pump
        self._emptied: list[Group] = []  # groups of dead executors
        self.children: list[Child] = []
        self.tasks: dict[str, bool] = {}  # what they can carry out, and whether they may share it
        self.unready: Unready | None = None
        self._grown = False
        self.app_store = ""
        self.known_pids: set[int] = set()  # other child processes of the supervisor
        self._staying: set[int] = set()  # orphans that were killed and have not ended
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
        self._emptied = [group for group in self._emptied if not group.remove()]
        if self._staying or _is_first():
            self._bury_orphans(within=0.0)
        missing = [False] * (self._settings.worker.executors - self._count(shared=False))
        if self._needs_shared() and not self._count(shared=True):
            missing.append(True)
        for shared in missing:
            if time.monotonic() >= self._next_start:
                self._start(shared=shared)

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

    def give(self, waiting: deque[Held]) -> None:
        """Hand out what waits, each to the executor with the least to do; the rest stays."""
        space = {child: self._space(child) for child in self.children}
        now = time.monotonic()
        for _ in range(len(waiting)):
            held = waiting.popleft()
            if not self._give(held, space, now):
                waiting.append(held)

    def _give(self, held: Held, space: dict[Child, int], now: float) -> bool:
        shared = self.shares(held)
        task = held.claim.task
        fit = [
            c for c, room in space.items() if room > 0 and c.shared == shared and task in c.tasks
        ]
        if not fit:
            return False
        child = min(fit, key=_load) if len(fit) > 1 else fit[0]
        idle = shared or not child.outstanding
        if not child.start(held):
            space[child] = 0
            return self._give(held, space, now)
        space[child] -= 1
        if idle:
            held.started = now
        return True

    def take_back_stalled(self, now: float) -> list[Held]:
        """Take back what waits behind an attempt that turned out to be long, or is paused."""
        back: list[Held] = []
        for child in self.children:
            if len(child.outstanding) > 1 and (child.paused or _is_stalled(child, now)):
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
        if not child.ready or child.retired or child.paused or child.hung_up_at is not None:
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
            shared=shared,
            group=self._place.make(self._worker_id, self._number),
        )
        self._number += 1
        try:
            child = Child(setup)
        except OSError as error:  # no room for one more process, or no descriptor
            self._emptied.append(setup.group)
            self._put_off_starts()
            emit(DutyFailed("executors", f"{type(error).__name__}: {error}"))
            return
        self.children.append(child)
        self.known_pids.add(child.pid)
        self._pump.add(child)
        self._waiter.watch(child.line, lambda: self._hear(child))
        self._waiter.watch(child.pidfd, lambda: self._bury(child))

    def _put_off_starts(self) -> None:
        """Let a while pass after a start that failed, and a longer one after the next."""
        self._failed_starts += 1
        backoff = min(_LONGEST_BACKOFF, 2.0 ** (self._failed_starts - 1))
        self._next_start = time.monotonic() + backoff

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
                    self._learn(child, report)
                case Unready():
                    self.unready = report
                case Leaving():
                    child.retired = True
                    emit(ExecutorLeft(child.pid, report.reason))
        if child.hung_up_at is not None:
            self._waiter.forget(child.line)

    def _end_silent(self, child: Child, since: float) -> None:
        if time.monotonic() - since < HUNG_UP_SECONDS:
            return  # it is dying most probably, and how it died tells more
        for held in child.running:
            held.asked = held.asked or Asked("hung_up")
        child.retired = True
        child.kill()

    def _learn(self, child: Child, hello: Hello) -> None:
        child.tasks = hello.tasks
        self.app_store = hello.store
        self._count_tasks()
        for other in self.children:
            if other.shared and not other.retired and not self._needs_shared():
                other.release()

    def _count_tasks(self) -> None:
        """Note what some executor can carry out: code that changes reaches the new ones first."""
        ready = [child.tasks for child in self.children if child.ready and not child.retired]
        self.tasks = dict(ChainMap(*reversed(ready))) or self.tasks

    def _take_done(self, child: Child, done: Done) -> None:
        held = child.settle(done)
        if held is None:
            return
        self._pace += _SMOOTHING * (done.wall - self._pace)
        if not child.shared and child.outstanding:
            child.outstanding[0].started = time.monotonic()
        self._ends.done(child, held, done)

    def _bury(self, child: Child) -> None:
        """See to the death of an executor: what it said, what it had, what it left."""
        if child.hung_up_at is None:
            self._hear(child)
        if child.hung_up_at is None:
            self._waiter.forget(child.line)
        waiting = child.take_back()
        lost = list(child.outstanding)
        self._waiter.forget(child.pidfd)
        self._pump.forget(child)
        self.children.remove(child)
        self._count_tasks()
        self.known_pids.discard(child.pid)
        end = child.bury()
        self._bury_orphans(within=_BURIAL_SECONDS)
        if not child.ready:
            self._put_off_starts()
        if not child.retired:
            emit(ExecutorDied(child.pid, str(end)))
        self._ends.died(child, end, waiting, lost)
        self._emptied.append(child.group)

    def _bury_orphans(self, within: float) -> None:
        """End what dead executors left: as subreaper, the supervisor inherits it.

        As the first process of a container it inherits what others left, too: that is only buried.
        What is of another user, or hung in the kernel, does not end in time; `fill` looks again.
        """
        deadline = time.monotonic() + within
        seen: set[int] = set()
        stayed, self._staying = self._staying, set()
        while new := set(proc.children(os.getpid())) - self.known_pids - seen:
            seen |= new
            for pid in new:
                if pid in stayed:
                    proc.kill_all([pid])  # it may have changed its user since
                elif not _is_first() or proc.has_marks(pid, {proc.MARKER: self._worker_id}):
                    proc.kill_tree(pid, with_root=True)
                    _wait_for_end(pid, deadline)
                else:
                    _has_ended(pid)
                    continue
                if not _has_ended(pid):
                    self._staying.add(pid)


def _has_ended(pid: int) -> bool:
    """Bury a child process if it has ended, and tell whether it is gone."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    return True


def _wait_for_end(pid: int, deadline: float) -> None:
    """Wait for a child process that was killed; no longer than until a monotonic time."""
    while proc.start_time(pid) and time.monotonic() < deadline and not proc.is_out_of_reach(pid):
        time.sleep(_TRY_AGAIN)


def _is_first() -> bool:
    """Tell whether this is process number 1, of a container most probably."""
    return os.getpid() == 1


def _load(child: Child) -> int:
    return len(child.outstanding)


def _is_stalled(child: Child, now: float) -> bool:
    """Tell whether an exclusive executor is busy with an attempt that turned out to be long."""
    first = child.outstanding[0]
    if child.shared or first.started is None:
        return False
    return now - first.started > STALLED_SECONDS
