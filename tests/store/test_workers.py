"""Workers: each counts its own heartbeats, and is dead only when others saw them stand still."""

from __future__ import annotations

import pytest

from helpers.factories import a_run, a_worker, claim_one, declare_dead, enqueue, reap, settle
from holdfast.core.clock import SECOND
from holdfast.core.models import WorkerState
from holdfast.core.states import RunState
from holdfast.core.verdict import WorkerDeath

DEATH = WorkerDeath("silent", "lathe", seen_by="other")


def test_a_registered_worker_is_up_with_what_it_said_of_itself(store, clock):
    worker_id = a_worker(store, host="lathe", pid=7, queues='["a"]')
    (worker,) = store.workers.list()

    assert (worker_id, "lathe", 7, '["a"]') == (
        worker.worker_id,
        worker.host,
        worker.pid,
        worker.queues,
    )
    assert (WorkerState.UP, 0, None) == (worker.state, worker.beat, worker.death)
    assert clock.now() == worker.started_at == worker.seen_at


def test_registering_again_changes_nothing(store):
    worker_id = a_worker(store)
    store.workers.beat(worker_id)

    a_worker(store, ["other"], worker_id=worker_id)

    assert 1 == store.workers.get(worker_id).beat
    assert {"shop.send": False} == store.workers.tasks()


def test_a_heartbeat_is_counted(store, clock):
    worker_id = a_worker(store)
    clock.advance(5)

    assert store.workers.beat(worker_id)
    assert store.workers.beat(worker_id)
    worker = store.workers.get(worker_id)
    assert (2, clock.now()) == (worker.beat, worker.seen_at)


def test_the_beats_of_one_worker_are_not_those_of_another(store):
    one, other = a_worker(store), a_worker(store)
    store.workers.beat(one)

    assert (1, 0) == (store.workers.get(one).beat, store.workers.get(other).beat)


@pytest.mark.parametrize("state", [WorkerState.UP, WorkerState.DRAINING])
def test_a_worker_whose_beat_stands_still_is_declared_dead_once(store, state):
    worker_id = a_worker(store)
    store.workers.set_state(worker_id, state)

    assert store.workers.declare_dead(worker_id, beat=0, death=DEATH)
    assert not store.workers.declare_dead(worker_id, beat=0, death=DEATH)
    assert WorkerState.DEAD == store.workers.get(worker_id).state


def test_a_worker_that_beat_meanwhile_is_not_declared_dead(store):
    worker_id = a_worker(store)
    store.workers.beat(worker_id)

    assert not store.workers.declare_dead(worker_id, beat=0, death=DEATH)
    assert store.workers.beat(worker_id)


def test_a_worker_declared_dead_learns_it_from_its_next_heartbeat(store):
    worker_id = a_worker(store)
    declare_dead(store, worker_id)

    assert not store.workers.beat(worker_id)


@pytest.mark.parametrize("state", [WorkerState.UP, WorkerState.DRAINING, WorkerState.STOPPED])
def test_nobody_comes_back_from_a_later_state(store, state):
    worker_id = a_worker(store)
    declare_dead(store, worker_id)
    store.workers.set_state(worker_id, state)

    assert WorkerState.DEAD == store.workers.get(worker_id).state


def test_a_worker_that_said_goodbye_is_not_declared_dead(store):
    worker_id = a_worker(store)
    store.workers.set_state(worker_id, WorkerState.STOPPED)

    assert not declare_dead(store, worker_id)
    assert not store.workers.beat(worker_id)


def test_only_living_workers_are_listed_unless_asked_for_the_others_too(store):
    up, draining, stopped, dead = (a_worker(store) for _ in range(4))
    store.workers.set_state(draining, WorkerState.DRAINING)
    store.workers.set_state(stopped, WorkerState.STOPPED)
    declare_dead(store, dead)

    assert {up, draining} == {w.worker_id for w in store.workers.list()}
    assert {up, draining, stopped, dead} == {w.worker_id for w in store.workers.list(gone=True)}


def test_only_workers_that_claim_are_asked_for_their_tasks(store):
    a_worker(store, ["a"], shared=["b"])
    draining = a_worker(store, ["c"])
    store.workers.set_state(draining, WorkerState.DRAINING)

    assert {"a": False, "b": True} == store.workers.tasks()
    assert 1 == len(store.workers.knowing("a"))
    assert [] == store.workers.knowing("c") == store.workers.knowing("d")


@pytest.mark.parametrize("how", ["dead", "stopped"])
def test_what_a_gone_worker_holds_is_found_and_given_back(store, how):
    worker_id = a_worker(store)
    run_id = enqueue(store)
    claimed = claim_one(store, worker_id)
    assert [] == store.workers.gone_with_leases()

    if how == "dead":
        declare_dead(store, worker_id)
    else:
        store.workers.set_state(worker_id, WorkerState.STOPPED)

    assert [worker_id] == [worker.worker_id for worker in store.workers.gone_with_leases()]
    assert [run_id] == reap(store)
    assert [] == store.workers.gone_with_leases()
    assert claimed.attempt + 1 == claim_one(store, a_worker(store)).attempt


def test_a_gone_worker_that_holds_nothing_is_of_no_interest(store):
    worker_id = a_worker(store)
    enqueue(store)
    settle(store, worker_id, claim_one(store, worker_id))
    declare_dead(store, worker_id)

    assert [] == store.workers.gone_with_leases()


def test_a_worker_is_forgotten_when_it_is_long_gone_and_holds_nothing(store, clock):
    gone, holding, up = a_worker(store), a_worker(store), a_worker(store)
    enqueue(store)
    claim_one(store, holding)
    declare_dead(store, gone)
    declare_dead(store, holding)
    clock.advance(100)
    young = a_worker(store)
    declare_dead(store, young)

    assert 1 == store.workers.forget(before=clock.now() - 50 * SECOND)
    assert store.workers.get(gone) is None
    assert all(store.workers.get(worker_id) for worker_id in (holding, up, young))


def test_the_attempts_of_a_forgotten_worker_stay(store, clock):
    run_id, _ = a_run(store, "succeeded")
    (attempt,) = store.runs.attempts(run_id)
    declare_dead(store, attempt.worker_id)
    clock.advance(100)
    store.workers.forget(before=clock.now())

    assert store.workers.get(attempt.worker_id) is None
    assert [attempt] == store.runs.attempts(run_id)
    assert RunState.SUCCEEDED == store.runs.get(run_id).state
