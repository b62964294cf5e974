"""Be the supervisor: claim, hand out, watch, report; one loop, no user code.

All is done by one thread but the moving of output, which can wait for nothing: see `Pump`.
"""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.core.clock import SystemClock
from holdfast.core.config import is_same_store, secret_values, without_password
from holdfast.core.errors import StoreUnavailable
from holdfast.core.events import (
    AppUnusable,
    SpoolUnusable,
    WorkerDraining,
    WorkerFenced,
    WorkerStarted,
    WorkerStopped,
    emit,
)
from holdfast.core.masking import Mask
from holdfast.core.models import WorkerState
from holdfast.core.verdict import Asked
from holdfast.store import StoreClock, open_store
from holdfast.worker import cgroup, proc
from holdfast.worker.appetite import Appetite
from holdfast.worker.calendar import Calendar
from holdfast.worker.desk import Desk
from holdfast.worker.exchange import Exchange
from holdfast.worker.guard import Guard
from holdfast.worker.heartbeat import Observer
from holdfast.worker.held import Held
from holdfast.worker.identity import new_identity
from holdfast.worker.janitor import Janitor
from holdfast.worker.limits import Limits
from holdfast.worker.loop import Duties, Duty, Waiter
from holdfast.worker.oom import OomWatch
from holdfast.worker.ownership import found
from holdfast.worker.pool import STALLED_SECONDS, Pool
from holdfast.worker.pump import Pump
from holdfast.worker.reaper import Reaper
from holdfast.worker.sidecars import Sidecars
from holdfast.worker.spool import leases_in
from holdfast.worker.standstill import Standstills

if TYPE_CHECKING:
    from holdfast.core.config import Settings

OK, BROKEN, FENCED = 0, 1, -1
CANCELS = 2  # place of that duty: the bell makes it due

_STORE_WAIT = 1.0  # seconds that the loop may be held up by a busy store
_BACKLOG_SECONDS = 1.0  # how long a claimed attempt may wait for an executor
_CLOSE_SECONDS = 15.0  # what executors and sidecars get to end


class Supervisor:
    """Run one incarnation of a worker from its registration to its goodbye."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._store = open_store(settings.store, self._clock)
        times = StoreClock(self._store)
        self._me = new_identity(settings.worker)
        spool = self._spool = settings.spool_dir / self._me.worker_id
        self._waiter = Waiter()
        self._place = cgroup.find().make_ready(self._me.worker_id)
        self._oom = OomWatch(self._place)
        self._limits = Limits(settings.worker, self._oom)
        known = Mask(secret_values(settings.secrets).values())
        self._desk = Desk(self._me, spool, self._oom, known, times)
        holders, wake = self._store.lock_holders, self._waiter.wake
        self._guard = Guard(spool, settings.worker, lambda: self._pool.children, holders, wake)
        self._pump = Pump(spool, self._guard)
        self._pool = Pool(
            settings, self._me.worker_id, spool, self._waiter, self._desk, self._place, self._pump
        )
        self._reaper = Reaper(self._store, self._me, spool, times, known)
        calendar = Calendar(self._store.workers, self._me.worker_id, self._clock)
        self._janitor = Janitor(self._store, settings.retention, calendar)
        self._standstills = Standstills(self._store, self._me.worker_id, self._guard.gauge)
        self._appetite = Appetite(
            self._pool, self._desk, self._guard.gauge, settings.worker.poll_seconds
        )
        me, queues = self._me.worker_id, settings.worker.queues
        self._exchange = Exchange(self._store, me, queues, self._desk, self._pool, self._clock)
        self._drain_until: float | None = None  # monotonic, once asked to stop
        self._registered = False
        self._fenced = False
        self._wake_at = 0.0
        self._spool_lock: int | None = None
        self._sidecars = Sidecars(settings, self._me.worker_id, spool, self._waiter)
        self._store.prepare()  # before anything is made beside it
        self._store.check_open()
        self._ear = self._store.bell.listen()
        self._duties = self._make_duties()

    def run(self) -> int:
        """Work until asked to stop; return OK, BROKEN (the app cannot be loaded) or FENCED."""
        try:
            if not self._start():
                return BROKEN
            while not self._finished():
                self._turn()
        finally:
            self._end()  # somebody may still ask to stop
        return FENCED if self._fenced and self._drain_until is None else OK

    def _start(self) -> bool:
        try:
            self._spool_lock = found(self._spool, self._store.url)
            cgroup.note(self._place, self._spool)
        except OSError as error:
            emit(SpoolUnusable(str(self._spool), error.strerror or str(error)))
            return False
        self._pump.start()
        proc.become_subreaper()
        self._waiter.on_signals((signal.SIGTERM, signal.SIGINT), self._ask_to_stop)
        self._waiter.watch(self._ear, self._rung)
        self._pool.fill()
        lease = self._settings.worker.lease_seconds
        observer = Observer(self._store.workers, self._me.worker_id, lease, self._clock)
        Duty("look around", lease, observer.look_around).run_if_due(self._clock)
        Duty("reaper", lease, self._reaper.run_once).run_if_due(self._clock)
        self._sidecars.start_heart(self._pool.known_pids, self._fence)
        while not self._is_ready() and self._pool.unready is None and self._drain_until is None:
            self._waiter.wait(0.1)
            self._pool.fill()
            self._sidecars.revive()
        if not self._app_is_usable():
            return False
        self._known_tasks = self._pool.tasks
        self._store.workers.register(self._me, self._known_tasks)
        self._registered = True
        self._sidecars.say_alive()
        self._sidecars.start_shipper(self._pool.known_pids)
        self._store.database.wait_seconds = _STORE_WAIT
        names = ", ".join(self._settings.worker.queues)
        executors = self._settings.worker.executors
        count, limits = len(self._pool.tasks), self._place.limits
        emit(WorkerStarted(self._me.worker_id, executors, names, count, limits))
        return True

    def _is_ready(self) -> bool:
        """Tell whether attempts can be carried out and beats counted: not before, it is known."""
        return self._pool.ready and self._sidecars.ready

    def _app_is_usable(self) -> bool:
        unready = self._pool.unready
        if unready is not None:
            emit(AppUnusable(self._settings.app, unready.problem, unready.traceback))
            return False
        theirs, ours = self._pool.app_store, self._settings.store.url
        if theirs and not is_same_store(theirs, ours):
            named, looked_at = map(without_password, (theirs, ours))
            problem = f"it enqueues to {named}, and this worker looks at {looked_at}; "
            problem += "name no store in the app, or give the worker the same: --store"
            emit(AppUnusable(self._settings.app, problem, ""))
            return False
        return True

    def _look_at_code(self) -> None:
        """Pass on what executors that were started later know, or why they cannot start."""
        if self._pool.unready is not None:
            self._app_is_usable()
            self._pool.unready = None
        if self._pool.tasks != self._known_tasks:
            self._store.workers.set_tasks(self._me.worker_id, self._pool.tasks)
            self._known_tasks = self._pool.tasks
            self._appetite.hungry = True

    def _make_duties(self) -> Duties:
        settings = self._settings.worker
        alive, alone = self._sidecars.say_alive, {"asks_store": False}
        found = [
            Duty("sign of life", settings.beat_seconds / 5, alive, **alone),
            Duty("executors", 0.1, self._pool.fill, **alone),
            Duty("cancels", settings.poll_seconds, self._look_for_cancels),
            Duty("sidecars", 0.1, self._sidecars.revive, **alone),
            Duty("code", 1.0, self._look_at_code),
            Duty("promote", 0.25, self._promote),
            Duty("standstills", 0.25, lambda: self._standstills.tell(self._pool.held())),
            Duty("progress", 0.5, self._store_progress),
            Duty("usage", 5.0, self._store_usage),
            Duty("reaper", 1.0, self._reaper.run_once, soon=0.05),
            Duty("log ends", 0.5, self._desk.endings.catch_up),
            Duty("reconcile", settings.lease_seconds, self._reconcile),
            Duty("unblock", settings.beat_seconds, self._store.leases.unblock_idle_keys),
            Duty("janitor", 60.0, self._janitor.has_more, soon=1.0),
        ]
        return Duties(found)

    def _turn(self) -> None:
        """Sleep until something happens, then do all that follows from it."""
        self._waiter.wait(self._wake_at - self._clock.monotonic())
        now = self._clock.monotonic()
        look_again = self._limits.check(self._pool.children, now)
        self._desk.backlog.extendleft(reversed(self._pool.take_back_stalled(now)))
        self._look_for_work(now)
        self._hand_out(now)
        next_due = self._duties.do(self._clock)
        if self._drain_until is not None:
            self._drain(now)
        self._wake_at = min(look_again, next_due, self._appetite.again_at)
        if self._desk.backlog or any(len(c.outstanding) > 1 for c in self._pool.children):
            self._wake_at = min(self._wake_at, now + STALLED_SECONDS)
        if self._desk.settlements or (self._appetite.hungry and any(self._wanted().values())):
            self._wake_at = min(self._wake_at, self._exchange.next_try(now))

    def _look_for_work(self, now: float) -> None:
        """Write outcomes and claim."""
        self._appetite.look(now)
        has_outcomes = bool(self._desk.settlements)
        wanted = self._wanted() if self._appetite.hungry or has_outcomes else {}
        if not has_outcomes and not any(wanted.values()):
            return
        claims = self._exchange.run(wanted, now)
        if claims is not None:
            self._appetite.took(claims, now)
            self._desk.backlog.extend(Held(claim, held_since=now) for claim in claims)
        elif self._exchange.fenced:
            self._fence()

    def _wanted(self) -> dict[bool, int]:
        if self._drain_until is not None or self._fenced:
            return {}
        return self._appetite.wanted()

    def _hand_out(self, now: float) -> None:
        backlog = self._desk.backlog
        if self._drain_until is not None:
            backlog.extend(self._pool.take_back_all())
            self._desk.release(backlog, "deploy")
            backlog.clear()
        if not self._guard.gauge.is_critical:
            self._pool.give(backlog)
        late = []
        while backlog and now - backlog[0].held_since > _BACKLOG_SECONDS:
            late.append(backlog.popleft())
        self._desk.release(late, "busy", self._pool.tasks)

    def _rung(self) -> None:
        self._ear.clear()
        self._appetite.rung(self._clock.monotonic(), self._ear.again_after)
        if self._pool.held():
            self._duties[CANCELS].due = 0.0

    def _look_for_cancels(self) -> None:
        if not self._pool.held():
            return
        asked = dict(self._store.leases.cancel_requests(self._me.worker_id))
        if not asked:
            return
        for child in self._pool.children:
            for held in child.running:
                if held.lease in asked:
                    self._limits.ask(child, held, Asked("cancel", by=asked[held.lease]))
        backlog = self._desk.backlog
        backlog.extend(self._pool.take_back(asked))
        for held in [held for held in backlog if held.lease in asked]:
            backlog.remove(held)
            self._desk.release([held], "busy")  # the store makes it cancelled

    def _promote(self) -> None:
        due = self._store.runs.next_due()
        if due is not None and due <= self._store.database.now() and self._store.runs.promote():
            self._store.bell.ring()

    def _store_progress(self) -> None:
        if self._desk.progress:
            self._store.leases.set_progress(self._desk.progress)
            self._desk.progress.clear()

    def _store_usage(self) -> None:
        usages = {h.lease: u for h in self._pool.held() if (u := h.usage()) is not None}
        if usages:
            self._store.leases.set_usage(usages)

    def _reconcile(self) -> None:
        if claims := self._exchange.unknown():
            self._reaper.give_back(claims)

    def _fence(self) -> None:
        """Learn that others hold this worker for dead: stop all it does, write nothing."""
        if not self._fenced:
            emit(WorkerFenced(self._me.worker_id))
            self._fenced = True
            for held in self._pool.held():
                held.asked = Asked("fenced")
            self._pool.kill_all()

    def _ask_to_stop(self) -> None:
        """Take SIGTERM or SIGINT: the first lets attempts finish, the second does not wait."""
        now = self._clock.monotonic()
        if self._drain_until is not None:
            self._drain_until = now
            return
        grace = self._settings.worker.drain_seconds
        self._drain_until = now + grace
        running = sum(len(child.running) for child in self._pool.children)
        emit(WorkerDraining(self._me.worker_id, running, grace))
        self._duties.append(Duty("say that it drains", 1.0, self._say_draining))
        self._wake_at = now

    def _say_draining(self) -> None:
        self._store.workers.set_state(self._me.worker_id, WorkerState.DRAINING)

    def _drain(self, now: float) -> None:
        assert self._drain_until is not None
        if now < self._drain_until:
            return
        for child in self._pool.children:
            for held in child.running:
                self._limits.ask(child, held, Asked("deploy"))

    def _finished(self) -> bool:
        if self._fenced:
            return not self._pool.held()
        if self._drain_until is None:
            return False
        return not (self._pool.held() or self._desk.backlog or self._desk.settlements)

    def _end(self) -> None:
        """Close what was opened; the shipper gets the time to send what is finished."""
        self._pool.close()
        self._sidecars.close()
        deadline = self._clock.monotonic() + _CLOSE_SECONDS
        while self._pool.children and self._clock.monotonic() < deadline:
            self._waiter.wait(0.1)
        self._pool.kill_all()
        self._sidecars.wait(deadline, self._clock)
        self._place.end_all(self._me.worker_id)
        self._place.give_back(self._me.worker_id)
        self._oom.close()
        self._pump.close()
        self._ear.close()
        self._waiter.close()
        if self._registered and not self._fenced:
            with suppress(StoreUnavailable):  # then its silence tells the others
                self._store.workers.set_state(self._me.worker_id, WorkerState.STOPPED)
            emit(WorkerStopped(self._me.worker_id))
        self._store.close()
        if not list(leases_in(self._spool)):
            shutil.rmtree(self._spool, ignore_errors=True)
        if self._spool_lock is not None:
            os.close(self._spool_lock)
