"""Claim: each run goes to one attempt of one worker that can carry it out, in order."""

from __future__ import annotations

import random
import threading

import pytest

from helpers.factories import (
    a_worker,
    claim,
    claim_one,
    enqueue,
    enqueue_many,
    settle,
)
from holdfast.core.models import Lease
from holdfast.core.states import RunState
from holdfast.store import claiming


def test_a_claim_holds_what_a_worker_needs(store, clock):
    run_id = enqueue(store, arguments='{"args":[1]}', options='{"timeout":5}', queue="q")

    claimed = claim_one(store, a_worker(store))

    assert Lease(run_id, 1) == claimed.lease
    assert ("shop.send", "q") == (claimed.task, claimed.queue)
    assert ('{"args":[1]}', '{"timeout":5}') == (claimed.arguments, claimed.options)
    assert (0, 0, 0) == (claimed.failures, claimed.crashes, claimed.losses)
    assert clock.now() == claimed.claimed_at


def test_a_claimed_run_is_running_and_held_by_its_worker(store, clock):
    worker_id = a_worker(store)
    run_id = enqueue(store)
    clock.advance(1)

    claim_one(store, worker_id)
    run = store.runs.get(run_id)

    assert (RunState.RUNNING, 1) == (run.state, run.attempt)
    assert (worker_id, clock.now()) == (run.worker_id, run.claimed_at)


def test_a_claimed_run_is_not_claimed_again(store):
    enqueue(store)

    assert 1 == len(claim(store, a_worker(store), 5))
    assert [] == claim(store, a_worker(store), 5)


def test_the_highest_priority_goes_first_then_the_oldest_across_queues(store):
    chance = random.Random(4)
    expected = []
    for number in range(60):
        priority = chance.choice([-100, 0, 0, 100])
        run_id = enqueue(store, queue=f"q{number % 3}", priority=priority)
        expected.append((-priority, run_id))

    worker_id = a_worker(store)
    claimed = [c.run_id for size in (1, 7, 2, 50) for c in claim(store, worker_id, size)]

    assert [run_id for _, run_id in sorted(expected)] == claimed


def test_no_more_than_asked_for_are_claimed(store):
    enqueue_many(store, 5)

    assert 3 == len(claim(store, a_worker(store), 3))
    assert [] == claim(store, a_worker(store), 0)


def test_a_claim_takes_no_more_than_fits_into_memory_and_at_least_one_run(store, monkeypatch):
    monkeypatch.setattr(claiming, "CLAIM_BYTES", 1000)
    sizes = [5000, 400, 400, 400, 10, 10]
    runs = [enqueue(store, arguments="x" * size) for size in sizes]
    worker_id = a_worker(store)

    claims = [[c.run_id for c in claim(store, worker_id, 6)] for _ in range(4)]

    assert [runs[:1], runs[1:4], runs[4:], []] == claims


def test_a_worker_gets_only_tasks_that_it_knows(store):
    enqueue(store, task="shop.pay", priority=100)
    mine = enqueue(store, task="shop.send")

    assert [mine] == [c.run_id for c in claim(store, a_worker(store, ["shop.send"]), 5)]


def test_a_worker_gets_only_the_kind_of_run_it_has_room_for(store):
    worker_id = a_worker(store, ["sync"], shared=["async"])
    exclusive = enqueue(store, task="sync")
    shared = enqueue(store, task="async", shared=True)

    assert [shared] == [c.run_id for c in claim(store, worker_id, 5, shared=True)]
    assert [exclusive] == [c.run_id for c in claim(store, worker_id, 5, shared=False)]


def test_both_kinds_can_be_claimed_at_once_each_up_to_its_number(store):
    worker_id = a_worker(store, ["sync"], shared=["async"])
    for _ in range(3):
        enqueue(store, task="sync")
        enqueue(store, task="async", shared=True)

    _, claimed = store.leases.settle_and_claim(worker_id, [], {False: 1, True: 2}, ["*"])

    assert ["async", "async", "sync"] == sorted(c.task for c in claimed)


def test_a_worker_gets_only_runs_of_its_queues(store):
    ids = {name: enqueue(store, queue=name) for name in ("a", "b", "c")}

    claimed = claim(store, a_worker(store), 5, queues=["a", "c", "nowhere"])

    assert [ids["a"], ids["c"]] == [c.run_id for c in claimed]


def test_a_paused_queue_gives_no_runs_until_it_is_resumed(store):
    worker_id = a_worker(store)
    run_id = enqueue(store, queue="mail")
    store.queues.pause("mail", by="anna")

    assert [] == claim(store, worker_id, queues=["mail"])
    assert [] == claim(store, worker_id)

    store.queues.resume("mail")

    assert run_id == claim_one(store, worker_id).run_id


def test_a_worker_sees_what_it_holds(store):
    worker_id, other = a_worker(store), a_worker(store)
    enqueue_many(store, 3)
    mine = claim(store, worker_id, 2)
    claim(store, other)

    held = store.leases.held(worker_id)

    assert [c._replace(arguments="") for c in mine] == held
    assert mine[:1] == [c._replace(arguments=mine[0].arguments) for c in held[:1]]
    assert 1 == len(store.leases.held(worker_id, limit=1))


def test_each_of_500_runs_goes_to_exactly_one_of_8_threads(store):
    ids = set(enqueue_many(store, 500))
    workers = [a_worker(store) for _ in range(8)]
    claimed, start = [], threading.Barrier(8)

    def work(worker_id):
        start.wait()
        while found := claim(store, worker_id, 7):
            claimed.extend((c.run_id, worker_id) for c in found)

    threads = [threading.Thread(target=work, args=[worker_id]) for worker_id in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ids) == sorted(run_id for run_id, _ in claimed)
    assert all(store.runs.get(run_id).worker_id == worker_id for run_id, worker_id in claimed[:50])


# Concurrency keys


def running(store, key):
    """How many runs of a key run now."""
    return len(store.runs.holding_key(key))


@pytest.mark.parametrize("limit", [1, 3])
def test_one_claim_of_many_keeps_to_the_limit_of_a_key(store, limit):
    ids = [enqueue(store, concurrency_key="user:7", concurrency_limit=limit) for _ in range(10)]

    claimed = claim(store, a_worker(store), 10)

    assert ids[:limit] == [c.run_id for c in claimed]
    assert limit == running(store, "user:7")


def test_the_limit_holds_across_workers_and_queues(store):
    for number in range(6):
        enqueue(store, queue=f"q{number}", concurrency_key="k", concurrency_limit=2)

    claimed = [claim(store, a_worker(store), 3) for _ in range(3)]

    assert [2, 0, 0] == [len(found) for found in claimed]


def test_runs_of_other_keys_and_of_none_pass_those_that_are_blocked(store):
    keyed = [enqueue(store, concurrency_key="k", priority=5) for _ in range(5)]
    other = enqueue(store, concurrency_key="other")
    plain = enqueue(store)

    claimed = claim(store, a_worker(store), 3)

    assert {keyed[0], other, plain} == {c.run_id for c in claimed}


def test_a_blocked_run_says_so(store):
    ids = [enqueue(store, concurrency_key="k") for _ in range(2)]

    claim(store, a_worker(store), 2)

    assert [False, True] == [store.runs.get(run_id).blocked for run_id in ids]


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled", "crashed", "timed_out"])
def test_the_next_run_of_a_key_can_be_claimed_when_one_has_ended(store, outcome):
    worker_id = a_worker(store)
    ids = [enqueue(store, concurrency_key="k") for _ in range(4)]

    claimed = []
    for _ in ids:
        (one,) = claim(store, worker_id, 4)
        claimed.append(one.run_id)
        settle(store, worker_id, one, outcome)

    assert ids == claimed


def test_a_retry_that_waits_leaves_its_slot_to_the_next_run(store):
    worker_id = a_worker(store)
    first, second = (enqueue(store, concurrency_key="k") for _ in range(2))
    (claimed,) = claim(store, worker_id, 2)

    settle(store, worker_id, claimed, "failed", state=RunState.SCHEDULED, due_at=2**60)

    assert first == claimed.run_id
    assert second == claim_one(store, worker_id).run_id


def test_a_limit_of_several_is_filled_again_and_never_passed(store):
    worker_id = a_worker(store)
    ids = [enqueue(store, concurrency_key="k", concurrency_limit=3) for _ in range(30)]
    held, done, most = [], [], 0

    while len(done) < len(ids):
        held += claim(store, worker_id, 10)
        most = max(most, running(store, "k"))
        done.append(held[0].run_id)
        settle(store, worker_id, held.pop(0))

    assert 3 == most
    assert ids == done


def test_the_highest_priority_among_blocked_runs_is_next(store):
    worker_id = a_worker(store)
    enqueue(store, concurrency_key="k", priority=9)
    low, high = (enqueue(store, concurrency_key="k", priority=p) for p in (1, 5))
    (claimed,) = claim(store, worker_id, 3)

    settle(store, worker_id, claimed)

    assert high == claim_one(store, worker_id).run_id
    assert RunState.QUEUED == store.runs.get(low).state


def test_a_thousand_runs_of_a_busy_key_hide_no_other_run(store):
    worker_id = a_worker(store)
    enqueue_many(store, 1000, concurrency_key="k", priority=5)
    claim_one(store, worker_id)
    other = enqueue(store)

    assert other == claim_one(store, worker_id).run_id


@pytest.mark.only("sqlite")
def test_a_thousand_blocked_runs_cost_a_claim_nothing(store):
    worker_id = a_worker(store)
    enqueue_many(store, 1000, concurrency_key="k", priority=5)
    claim(store, worker_id, 2)
    enqueue_many(store, 10)
    blocked = steps_of_a_claim(store, worker_id)

    for claimed in store.leases.held(worker_id):
        settle(store, worker_id, claimed, concurrency_key=None)
    store.database.write(lambda tx: tx.script(["DELETE FROM live WHERE concurrency_key = 'k'"]))
    alone = steps_of_a_claim(store, worker_id)

    assert blocked < 1.5 * alone


def steps_of_a_claim(store, worker_id):
    """How many instructions SQLite's machine needs to claim one run."""
    count = [0]

    def step():
        count[0] += 1

    with store.database.transaction() as tx:
        tx._connection.set_progress_handler(step, 1)
        claimed = claiming.claim(tx, worker_id, {False: 1}, ["default"])
        tx._connection.set_progress_handler(None, 0)

    assert 1 == len(claimed)
    return count[0]


def test_a_waiting_run_that_is_cancelled_leaves_its_slot_to_the_next_one(store):
    worker_id = a_worker(store)
    ids = [enqueue(store, concurrency_key="k") for _ in range(3)]
    (claimed,) = claim(store, worker_id, 3)
    settle(store, worker_id, claimed)

    store.runs.cancel(ids[1], by="anna")

    assert ids[2] == claim_one(store, worker_id).run_id


def test_a_slot_that_nobody_handed_on_is_found(store):
    """The run that got it may wait in a paused queue, or be known to no worker."""
    worker_id = a_worker(store)
    enqueue(store, concurrency_key="k", priority=9)
    stuck = enqueue(store, concurrency_key="k", priority=5, queue="paused")
    free = enqueue(store, concurrency_key="k")
    (claimed,) = claim(store, worker_id, 3)
    settle(store, worker_id, claimed)
    store.queues.pause("paused", by="anna")

    assert [] == claim(store, worker_id, 3)
    assert 1 == store.leases.unblock_idle_keys()
    assert free == claim_one(store, worker_id).run_id
    assert RunState.QUEUED == store.runs.get(stuck).state
    assert 0 == store.leases.unblock_idle_keys()


def test_no_run_is_freed_while_its_key_is_busy(store):
    for _ in range(3):
        enqueue(store, concurrency_key="k")
    claim(store, a_worker(store), 3)

    assert 0 == store.leases.unblock_idle_keys()
