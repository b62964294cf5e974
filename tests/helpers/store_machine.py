"""The store against a simple model of itself, for `tests/store/test_model.py`.

Leases stay in a bundle for ever, so that workers which lost them act at random. The promises are
numbered as in the findings of a torture:

S1  every accepted run is in the store; S3 nothing else is
S2  an ended run stays as it ended until somebody retries it
S4  who succeeded was carried out; S7 the stored result is that of the attempt that ended the run
S5  no attempt begins after the end of its run; S6 attempt numbers only grow and none is used twice
S8  one dedupe key is one run at a time
S10 whoever holds a lease has the highest token
S11 no more runs of a concurrency key at once than its limit
S13 what is told of an attempt is what was accepted

Any step may meet one of the five faults of `faulty.py`; a step that the store says was not done
changes nothing, and one that may have been done is repeated, which changes nothing either.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from helpers.databases import IN_MEMORY, fresh_store
from helpers.factories import a_new_run, a_settlement, a_worker, declare_dead
from helpers.faulty import DONE_THEN_ERROR, FAULTS, OWNERSHIP_LOST, Faults
from holdfast.core.clock import SECOND
from holdfast.core.errors import NotAllowed, StoreUnavailable
from holdfast.core.models import Claim, Lease, NewRun, WorkerState
from holdfast.core.states import FINAL_STATES, LIVE_STATES, AttemptOutcome, RunState
from holdfast.core.verdict import Evidence, Raised, judge
from holdfast.store.runs import RunFilter

LIMITS = {"x": 1, "y": 2}
OUTCOMES = {
    "succeeded": (AttemptOutcome.SUCCEEDED, RunState.SUCCEEDED),
    "failed": (AttemptOutcome.FAILED, RunState.FAILED),
    "failed, again later": (AttemptOutcome.FAILED, RunState.SCHEDULED),
    "crashed": (AttemptOutcome.CRASHED, RunState.QUARANTINED),
    "crashed, again": (AttemptOutcome.CRASHED, RunState.QUEUED),
    "cancelled": (AttemptOutcome.CANCELLED, RunState.CANCELLED),
    "released": (AttemptOutcome.RELEASED, RunState.QUEUED),
    "snoozed": (AttemptOutcome.SNOOZED, RunState.SCHEDULED),
}


@dataclass
class ModelRun:
    """What must be true of one run."""

    new: NewRun
    state: RunState
    due_at: int | None = None
    attempt: int = 0
    holder: Holding | None = None
    cancel_asked: bool = False
    has_dedupe_key: bool = True
    ended_by: int | None = None  # the attempt whose outcome ended it; None: cancelled unstarted

    @property
    def is_live(self):
        return self.state in LIVE_STATES


@dataclass(frozen=True)
class Holding:
    """A claim in the hands of a worker, whether it still holds it or not."""

    worker_id: str
    claimed: Claim


NOT_DONE = object()
WHATEVER = st.sampled_from([None] * 8 + [fault for fault in FAULTS if fault != OWNERSHIP_LOST])
EVEN_LATE = st.sampled_from([None] * 8 + [*FAULTS] + [OWNERSHIP_LOST])


def certificate(how):
    """What tells of an end."""
    evidence = Evidence(raised=Raised(how, "", ""))
    return msgspec.json.encode(judge(evidence)).decode()


class StoreMachine(RuleBasedStateMachine):
    """Do anything to a store in any order, and compare it with the model after each step."""

    template = None
    spoil = None  # a function that takes a guard away from the store
    struck = None  # a Counter of the faults that there were

    runs = Bundle("runs")
    holdings = Bundle("holdings")

    @initialize()
    def open(self):
        self.folder = tempfile.mkdtemp(prefix="holdfast-model-", dir=IN_MEMORY)
        self.store = fresh_store(self.template, self.folder)
        if self.spoil:
            self.spoil(self.store)
        self.faults = Faults(self.store.database, self.struck)
        self.clock = self.store.database.clock
        self.model = {}
        self.taken = []
        self.settled = {}  # lease -> (worker, settlement) that was accepted
        self.sinks = {}  # run -> the highest token that its sink has seen
        self.workers = [a_worker(self.store), a_worker(self.store)]

    def teardown(self):
        try:
            self.drain()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)

    def call(self, fault, do, again=None, meanwhile=lambda: None):
        """Do something, with a fault in its way; who does not know whether it is done repeats it.

        Returns NOT_DONE when the store says that nothing was done.
        """
        with self.faults.next(fault, meanwhile):
            try:
                return do()
            except StoreUnavailable as error:
                unknown = error.unknown
        assert unknown == (fault == DONE_THEN_ERROR), "it says what it knows"
        return (again or do)() if unknown else NOT_DONE

    # What users do

    @rule(
        target=runs,
        dedupe_key=st.sampled_from([None, None, "a", "b"]),
        key=st.sampled_from([None, "x", "y"]),
        delay=st.sampled_from([0, 0, 10]),
        priority=st.sampled_from([0, 0, 5]),
        fault=WHATEVER,
    )
    def submit(self, dedupe_key, key, delay, priority, fault):
        new = a_new_run(
            dedupe_key=dedupe_key,
            concurrency_key=key,
            concurrency_limit=LIMITS.get(key, 1),
            priority=priority,
            due_at=self.clock.now() + delay * SECOND if delay else None,
        )
        return self.accept(new, fault)

    @rule(run_id=runs, fault=WHATEVER)
    def submit_again(self, run_id, fault):
        self.accept(self.model[run_id].new, fault)

    def accept(self, new, fault=None):
        expected = self.expected_id(new)
        ids = self.call(fault, lambda: self.store.runs.insert([new]))
        if ids is NOT_DONE:
            return multiple()
        (run_id,) = ids
        assert expected == run_id, "S8: one key, one run"
        if run_id not in self.model:
            state = RunState.SCHEDULED if new.due_at else RunState.QUEUED
            self.model[run_id] = ModelRun(new, state, new.due_at)
        return run_id

    def expected_id(self, new):
        if new.run_id not in self.model and new.dedupe_key is not None:
            for run_id, run in self.model.items():
                if run.is_live and run.has_dedupe_key and run.new.dedupe_key == new.dedupe_key:
                    return run_id
        return new.run_id

    @rule(run_id=runs, fault=WHATEVER)
    def cancel(self, run_id, fault):
        run = self.model[run_id]
        if not run.is_live:
            with pytest.raises(NotAllowed):
                self.store.runs.cancel(run_id, by="anna")
            return
        answer = self.call(
            fault,
            lambda: self.store.runs.cancel(run_id, by="anna"),
            again=lambda: self.cancel_again(run_id),
        )
        if answer is NOT_DONE:
            return
        if run.state == RunState.RUNNING:
            assert RunState.RUNNING == answer
            run.cancel_asked = True
        else:
            assert RunState.CANCELLED == answer
            run.state, run.ended_by = RunState.CANCELLED, None

    def cancel_again(self, run_id):
        try:
            return self.store.runs.cancel(run_id, by="anna")
        except NotAllowed as error:
            return error.state

    @rule(target=holdings, run_id=runs)
    def retry_and_claim(self, run_id):
        self.retry(run_id, None)
        return self.claim(0, 3, None)

    @rule(run_id=runs, fault=WHATEVER)
    def retry(self, run_id, fault):
        run = self.model[run_id]
        if run.is_live:
            with pytest.raises(NotAllowed):
                self.store.runs.retry(run_id)
            return
        if NOT_DONE is self.call(
            fault, lambda: self.store.runs.retry(run_id), again=lambda: self.retry_again(run_id)
        ):
            return
        run.has_dedupe_key = not any(
            other.is_live and other.has_dedupe_key and other.new.dedupe_key == run.new.dedupe_key
            for other in self.model.values()
        )
        run.state, run.ended_by = RunState.QUEUED, None

    def retry_again(self, run_id):
        with pytest.raises(NotAllowed):
            self.store.runs.retry(run_id)

    # What workers do

    @rule(target=holdings, worker=st.integers(0, 1), count=st.integers(1, 3), fault=EVEN_LATE)
    def claim(self, worker, count, fault):
        worker_id = self.workers[worker]
        return self.exchange_with(worker_id, [], count, fault)

    @rule(
        target=holdings,
        holding=holdings,
        hows=st.lists(st.sampled_from(sorted(OUTCOMES)), min_size=1, max_size=3),
        count=st.integers(0, 3),
        late=st.booleans(),
        fault=EVEN_LATE,
    )
    def exchange(self, holding, hows, count, late, fault):
        """Write several outcomes and claim, as a supervisor does, whoever holds them by now."""
        zombies = self.zombies()
        holding = zombies[0] if late and zombies else holding
        worker_id = holding.worker_id
        theirs = [other for other in self.taken if other.worker_id == worker_id]
        chosen = list(dict.fromkeys([holding, *reversed(theirs)]))
        settlements = [self.settlement(*pair) for pair in zip(chosen, hows, strict=False)]
        self.clock.advance(0.001)
        return self.exchange_with(worker_id, settlements, count, fault)

    def exchange_with(self, worker_id, settlements, count, fault):
        answer = self.call(
            fault,
            lambda: self.store.leases.settle_and_claim(
                worker_id, settlements, {False: count}, ("*",)
            ),
            again=lambda: self.exchange_again(worker_id, settlements),
            meanwhile=lambda: self.lose(worker_id),
        )
        if answer is NOT_DONE:
            return multiple()
        lost, claims = answer
        wrongly = [s.lease for s in settlements if not self.may_be_written(worker_id, s)]
        assert sorted(wrongly) == sorted(lost), "exactly the leases that are not held are refused"
        for settlement in settlements:
            if settlement.lease not in lost:
                self.apply(worker_id, settlement)
        is_dead = worker_id not in self.workers
        assert not count or is_dead == (claims is None), "who is held for dead learns it"
        taken = [Holding(worker_id, claimed) for claimed in claims or []]
        for holding in taken:
            self.take(holding)
        return multiple(*taken)

    def exchange_again(self, worker_id, settlements):
        """Repeat what may have been done; what was claimed is found as what nobody knows of."""
        known = {holding.claimed.lease for holding in self.taken}
        held = [claim for claim in self.store.leases.held(worker_id) if claim.lease not in known]
        is_dead = worker_id not in self.workers
        return self.store.leases.settle(worker_id, settlements), None if is_dead else held

    def is_held(self, worker_id, lease):
        holder = self.model[lease.run_id].holder
        return holder is not None and (holder.worker_id, holder.claimed.lease) == (worker_id, lease)

    def may_be_written(self, worker_id, settlement):
        """Of a worker that is held for dead only a success counts, and what a reaper writes."""
        believed = settlement.reaped or settlement.outcome == AttemptOutcome.SUCCEEDED
        return self.is_held(worker_id, settlement.lease) and (believed or worker_id in self.workers)

    def lose(self, worker_id):
        """Let others hold a worker for dead, and take its runs back."""
        if worker_id in self.workers:
            self.declare_dead(self.workers.index(worker_id), None)
            self.reap(None)

    def take(self, holding):
        run_id, attempt = holding.claimed.lease
        run = self.model[run_id]
        assert run.state == RunState.QUEUED, "S5: only a queued run can be claimed"
        assert attempt == run.attempt + 1, "S6: attempts are counted, none twice"
        run.state, run.attempt, run.holder = RunState.RUNNING, attempt, holding
        self.taken.append(holding)

    @rule(holding=holdings)
    def offer(self, holding):
        """Write to a sink that takes no lower token than the highest that it has seen."""
        run_id, attempt = holding.claimed.lease
        highest = self.sinks.get(run_id, 0)
        if self.is_held(holding.worker_id, holding.claimed.lease):
            assert attempt >= highest, "S10: the owner is never refused"
        self.sinks[run_id] = max(highest, attempt)

    @rule(holding=holdings, late=st.booleans(), how=st.sampled_from(sorted(OUTCOMES)))
    def settle_any(self, holding, late, how):
        zombies = self.zombies()
        self.settle(zombies[0] if late and zombies else holding, how)

    def settle(self, holding, how):
        self.exchange_with(holding.worker_id, [self.settlement(holding, how)], 0, None)
        self.clock.advance(0.001)

    def settlement(self, holding, how):
        outcome, state = OUTCOMES[how]
        return a_settlement(
            holding.claimed,
            outcome,
            state=state,
            finished_at=self.clock.now(),
            due_at=self.clock.now() + 5 * SECOND if state == RunState.SCHEDULED else None,
            result=f'"{holding.claimed.attempt}"' if state == RunState.SUCCEEDED else None,
            certificate=certificate(how) if how != "succeeded" else None,
        )

    def zombies(self):
        """Claims that were lost, of runs that somebody else carries out now."""
        running = {id_ for id_, run in self.model.items() if run.state == RunState.RUNNING}
        return [
            holding
            for holding in self.taken
            if holding.claimed.run_id in running
            and self.model[holding.claimed.run_id].holder != holding
        ]

    @rule(holding=holdings)
    def settle_again(self, holding):
        if holding.claimed.lease in self.settled:
            worker_id, settlement = self.settled[holding.claimed.lease]
            assert [] == self.store.leases.settle(worker_id, [settlement]), "it was accepted before"

    def apply(self, worker_id, settlement):
        run = self.model[settlement.run_id]
        self.settled[settlement.lease] = worker_id, settlement
        if run.cancel_asked and settlement.state not in FINAL_STATES:
            settlement = msgspec.structs.replace(settlement, state=RunState.CANCELLED)
        run.state, run.due_at = settlement.state, settlement.due_at
        run.holder, run.cancel_asked = None, False
        run.ended_by = run.attempt if settlement.state in FINAL_STATES else None

    @rule(holding=consumes(holdings))
    def forget(self, holding):
        """A claim whose answer was lost: nobody will ever settle it, until its worker dies."""

    # What time and other workers do

    @rule(seconds=st.sampled_from([1, 10]), fault=WHATEVER)
    def promote(self, seconds, fault):
        self.clock.advance(seconds)
        if self.call(fault, self.store.runs.promote) is NOT_DONE:
            return
        for run in self.model.values():
            if run.state == RunState.SCHEDULED and run.due_at <= self.clock.now():
                run.state = RunState.QUEUED

    @rule(fault=WHATEVER)
    def unblock(self, fault):
        self.call(fault, self.store.leases.unblock_idle_keys)

    @rule(worker=st.integers(0, 1), fault=WHATEVER)
    def declare_dead(self, worker, fault):
        worker_id = self.workers[worker]
        if self.call(fault, lambda: declare_dead(self.store, worker_id)) is not NOT_DONE:
            assert WorkerState.DEAD == self.store.workers.get(worker_id).state
            self.workers[worker] = a_worker(self.store)

    @rule(fault=WHATEVER)
    def reap(self, fault):
        told = {"certificate": certificate("lost"), "reaped": True}
        for worker in self.store.workers.gone_with_leases():
            held = self.store.leases.held(worker.worker_id)
            lost = [a_settlement(one, AttemptOutcome.LOST, **told) for one in held]
            self.exchange_with(worker.worker_id, lost, 0, fault)

    @rule(target=holdings, worker=st.integers(0, 1))
    def take_over(self, worker):
        """The most frequent way to become a zombie, which chance alone seldom finds."""
        self.declare_dead(worker, None)
        self.reap(None)
        return self.claim(1 - worker, 3, None)

    # What must be true after every step

    @invariant()
    def the_store_is_as_the_model_says(self):
        found = {run.run_id: run for run in self.store.runs.list(RunFilter(limit=1000))}
        assert set(self.model) == set(found), "S1 and S3: exactly the accepted runs are there"
        for run_id, run in self.model.items():
            stored = found[run_id]
            assert run.state == stored.state, "S2: nothing else has changed the state"
            assert run.attempt == (stored.attempt or 0), "S6: only a claim counts an attempt"
            assert run.cancel_asked == (stored.cancel_by is not None)
            if run.state == RunState.RUNNING:
                assert run.holder.worker_id == stored.worker_id
            if run.state == RunState.SUCCEEDED:
                assert f'"{run.ended_by}"' == stored.result, "S7: the result of that attempt"

    @invariant()
    def no_key_is_over_its_limit(self):
        for key, limit in LIMITS.items():
            assert len(self.store.runs.holding_key(key)) <= limit, "S11"

    def drain(self):
        """Let all workers die, and a new one work: every run ends, and its history adds up."""
        for worker in range(2):
            self.declare_dead(worker, None)
        self.reap(None)
        for _ in range(100):
            if not any(run.is_live for run in self.model.values()):
                break
            self.promote(100, None)
            self.unblock(None)
            before = len(self.taken)
            self.claim(0, 3, None)
            for holding in self.taken[before:]:
                self.settle(holding, "succeeded")
        self.the_store_is_as_the_model_says()
        assert not [run for run in self.model.values() if run.is_live], "every run ends"
        for run_id, run in self.model.items():
            self.history_adds_up(run_id, run)

    def history_adds_up(self, run_id, run):
        attempts = self.store.runs.attempts(run_id)
        assert list(range(1, run.attempt + 1)) == [a.attempt for a in attempts], "S6"
        if run.state == RunState.SUCCEEDED:
            assert AttemptOutcome.SUCCEEDED == attempts[-1].outcome, "S4"
        for attempt in attempts:
            worker_id, settled = self.settled[Lease(run_id, attempt.attempt)]
            accepted = worker_id, settled.outcome, settled.certificate, settled.finished_at
            stored = attempt.worker_id, attempt.outcome, attempt.certificate, attempt.finished_at
            assert accepted == stored, "S13: what was accepted is what is told"
