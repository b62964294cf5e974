"""Be the supervisor: claim, hand out, watch, report; one loop, no user code, one thread."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.core.clock import SystemClock
from holdfast.core.config import sqlite_path
from holdfast.core.errors import StoreUnavailable
from holdfast.core.events import (
    AppUnusable,
    AttemptFenced,
    StoreAway,
    StoreBack,
    WorkerDraining,
    WorkerFenced,
    WorkerStarted,
    WorkerStopped,
    emit,
)
from holdfast.core.models import WorkerState
from holdfast.core.verdict import Asked
from holdfast.store import open_store
from holdfast.worker import proc
from holdfast.worker.desk import Desk
from holdfast.worker.heartbeat import ALIVE, GOODBYE, HeartbeatSetup, Observer
from holdfast.worker.held import Held
from holdfast.worker.identity import new_identity
from holdfast.worker.janitor import Janitor
from holdfast.worker.limits import Limits
from holdfast.worker.loop import Duty, Waiter
from holdfast.worker.pool import STALLED_SECONDS, Pool
from holdfast.worker.reaper import Reaper
from holdfast.worker.shipper import ShipperSetup
from holdfast.worker.sidecar import Sidecar
from holdfast.worker.spool import found, leases_in

if TYPE_CHECKING:
    from holdfast.core.config import Settings
    from holdfast.core.models import Claim

OK, BROKEN, FENCED = 0, 1, -1
CANCELS = 2  # place of that duty: the bell makes it due

_STORE_WAIT = 1.0  # seconds that the loop may be held up by a busy store
_AWAY_PAUSE = 1.0  # seconds between tries while it is away
_BACKLOG_SECONDS = 1.0  # how long a claimed attempt may wait for an executor
_CLOSE_SECONDS = 15.0  # what executors and sidecars get to end


class Supervisor:
    """Run one incarnation of a worker from its registration to its goodbye."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._store = open_store(settings.store, self._clock)
        self._me = new_identity(settings.worker)
        spool = settings.spool_dir / self._me.worker_id
        self._spool = spool
        self._waiter = Waiter()
        self._limits = Limits(settings.worker)
        self._desk = Desk(self._me, spool, self._limits, self._clock)
        self._pool = Pool(settings, self._me.worker_id, spool, self._waiter, self._desk)
        self._reaper = Reaper(self._store, self._me, spool, self._clock)
        self._janitor = Janitor(self._store, settings.retention, self._clock)
        self._hungry = True  # there may be more to claim
        self._next_poll = 0.0
        self._away_until: float | None = None  # monotonic, while the store is away
        self._drain_until: float | None = None  # monotonic, once asked to stop
        self._fenced = False
        self._wake_at = 0.0
        self._spool_lock: int | None = None
        self._sidecars: tuple[Sidecar, ...] = ()
        self._ear = self._store.bell.listen()
        self._duties = self._make_duties()

    def run(self) -> int:
        """Work until asked to stop; return OK, BROKEN (the app cannot be loaded) or FENCED."""
        try:
            if not self._start():
                return BROKEN
            while not self._finished():
                self._turn()
            return FENCED if self._fenced and self._drain_until is None else OK
        finally:
            self._end()

    def _start(self) -> bool:
        self._store.prepare()
        self._spool_lock = found(self._spool, self._store.url)
        proc.become_subreaper()
        self._waiter.on_signals((signal.SIGTERM, signal.SIGINT), self._ask_to_stop)
        self._waiter.watch(self._ear, self._rung)
        self._pool.fill()
        lease = self._settings.worker.lease_seconds
        observer = Observer(self._store.workers, self._me.worker_id, lease, self._clock)
        Duty("look around", lease, observer.look_around).run_if_due(self._clock)
        Duty("reaper", lease, self._reaper.run_once).run_if_due(self._clock)
        while not self._pool.ready and self._pool.unready is None and self._drain_until is None:
            self._waiter.wait(1.0)
        if not self._app_is_usable():
            return False
        self._store.workers.register(self._me, self._pool.tasks)
        self._start_sidecars()
        self._store.database.wait_seconds = _STORE_WAIT
        names = ", ".join(self._settings.worker.queues)
        executors = self._settings.worker.executors
        emit(WorkerStarted(self._me.worker_id, executors, names, len(self._pool.tasks)))
        return True

    def _app_is_usable(self) -> bool:
        unready = self._pool.unready
        if unready is not None:
            emit(AppUnusable(self._settings.app, unready.problem, unready.traceback))
            return False
        theirs, ours = self._pool.app_store, self._settings.store.url
        if theirs and sqlite_path(theirs) != sqlite_path(ours):
            problem = f"it enqueues to {theirs}, and this worker looks at {ours}; "
            problem += "name no store in the app, or give the worker the same: --store"
            emit(AppUnusable(self._settings.app, problem, ""))
            return False
        return True

    def _start_sidecars(self) -> None:
        worker, store = self._settings.worker, self._settings.store
        beat = HeartbeatSetup(store, self._me.worker_id, worker.beat_seconds, worker.lease_seconds)
        ship = ShipperSetup(store, str(self._spool))
        pids = self._pool.known_pids
        self._heart = Sidecar("holdfast.worker.heartbeat", beat, self._waiter, pids, self._fence)
        self._shipper = Sidecar("holdfast.worker.shipper", ship, self._waiter, pids, _ignore)
        self._sidecars = (self._shipper, self._heart)

    def _make_duties(self) -> list[Duty]:
        settings = self._settings.worker
        return [
            Duty("sign of life", settings.beat_seconds / 5, lambda: self._heart.say(ALIVE)),
            Duty("executors", 0.1, self._pool.fill),
            Duty("cancels", settings.poll_seconds, self._look_for_cancels),
            Duty("promote", 0.25, self._promote),
            Duty("progress", 0.5, self._store_progress),
            Duty("reaper", 1.0, self._reaper.run_once),
            Duty("reconcile", settings.lease_seconds, self._reconcile),
            Duty("unblock", settings.beat_seconds, self._store.leases.unblock_idle_keys),
            Duty("janitor", 60.0, self._janitor.run_once),
        ]

    def _turn(self) -> None:
        """Sleep until something happens, then do all that follows from it."""
        self._waiter.wait(self._wake_at - self._clock.monotonic())
        now = self._clock.monotonic()
        look_again = self._limits.check(self._pool.children, now)
        self._desk.backlog.extendleft(reversed(self._pool.take_back_stalled(now)))
        self._exchange(now)
        self._hand_out(now)
        for duty in self._duties:
            duty.run_if_due(self._clock)
        if self._drain_until is not None:
            self._drain(now)
        self._wake_at = min(look_again, *(duty.due for duty in self._duties))
        if self._desk.backlog or any(len(c.outstanding) > 1 for c in self._pool.children):
            self._wake_at = min(self._wake_at, now + STALLED_SECONDS)
        if self._desk.settlements or (self._hungry and any(self._wanted().values())):
            self._wake_at = max(now, self._away_until or 0.0)

    def _exchange(self, now: float) -> None:
        """Write outcomes and claim, in one transaction."""
        if self._away_until is not None and now < self._away_until:
            return
        settlements = self._desk.settlements
        self._hungry = self._pool.has_grown() or self._hungry or now >= self._next_poll
        wanted = self._wanted() if self._hungry or settlements else {}
        if not settlements and not any(wanted.values()):
            return
        queues = self._settings.worker.queues
        try:
            lost, claims = self._store.leases.settle_and_claim(
                self._me.worker_id, settlements, wanted, queues
            )
        except StoreUnavailable as error:
            self._lose_store(error, now)
            return
        self._find_store()
        for lease in lost:
            emit(AttemptFenced(*lease))
        settlements.clear()
        if claims is None:
            self._fence(b"")
            return
        self._take(claims, now)

    def _take(self, claims: list[Claim], now: float) -> None:
        self._hungry = bool(claims)  # where some were, more may be
        self._next_poll = now + self._settings.worker.poll_seconds
        self._desk.backlog.extend(Held(claim, held_since=now) for claim in claims)

    def _wanted(self) -> dict[bool, int]:
        if self._drain_until is not None or self._fenced:
            return {}
        room = self._pool.room()
        for held in self._desk.backlog:
            room[self._pool.shares(held)] -= 1
        return {shared: max(0, count) for shared, count in room.items()}

    def _hand_out(self, now: float) -> None:
        backlog = self._desk.backlog
        if self._drain_until is not None:
            backlog.extend(self._pool.take_back_all())
            self._desk.release(backlog, "deploy")
            backlog.clear()
        for _ in range(len(backlog)):
            held = backlog.popleft()
            if not self._pool.give(held):
                backlog.append(held)
        while backlog and now - backlog[0].held_since > _BACKLOG_SECONDS:
            self._desk.release([backlog.popleft()], "busy")

    def _lose_store(self, error: StoreUnavailable, now: float) -> None:
        if self._away_until is None:
            emit(StoreAway(len(self._desk.settlements), error.problem))
        self._away_until = now + _AWAY_PAUSE

    def _find_store(self) -> None:
        if self._away_until is not None:
            self._away_until = None
            emit(StoreBack())

    def _rung(self) -> None:
        self._ear.clear()
        self._hungry = True
        if self._pool.held():
            self._duties[CANCELS].due = 0.0

    def _look_for_cancels(self) -> None:
        if not self._pool.held():
            return
        asked = dict(self._store.leases.cancel_requests(self._me.worker_id))
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
        if due is not None and due <= self._clock.now() and self._store.runs.promote():
            self._store.bell.ring()

    def _store_progress(self) -> None:
        if self._desk.progress:
            self._store.leases.set_progress(self._desk.progress)
            self._desk.progress.clear()

    def _reconcile(self) -> None:
        known = {held.lease for held in (*self._pool.held(), *self._desk.backlog)}
        self._reaper.reconcile(known | {s.lease for s in self._desk.settlements})

    def _fence(self, _words: bytes) -> None:
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
        idle = not (self._pool.held() or self._desk.backlog or self._desk.settlements)
        return self._drain_until is not None and idle

    def _end(self) -> None:
        """Close what was opened; the shipper gets the time to send what is finished."""
        self._pool.close()
        for sidecar in self._sidecars:
            sidecar.close(b"" if sidecar is self._shipper else GOODBYE)
        deadline = self._clock.monotonic() + _CLOSE_SECONDS
        while self._pool.children and self._clock.monotonic() < deadline:
            self._waiter.wait(0.1)
        self._pool.kill_all()
        for sidecar in self._sidecars:
            sidecar.wait(max(0.0, deadline - self._clock.monotonic()))
        self._ear.close()
        self._waiter.close()
        if self._sidecars and not self._fenced:
            with suppress(StoreUnavailable):  # then its silence tells the others
                self._store.workers.set_state(self._me.worker_id, WorkerState.STOPPED)
            emit(WorkerStopped(self._me.worker_id))
        self._store.close()
        if not list(leases_in(self._spool)):
            shutil.rmtree(self._spool, ignore_errors=True)
        if self._spool_lock is not None:
            os.close(self._spool_lock)


def _ignore(_words: bytes) -> None:
    """Hear what the shipper says: nothing."""
