"""Enqueue: when it returns, the run is there, once."""

from __future__ import annotations

import pytest

from helpers.factories import (
    a_new_run,
    a_run,
    a_worker,
    claim,
    claim_one,
    enqueue,
    enqueue_many,
    settle,
)
from helpers.faulty import DONE_THEN_ERROR, Faults
from holdfast.core.clock import SECOND
from holdfast.core.errors import AlreadyEnqueued, RunNotFound
from holdfast.core.ids import new_id
from holdfast.core.states import RunState
from holdfast.store.runs import BATCH, RunFilter


def test_an_enqueued_run_holds_what_was_given(store, clock):
    run_id = enqueue(
        store,
        task="shop.pay",
        queue="money",
        priority=7,
        arguments='{"args":[1]}',
        options='{"timeout":5}',
        dedupe_key="d",
        concurrency_key="c",
        concurrency_limit=3,
    )

    run = store.runs.get(run_id)

    assert ("shop.pay", "money", 7) == (run.task, run.queue, run.priority)
    assert ('{"args":[1]}', '{"timeout":5}') == (run.arguments, run.options)
    assert ("d", "c", 3) == (run.dedupe_key, run.concurrency_key, run.concurrency_limit)
    assert (RunState.QUEUED, 0, clock.now()) == (run.state, run.attempt, run.created_at)
    assert not run.blocked


def test_enqueueing_the_same_run_again_makes_no_second_one(store):
    new = a_new_run()

    assert [new.run_id] == store.runs.insert([new])
    assert [new.run_id] == store.runs.insert([new])
    assert 1 == len(store.runs.list(RunFilter()))


def test_the_same_run_twice_in_one_batch_is_one_run(store):
    new = a_new_run()

    assert [new.run_id] * 2 == store.runs.insert([new, new])
    assert 1 == len(claim(store, a_worker(store), 5))


@pytest.mark.parametrize("state", RunState)
def test_enqueueing_again_changes_nothing_whatever_has_become_of_the_run(store, state):
    new = a_new_run(due_at=None)
    a_run(store, state, run_id=new.run_id)
    before = store.runs.get(new.run_id)

    assert [new.run_id] == store.runs.insert([new])
    assert before == store.runs.get(new.run_id)


@pytest.mark.parametrize("changed", [{"task": "shop.pay"}, {"arguments": '{"args":[1]}'}])
def test_an_id_that_belongs_to_other_content_is_refused(store, changed):
    run_id = enqueue(store)

    with pytest.raises(AlreadyEnqueued) as caught:
        enqueue(store, run_id=run_id, **changed)

    assert ("shop.send", run_id) == (caught.value.task, caught.value.run_id)


def test_nothing_of_a_batch_is_kept_when_one_run_of_it_is_refused(store):
    taken = enqueue(store)
    new = a_new_run()

    with pytest.raises(AlreadyEnqueued):
        store.runs.insert([new, a_new_run(run_id=taken, task="shop.pay")])

    with pytest.raises(RunNotFound):
        store.runs.get(new.run_id)


def test_more_runs_than_fit_one_transaction_are_enqueued_in_order(store):
    new = [a_new_run() for _ in range(BATCH + 5)]

    assert [run.run_id for run in new] == store.runs.insert(new)
    assert new[-1].run_id == store.runs.list(RunFilter(limit=1))[0].run_id


def test_enqueueing_nothing_does_nothing(store):
    assert [] == store.runs.insert([])


# Dedupe keys


@pytest.mark.parametrize("state", ["scheduled", "queued", "running"])
def test_no_second_run_while_one_with_the_key_waits_or_runs(store, state):
    first, _ = a_run(store, state, dedupe_key="report-7")

    assert first == enqueue(store, dedupe_key="report-7", arguments='{"args":[2]}')
    assert 1 == len(store.runs.list(RunFilter()))


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled", "quarantined"])
def test_the_key_is_free_again_when_its_run_has_ended(store, state):
    first, _ = a_run(store, state, dedupe_key="report-7")

    assert first != enqueue(store, dedupe_key="report-7")


def test_the_key_stays_taken_while_its_run_waits_for_its_next_attempt(store):
    first, claimed = a_run(store, "running", dedupe_key="report-7")
    worker_id = store.runs.get(first).worker_id
    settle(store, worker_id, claimed, "failed", state=RunState.SCHEDULED, due_at=1)

    assert first == enqueue(store, dedupe_key="report-7")


def test_two_runs_of_one_batch_with_the_same_key_are_one(store):
    new = [a_new_run(dedupe_key="k") for _ in range(2)]

    assert [new[0].run_id] * 2 == store.runs.insert(new)


def test_runs_with_other_keys_and_with_none_are_not_held_together(store):
    runs = [a_new_run(dedupe_key=key) for key in ("a", "b", None, None)]

    assert 4 == len(set(store.runs.insert(runs)))


def test_a_run_that_is_retried_takes_its_key_back(store):
    first, _ = a_run(store, "failed", dedupe_key="k")
    store.runs.retry(first)

    assert first == enqueue(store, dedupe_key="k")


def test_a_run_can_be_retried_while_another_one_holds_its_key(store):
    first, _ = a_run(store, "failed", dedupe_key="k")
    second = enqueue(store, dedupe_key="k")
    store.runs.retry(first)

    assert second == enqueue(store, dedupe_key="k")
    assert RunState.QUEUED == store.runs.get(first).state


def test_an_enqueue_repeated_after_its_run_ended_is_recognised_though_the_key_is_taken(store):
    new = a_new_run(dedupe_key="k")
    a_run(store, "failed", run_id=new.run_id, dedupe_key="k")
    enqueue(store, dedupe_key="k")

    assert [new.run_id] == store.runs.insert([new])


# Later


def test_a_run_for_later_is_scheduled_and_cannot_be_claimed(store, clock):
    run_id = enqueue(store, due_at=clock.now() + 10 * SECOND)

    assert RunState.SCHEDULED == store.runs.get(run_id).state
    assert [] == claim(store, a_worker(store))


@pytest.mark.parametrize("seconds", [-1, 0])
def test_a_run_that_is_due_already_is_queued(store, clock, seconds):
    run_id = enqueue(store, due_at=clock.now() + seconds * SECOND)

    assert RunState.QUEUED == store.runs.get(run_id).state


def test_promotion_queues_exactly_what_is_due(store, clock):
    due = [enqueue(store, due_at=clock.now() + seconds * SECOND) for seconds in (5, 10)]
    later = enqueue(store, due_at=clock.now() + 11 * SECOND)

    clock.advance(10)

    assert 2 == store.runs.promote()
    assert due == [claimed.run_id for claimed in claim(store, a_worker(store), 9)]
    assert RunState.SCHEDULED == store.runs.get(later).state
    assert 0 == store.runs.promote()


def test_promotion_goes_in_batches_the_earliest_first(store, clock):
    late = enqueue(store, due_at=clock.now() + 2 * SECOND)
    early = enqueue(store, due_at=clock.now() + SECOND)
    clock.advance(10)

    assert 1 == store.runs.promote(limit=1)
    assert RunState.QUEUED == store.runs.get(early).state
    assert RunState.SCHEDULED == store.runs.get(late).state


def test_the_next_due_time_is_that_of_the_earliest_scheduled_run(store, clock):
    assert store.runs.next_due() is None

    first, last = clock.now() + SECOND, clock.now() + 2 * SECOND
    enqueue(store)
    enqueue(store, due_at=last)
    enqueue(store, due_at=first)

    assert first == store.runs.next_due()


# Find and list


def test_a_run_is_found_by_its_beginning_and_by_its_end(store):
    run_id = enqueue(store)

    for text in (run_id, run_id[:20], run_id[-6:], f" {run_id.upper()} "):
        assert run_id == store.runs.find(text).run_id


def test_a_beginning_that_fits_several_runs_is_refused_with_them(store):
    ids = enqueue_many(store, 2)

    with pytest.raises(RunNotFound) as caught:
        store.runs.find(ids[0][:6])

    assert tuple(ids) == caught.value.matches


@pytest.mark.parametrize(
    "text", ["", "%", "____", "' OR 1=1 --", "xyz", "ffff", "f" * 8 + "-ffff" * 3 + "-" + "f" * 12]
)
def test_a_text_that_fits_no_run_finds_none(store, text):
    enqueue(store)

    with pytest.raises(RunNotFound):
        store.runs.find(text)


@pytest.mark.parametrize("state", RunState)
def test_runs_are_listed_by_state_the_newest_first(store, state):
    ids = [a_run(store, state)[0] for _ in range(2)]
    for other in RunState:
        a_run(store, other) if other != state else None

    assert ids[::-1] == [run.run_id for run in store.runs.list(RunFilter(state=state))]


def test_runs_are_listed_by_task_queue_and_error(store):
    enqueue(store)
    mail = enqueue(store, task="shop.mail", queue="mail")
    failed, claimed = a_run(store, "running", task="shop.pay")
    worker_id = store.runs.get(failed).worker_id
    settle(store, worker_id, claimed, "failed", error="Raised ValueError: no money")

    def listed(**chosen):
        return [run.run_id for run in store.runs.list(RunFilter(**chosen))]

    assert [mail] == listed(task="shop.mail") == listed(queue="mail")
    assert [mail] == listed(state=RunState.QUEUED, task="shop.mail", queue="mail")
    assert [failed] == listed(error="ValueError") == listed(task="shop.pay", error="no money")
    assert [failed] == listed(state=RunState.FAILED, error="no money")
    assert [] == listed(error="TypeError")


@pytest.mark.parametrize("state", ["failed", "cancelled", "quarantined"])
def test_a_part_of_an_error_is_meant_as_it_is_written(store, state):
    for error in ("Raised Sold: 100%_!", "Raised Sold: 100 of it!"):
        run_id, claimed = a_run(store, "running", task="shop.pay")
        worker_id = store.runs.get(run_id).worker_id
        settle(store, worker_id, claimed, "failed", state=RunState(state), error=error)

    for chosen in ({"state": RunState(state)}, {"task": "shop.pay"}, {}):
        found = store.runs.list(RunFilter(error="100%_!", **chosen))
        assert [True] == ["100%_!" in run.error for run in found]


def test_runs_are_listed_page_by_page(store):
    ids = enqueue_many(store, 5)

    first = store.runs.list(RunFilter(limit=2))
    second = store.runs.list(RunFilter(limit=9, before=first[-1].run_id))

    assert ids[::-1] == [run.run_id for run in [*first, *second]]


def test_runs_are_listed_from_a_time_on(store):
    old = enqueue(store, run_id=new_id(1_000_000_000 * 10**9))
    new = enqueue(store, run_id=new_id(2_000_000_000 * 10**9))

    found = store.runs.list(RunFilter(since=1_500_000_000 * SECOND))

    assert [new] == [run.run_id for run in found]
    assert 2 == len(store.runs.list(RunFilter(since=1_000_000_000 * SECOND)))
    assert old != new


# Forget


def test_only_runs_that_ended_before_a_time_are_forgotten_each_kind_by_its_own(store, clock):
    def made(state):
        return a_run(store, state, run_id=new_id(clock.now() * 1000))[0]

    good, bad, _waiting = made("succeeded"), made("failed"), made("queued")
    clock.advance(10)
    made("succeeded")

    before = clock.now() - 5 * SECOND

    assert [good] == store.runs.ended_before(before, succeeded=True)
    assert [bad] == store.runs.ended_before(before, succeeded=False)


def test_a_forgotten_run_is_gone_with_its_attempts(store):
    run_id, _ = a_run(store, "succeeded")

    store.runs.delete([run_id])

    assert [] == store.runs.attempts(run_id)
    with pytest.raises(RunNotFound):
        store.runs.get(run_id)


def test_a_run_that_was_retried_meanwhile_is_not_forgotten(store):
    run_id, _ = a_run(store, "failed")
    store.runs.retry(run_id)

    store.runs.delete([run_id])

    assert 1 == len(store.runs.attempts(run_id))
    assert run_id == claim_one(store, a_worker(store)).run_id


@pytest.mark.only("postgres", "mysql")
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("key", [None, "once"])
def test_an_enqueue_whose_answer_was_lost_is_repeated_and_makes_no_second_run(store, count, key):
    enqueue(store)  # its queue and task are known now
    runs = [a_new_run(dedupe_key=key and f"{key} {number}") for number in range(count)]

    with Faults(store.database).next(DONE_THEN_ERROR):
        ids = store.runs.insert(runs)

    assert [run.run_id for run in runs] == ids
    assert count + 1 == len(store.runs.list(RunFilter()))
    assert count + 1 == len(claim(store, a_worker(store), 10))
