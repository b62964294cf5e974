"""Settle: the outcome of an attempt is written once, by the holder of its lease only."""

from __future__ import annotations

import threading

import pytest

from helpers.factories import (
    a_run,
    a_settlement,
    a_worker,
    claim,
    claim_one,
    declare_dead,
    enqueue,
    reap,
    settle,
)
from holdfast.core.clock import SECOND
from holdfast.core.errors import NotAllowed, RunNotFound
from holdfast.core.states import AttemptOutcome, RunState
from holdfast.core.usage import Usage
from holdfast.store.runs import RunFilter


@pytest.fixture
def worker_id(store):
    return a_worker(store)


@pytest.fixture
def claimed(store, worker_id):
    """A claimed run."""
    enqueue(store)
    return claim_one(store, worker_id)


def test_a_result_is_stored_with_the_end_of_its_run(store, clock, worker_id, claimed):
    clock.advance(2)

    assert [] == settle(
        store, worker_id, claimed, result='{"sum":3}', finished_at=claimed.claimed_at + 1 * SECOND
    )
    run = store.runs.get(claimed.run_id)

    assert (RunState.SUCCEEDED, '{"sum":3}', None) == (run.state, run.result, run.error)
    assert (1, claimed.claimed_at + 1 * SECOND) == (run.attempt, run.finished_at)
    assert (None, None) == (run.worker_id, run.claimed_at)


def test_the_attempt_stays_with_its_evidence(store, worker_id, claimed):
    settle(
        store,
        worker_id,
        claimed,
        "failed",
        started_at=5,
        finished_at=9,
        cpu_ms=120,
        peak_rss=1 << 20,
        logged=True,
        certificate='{"verdict":"error"}',
    )

    (attempt,) = store.runs.attempts(claimed.run_id)

    assert (claimed.run_id, 1, AttemptOutcome.FAILED, worker_id) == attempt[:4]
    assert (5, 9, 120, 1 << 20, True, '{"verdict":"error"}', None) == attempt[4:]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("succeeded", "succeeded"),
        ("failed", "failed"),
        ("timed_out", "failed"),
        ("crashed", "quarantined"),
        ("lost", "quarantined"),
        ("cancelled", "cancelled"),
    ],
)
def test_an_outcome_can_end_the_run(store, worker_id, claimed, outcome, state):
    settle(store, worker_id, claimed, outcome, state=RunState(state), failures=1, crashes=2)
    run = store.runs.get(claimed.run_id)

    assert (state, 1, 2) == (run.state, run.failures, run.crashes)
    assert [] == claim(store, worker_id)


@pytest.mark.parametrize(
    "outcome", ["failed", "timed_out", "crashed", "lost", "released", "snoozed"]
)
def test_an_outcome_can_give_the_run_back(store, worker_id, claimed, outcome):
    settle(
        store,
        worker_id,
        claimed,
        outcome,
        state=RunState.QUEUED,
        failures=1,
        crashes=2,
        losses=3,
    )
    again = claim_one(store, worker_id)

    assert (claimed.run_id, 2) == again.lease
    assert (1, 2, 3) == (again.failures, again.crashes, again.losses)


def test_a_run_given_back_for_later_waits_for_its_time(store, clock, worker_id, claimed):
    due_at = clock.now() + 10 * SECOND
    settle(store, worker_id, claimed, "failed", state=RunState.SCHEDULED, due_at=due_at)

    run = store.runs.get(claimed.run_id)
    assert (RunState.SCHEDULED, due_at, None) == (run.state, run.due_at, run.worker_id)
    assert 0 == store.runs.promote()

    clock.advance(10)

    assert 1 == store.runs.promote()
    assert 2 == claim_one(store, worker_id).attempt


def test_what_an_attempt_took_is_seen_while_it_runs_and_kept_with_it(store, worker_id, claimed):
    so_far = Usage(1.0, [5, 7], [0.5, 1.0])
    whole = Usage(1.0, [5, 7, 6], [0.5, 1.0, 0.25])
    store.leases.set_usage({claimed.lease: so_far, claimed._replace(attempt=2).lease: whole})

    assert so_far == store.runs.get(claimed.run_id).usage
    assert {claimed.lease: so_far} == store.leases.usages(worker_id)

    settle(store, worker_id, claimed, "failed", state=RunState.QUEUED, usage=whole)

    assert store.runs.get(claimed.run_id).usage is None
    assert [whole] == [attempt.usage for attempt in store.runs.attempts(claimed.run_id)]
    assert {} == store.leases.usages(worker_id)


def test_a_run_given_back_no_longer_shows_the_progress_of_its_attempt(store, worker_id, claimed):
    store.leases.set_progress({claimed.lease: '{"done":1}'})
    settle(store, worker_id, claimed, "released")

    assert store.runs.get(claimed.run_id).progress is None


def test_a_run_says_why_its_attempt_stands_still_until_it_goes_on_or_is_given_back(
    store, worker_id, claimed
):
    store.leases.set_paused({claimed.lease: "no room", claimed._replace(attempt=2).lease: "no"})
    assert "no room" == store.runs.get(claimed.run_id).paused
    store.leases.set_paused({claimed.lease: None})
    assert store.runs.get(claimed.run_id).paused is None

    store.leases.set_paused({claimed.lease: "no room"})
    settle(store, worker_id, claimed, "released")

    assert store.runs.get(claimed.run_id).paused is None


def test_outcomes_and_claims_go_in_one_transaction(store, worker_id, claimed):
    enqueue(store, concurrency_key="k")

    lost, claims = store.leases.settle_and_claim(
        worker_id, [a_settlement(claimed)], {False: 1}, ["*"]
    )

    assert [] == lost
    assert 1 == len(claims)


# The fence


def test_late_finish_of_an_older_attempt_changes_nothing(store, claimed):
    first = store.runs.get(claimed.run_id).worker_id
    declare_dead(store, first)
    reap(store)
    second = a_worker(store)
    again = claim_one(store, second)
    before = store.runs.get(claimed.run_id)

    assert [claimed.lease] == settle(store, first, claimed, result='"late"')
    assert before == store.runs.get(claimed.run_id)
    assert [AttemptOutcome.LOST] == [a.outcome for a in store.runs.attempts(claimed.run_id)]

    settle(store, second, again, result='"right"')

    assert '"right"' == store.runs.get(claimed.run_id).result


@pytest.mark.parametrize("outcome", AttemptOutcome)
@pytest.mark.parametrize("ended", ["succeeded", "failed", "cancelled", "quarantined"])
def test_no_outcome_changes_an_ended_run(store, outcome, ended):
    run_id, claimed = a_run(store, ended)
    before = store.runs.get(run_id), store.runs.attempts(run_id)

    late = settle(store, a_worker(store), claimed, outcome, result='"late"', finished_at=7)

    assert [claimed.lease] == late
    assert before == (store.runs.get(run_id), store.runs.attempts(run_id))


@pytest.mark.parametrize("outcome", ["released", "failed", "succeeded"])
def test_an_attempt_that_never_was_cannot_be_settled(store, worker_id, claimed, outcome):
    imagined = claimed._replace(attempt=2)

    assert [imagined.lease] == settle(store, worker_id, imagined, outcome)
    assert RunState.RUNNING == store.runs.get(claimed.run_id).state


def test_a_lost_lease_does_not_hinder_the_other_outcomes(store, worker_id, claimed):
    enqueue(store)
    other = claim_one(store, worker_id)
    imagined = claimed._replace(attempt=9)

    lost = store.leases.settle(worker_id, [a_settlement(c) for c in (claimed, imagined, other)])

    assert [imagined.lease] == lost
    assert RunState.SUCCEEDED == store.runs.get(claimed.run_id).state
    assert RunState.SUCCEEDED == store.runs.get(other.run_id).state


def test_a_worker_that_was_declared_dead_still_may_not_write_its_outcome(store, worker_id, claimed):
    """The reaper has written the same attempt in its name: that is not its own earlier try."""
    declare_dead(store, worker_id)
    reap(store)

    assert [claimed.lease] == settle(store, worker_id, claimed)
    assert RunState.QUEUED == store.runs.get(claimed.run_id).state


@pytest.mark.parametrize(
    "outcome", ["failed", "timed_out", "crashed", "cancelled", "released", "lost"]
)
def test_an_end_told_by_a_worker_that_was_declared_dead_is_not_believed(
    store, worker_id, claimed, outcome
):
    """Who declared it dead has killed its processes: the end may be that kill."""
    declare_dead(store, worker_id)

    assert [claimed.lease] == settle(store, worker_id, claimed, outcome)
    assert RunState.RUNNING == store.runs.get(claimed.run_id).state

    reap(store)

    assert ["lost"] == [attempt.outcome for attempt in store.runs.attempts(claimed.run_id)]


def test_a_success_told_by_a_worker_that_was_declared_dead_counts_while_it_holds_the_lease(
    store, worker_id, claimed
):
    declare_dead(store, worker_id)

    assert [] == settle(store, worker_id, claimed, result="1")
    assert RunState.SUCCEEDED == store.runs.get(claimed.run_id).state


# The same outcome again: the answer to the first try was lost


@pytest.mark.parametrize(
    "outcome", ["succeeded", "failed", "cancelled", "crashed", "released", "snoozed"]
)
def test_an_outcome_settled_again_is_recognised(store, worker_id, claimed, outcome):
    wanted = a_settlement(claimed, outcome, result="1")
    store.leases.settle(worker_id, [wanted])
    before = store.runs.get(claimed.run_id), store.runs.attempts(claimed.run_id)

    assert [] == store.leases.settle(worker_id, [wanted])
    assert before == (store.runs.get(claimed.run_id), store.runs.attempts(claimed.run_id))


def test_an_outcome_settled_again_leaves_the_next_attempt_alone(store, worker_id, claimed):
    wanted = a_settlement(claimed, "released")
    store.leases.settle(worker_id, [wanted])
    again = claim_one(store, worker_id)

    assert [] == store.leases.settle(worker_id, [wanted])
    assert (RunState.RUNNING, again.attempt) == (
        store.runs.get(claimed.run_id).state,
        store.runs.get(claimed.run_id).attempt,
    )


def test_another_outcome_for_a_settled_attempt_is_refused(store, worker_id, claimed):
    settle(store, worker_id, claimed, "released")

    assert [claimed.lease] == settle(store, worker_id, claimed, "succeeded")


# Cancel


@pytest.mark.parametrize("state", ["scheduled", "queued"])
def test_a_waiting_run_is_cancelled_at_once(store, clock, state):
    run_id, _ = a_run(store, state)

    assert RunState.CANCELLED == store.runs.cancel(run_id, by="anna")
    run = store.runs.get(run_id)

    assert (RunState.CANCELLED, clock.now()) == (run.state, run.finished_at)
    assert "Cancelled by anna before it started." == run.error
    assert [] == store.runs.attempts(run_id)
    assert [] == claim(store, a_worker(store), 5)


def test_a_running_run_is_cancelled_by_its_worker(store, worker_id, claimed):
    assert RunState.RUNNING == store.runs.cancel(claimed.run_id, by="anna")
    assert "anna" == store.runs.get(claimed.run_id).cancel_by
    assert [(claimed.lease, "anna")] == store.leases.cancel_requests(worker_id)
    assert [] == store.leases.cancel_requests(a_worker(store))


def test_the_first_who_asked_to_cancel_stays_known(store, worker_id, claimed):
    store.runs.cancel(claimed.run_id, by="anna")

    assert RunState.RUNNING == store.runs.cancel(claimed.run_id, by="ben")
    assert [(claimed.lease, "anna")] == store.leases.cancel_requests(worker_id)


@pytest.mark.parametrize(
    "outcome", ["failed", "timed_out", "crashed", "lost", "released", "snoozed"]
)
@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.SCHEDULED])
def test_a_run_that_was_to_be_cancelled_does_not_run_again(
    store, worker_id, claimed, outcome, state
):
    store.runs.cancel(claimed.run_id, by="anna")

    assert [] == settle(store, worker_id, claimed, outcome, state=state, due_at=1)
    run = store.runs.get(claimed.run_id)

    assert (RunState.CANCELLED, "Cancelled by anna.") == (run.state, run.error)
    assert [outcome] == [attempt.outcome for attempt in store.runs.attempts(claimed.run_id)]
    assert [] == claim(store, worker_id, 5)


def test_a_run_that_succeeded_before_it_was_stopped_has_succeeded(store, worker_id, claimed):
    store.runs.cancel(claimed.run_id, by="anna")
    settle(store, worker_id, claimed, result="1")

    assert RunState.SUCCEEDED == store.runs.get(claimed.run_id).state


def test_a_cancelled_run_whose_worker_dies_is_cancelled(store, worker_id, claimed):
    store.runs.cancel(claimed.run_id, by="anna")
    declare_dead(store, worker_id)
    reap(store)

    assert RunState.CANCELLED == store.runs.get(claimed.run_id).state


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled", "quarantined"])
def test_an_ended_run_cannot_be_cancelled(store, state):
    run_id, _ = a_run(store, state)
    before = store.runs.get(run_id)

    with pytest.raises(NotAllowed, match=f"is {state}: it cannot be cancelled"):
        store.runs.cancel(run_id, by="anna")

    assert before == store.runs.get(run_id)


# Retry


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled", "quarantined"])
def test_an_ended_run_can_be_retried_with_fresh_budgets(store, state):
    run_id, claimed = a_run(store, "running")
    first = store.runs.get(run_id).worker_id
    settle(store, first, claimed, "failed", state=RunState(state), failures=3, crashes=2, error="x")

    store.runs.retry(run_id)
    run = store.runs.get(run_id)

    assert (RunState.QUEUED, 0, 0) == (run.state, run.failures, run.crashes)
    assert (None, None, None) == (run.finished_at, run.result, run.error)


def test_the_attempts_of_a_retried_run_go_on_with_their_numbers(store):
    run_id, claimed = a_run(store, "quarantined")
    store.runs.retry(run_id)
    worker_id = a_worker(store)

    again = claim_one(store, worker_id)
    settle(store, worker_id, again, result="2")

    assert (claimed.attempt, claimed.attempt + 1) == (1, again.attempt)
    assert [1, 2] == [attempt.attempt for attempt in store.runs.attempts(run_id)]
    assert "2" == store.runs.get(run_id).result


def test_a_run_that_is_deleted_at_that_moment_is_retried_whole_or_not_at_all(store):
    """One that waits must not be left without the run itself."""
    run_id, _ = a_run(store, "failed")
    refused = []

    def retry():
        try:
            store.runs.retry(run_id)
        except RunNotFound as error:
            refused.append(error.run_id)

    retrying = threading.Thread(target=retry)

    def delete(tx):  # as the retention does
        if tx.execute("delete_ended", run_id=run_id):
            if retrying.ident is None:  # else the database has chosen us to begin once more
                retrying.start()
            retrying.join(0.2)  # it waits for us
            tx.execute("delete_attempts", run_id=run_id)
            tx.execute("delete_run", run_id=run_id)

    store.database.write(delete)
    retrying.join(20)

    there = [run.run_id for run in store.runs.list(RunFilter())]
    waiting = sum(queue.queued for queue in store.queues.list())
    assert (refused, there, waiting) in [([run_id], [], 0), ([], [run_id], 1)]


def test_a_late_outcome_from_before_the_retry_changes_nothing(store):
    run_id, claimed = a_run(store, "failed")
    store.runs.retry(run_id)
    worker_id = a_worker(store)
    claim_one(store, worker_id)

    assert [claimed.lease] == settle(store, worker_id, claimed, "succeeded")
    assert RunState.RUNNING == store.runs.get(run_id).state


def test_a_run_cancelled_before_it_started_can_be_retried(store):
    run_id, _ = a_run(store, "scheduled")
    store.runs.cancel(run_id, by="anna")
    store.runs.retry(run_id)

    assert 1 == claim_one(store, a_worker(store)).attempt


def test_a_retry_may_change_the_limits_and_keeps_the_key(store):
    run_id, _ = a_run(store, "failed", options='{"timeout":1}', concurrency_key="k")

    store.runs.retry(run_id, options='{"timeout":9}')
    claimed = claim_one(store, a_worker(store))

    assert ('{"timeout":9}', "k") == (claimed.options, claimed.concurrency_key)


@pytest.mark.parametrize("state", ["scheduled", "queued", "running"])
def test_a_run_that_waits_or_runs_cannot_be_retried(store, state):
    run_id, _ = a_run(store, state)
    before = store.runs.get(run_id)

    with pytest.raises(NotAllowed, match=f"is {state}: it cannot be retried"):
        store.runs.retry(run_id)

    assert before == store.runs.get(run_id)


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_what_is_not_there_is_neither_cancelled_nor_retried(store, verb):
    with pytest.raises(RunNotFound):
        store.runs.cancel("nothing", by="anna") if verb == "cancel" else store.runs.retry("nothing")


# Progress


def test_progress_is_kept_while_the_attempt_holds_its_lease(store, worker_id, claimed):
    store.leases.set_progress({claimed.lease: '{"done":1}'})
    store.leases.set_progress({claimed._replace(attempt=2).lease: '{"done":9}'})

    assert '{"done":1}' == store.runs.get(claimed.run_id).progress
