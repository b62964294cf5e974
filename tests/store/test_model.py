"""The store against a simple model of itself: random histories, with zombies, keep the promises.

Leases stay in a bundle for ever, so that workers which lost them act at random. The promises are
numbered as in the reliability notes:

S1  every accepted run is in the store; S3 nothing else is
S2  an ended run stays as it ended until somebody retries it
S4  who succeeded was carried out; S7 the stored result is that of the attempt that ended the run
S5  no attempt begins after the end of its run; S6 attempt numbers only grow and none is used twice
S8  one dedupe key is one run at a time
S11 no more runs of a concurrency key at once than its limit

`test_the_machine_finds_a_missing_guard` takes one guard away at a time and expects the machine to
notice: a check that cannot fail proves nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from helpers.databases import fresh_store
from helpers.factories import a_new_run, a_settlement, a_worker, claim, declare_dead
from holdfast.core.clock import SECOND
from holdfast.core.errors import NotAllowed
from holdfast.core.models import Claim, NewRun
from holdfast.core.states import FINAL_STATES, LIVE_STATES, AttemptOutcome, RunState
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


class StoreMachine(RuleBasedStateMachine):
    """Do anything to a store in any order, and compare it with the model after each step."""

    template = None
    statements = None  # name -> SQL, to take a guard away

    runs = Bundle("runs")
    holdings = Bundle("holdings")

    @initialize()
    def open(self):
        self.folder = tempfile.mkdtemp(prefix="holdfast-model-")
        self.store = fresh_store(self.template, self.folder)
        self.store.database._sql = {**self.store.database._sql, **(self.statements or {})}
        self.clock = self.store.database.clock
        self.model = {}
        self.taken = []
        self.settled = {}  # lease -> (worker, settlement) that was accepted
        self.workers = [a_worker(self.store), a_worker(self.store)]

    def teardown(self):
        try:
            self.drain()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)

    # What users do

    @rule(
        target=runs,
        dedupe_key=st.sampled_from([None, None, "a", "b"]),
        key=st.sampled_from([None, "x", "y"]),
        delay=st.sampled_from([0, 0, 10]),
        priority=st.sampled_from([0, 0, 5]),
    )
    def submit(self, dedupe_key, key, delay, priority):
        new = a_new_run(
            dedupe_key=dedupe_key,
            concurrency_key=key,
            concurrency_limit=LIMITS.get(key, 1),
            priority=priority,
            due_at=self.clock.now() + delay * SECOND if delay else None,
        )
        return self.accept(new)

    @rule(run_id=runs)
    def submit_again(self, run_id):
        self.accept(self.model[run_id].new)

    def accept(self, new):
        expected = self.expected_id(new)
        (run_id,) = self.store.runs.insert([new])
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

    @rule(run_id=runs)
    def cancel(self, run_id):
        run = self.model[run_id]
        if not run.is_live:
            with pytest.raises(NotAllowed):
                self.store.runs.cancel(run_id, by="anna")
            return
        answer = self.store.runs.cancel(run_id, by="anna")
        if run.state == RunState.RUNNING:
            assert RunState.RUNNING == answer
            run.cancel_asked = True
        else:
            assert RunState.CANCELLED == answer
            run.state, run.ended_by = RunState.CANCELLED, None

    @rule(target=holdings, run_id=runs)
    def retry_and_claim(self, run_id):
        self.retry(run_id)
        return self.claim(0, 3)

    @rule(run_id=runs)
    def retry(self, run_id):
        run = self.model[run_id]
        if run.is_live:
            with pytest.raises(NotAllowed):
                self.store.runs.retry(run_id)
            return
        self.store.runs.retry(run_id)
        run.has_dedupe_key = not any(
            other.is_live and other.has_dedupe_key and other.new.dedupe_key == run.new.dedupe_key
            for other in self.model.values()
        )
        run.state, run.ended_by = RunState.QUEUED, None

    # What workers do

    @rule(target=holdings, worker=st.integers(0, 1), count=st.integers(1, 3))
    def claim(self, worker, count):
        worker_id = self.workers[worker]
        claims = claim(self.store, worker_id, count)
        for claimed in claims:
            self.take(Holding(worker_id, claimed))
        return multiple(*[Holding(worker_id, claimed) for claimed in claims])

    def take(self, holding):
        run_id, attempt = holding.claimed.lease
        run = self.model[run_id]
        assert run.state == RunState.QUEUED, "S5: only a queued run can be claimed"
        assert attempt == run.attempt + 1, "S6: attempts are counted, none twice"
        run.state, run.attempt, run.holder = RunState.RUNNING, attempt, holding
        self.taken.append(holding)

    @rule(holding=holdings, late=st.booleans(), how=st.sampled_from(sorted(OUTCOMES)))
    def settle_any(self, holding, late, how):
        zombies = self.zombies()
        self.settle(zombies[0] if late and zombies else holding, how)

    def settle(self, holding, how):
        outcome, state = OUTCOMES[how]
        settlement = a_settlement(
            holding.claimed,
            outcome,
            state=state,
            finished_at=self.clock.now(),
            due_at=self.clock.now() + 5 * SECOND if state == RunState.SCHEDULED else None,
            result=f'"{holding.claimed.attempt}"' if state == RunState.SUCCEEDED else None,
        )
        self.write(holding.worker_id, holding, settlement)
        self.clock.advance(0.001)

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

    def write(self, worker_id, holding, settlement):
        run = self.model[settlement.lease.run_id]
        lost = self.store.leases.settle(worker_id, [settlement])
        if run.holder != holding:
            assert [settlement.lease] == lost, "the outcome of an older attempt was accepted"
            return
        assert [] == lost, "the holder of a lease was refused"
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

    @rule(seconds=st.sampled_from([1, 10]))
    def promote(self, seconds):
        self.clock.advance(seconds)
        self.store.runs.promote()
        for run in self.model.values():
            if run.state == RunState.SCHEDULED and run.due_at <= self.clock.now():
                run.state = RunState.QUEUED

    @rule()
    def unblock(self):
        self.store.leases.unblock_idle_keys()

    @rule(worker=st.integers(0, 1))
    def declare_dead(self, worker):
        assert declare_dead(self.store, self.workers[worker])
        self.workers[worker] = a_worker(self.store)

    @rule()
    def reap(self):
        for worker in self.store.workers.gone_with_leases():
            for claimed in self.store.leases.held(worker.worker_id):
                run = self.model[claimed.run_id]
                settlement = a_settlement(claimed, AttemptOutcome.LOST)
                self.write(worker.worker_id, run.holder, settlement)

    @rule(target=holdings, worker=st.integers(0, 1))
    def take_over(self, worker):
        """The most frequent way to become a zombie, which chance alone seldom finds."""
        self.declare_dead(worker)
        self.reap()
        return self.claim(1 - worker, 3)

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
            self.declare_dead(worker)
        self.reap()
        for _ in range(100):
            if not any(run.is_live for run in self.model.values()):
                break
            self.promote(100)
            self.unblock()
            for claimed in claim(self.store, self.workers[0], 3):
                holding = Holding(self.workers[0], claimed)
                self.take(holding)
                self.settle(holding, "succeeded")
        self.the_store_is_as_the_model_says()
        assert not [run for run in self.model.values() if run.is_live], "every run ends"
        for run_id, run in self.model.items():
            attempts = self.store.runs.attempts(run_id)
            assert list(range(1, run.attempt + 1)) == [a.attempt for a in attempts], "S6"
            if run.state == RunState.SUCCEEDED:
                assert AttemptOutcome.SUCCEEDED == attempts[-1].outcome, "S4"


GENTLE = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def run_machine(template, statements=None, **options):
    """Run the machine on copies of an empty store."""
    machine = type("Machine", (StoreMachine,), {"template": template, "statements": statements})
    run_state_machine_as_test(machine, settings=settings(**GENTLE, **options))


def test_random_histories_keep_the_promises(template):
    run_machine(template, max_examples=60, stateful_step_count=40)


ENDED = "attempt = :attempt AND state = 'running'"
MISSING_GUARDS = {
    "an older attempt can end the run": ("end_live", f"AND {ENDED}", "AND state = 'running'"),
    "an older attempt can give the run back": ("return_live", "AND attempt = :attempt", ""),
    "a cancel is forgotten": ("return_live", "AND cancel_by IS NULL", ""),
    "an attempt number is used twice": ("claim", "attempt = attempt + 1,", ""),
    "a retry begins to count again": ("reinsert_live", "'queued', attempt,", "'queued', 0,"),
    "a retry of a live run is allowed": ("reopen_run", "AND state = :state", ""),
    "a running run is cancelled as if it waited": (
        "cancel_waiting",
        "AND state IN ('queued', 'scheduled')",
        "",
    ),
    "a run that is not due starts": ("promote_candidates", "AND due_at <= :now", ""),
    "a key is counted wrongly": ("running_with_key", "state = 'running'", "state = 'walking'"),
    "a key is not handed on": ("unblock", "SET blocked = 0", "SET blocked = 1"),
    "a dedupe key is ignored": ("live_run_with_dedupe_key", "= :dedupe_key", "= 'nobody'"),
    "a repeated outcome is refused": ("ending_of_attempt", "AND attempt = :attempt", "AND 1 = 0"),
    "the attempts of the dead stay": ("held_by_worker", "l.state = 'running'", "1 = 0"),
}


@pytest.mark.parametrize("missing", MISSING_GUARDS)
def test_the_machine_finds_a_missing_guard(template, store, missing):
    name, guard, instead = MISSING_GUARDS[missing]
    sql = store.database._sql[name]
    assert guard in sql

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever tells of it
        run_machine(
            template,
            {name: sql.replace(guard, instead)},
            max_examples=300,
            stateful_step_count=40,
            phases=[Phase.generate],
            derandomize=True,
            print_blob=False,
            report_multiple_bugs=False,
        )

    assert not isinstance(caught.value, KeyboardInterrupt)
