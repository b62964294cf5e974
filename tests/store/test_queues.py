"""Queues: there from their first run on, counted, paused and resumed."""

from __future__ import annotations

from helpers.factories import a_run, a_settlement, a_worker, claim, enqueue


def test_a_queue_is_there_from_its_first_run_on(store):
    assert [] == store.queues.list()
    assert store.queues.get("mail") is None

    enqueue(store, queue="mail")

    assert ["mail"] == [queue.name for queue in store.queues.list()]
    assert "mail" == store.queues.get("mail").name


def test_a_queue_says_how_many_of_its_runs_wait_and_run(store):
    for state in ("running", "succeeded", "failed", "queued", "queued", "scheduled"):
        a_run(store, state, queue="mail")
    a_run(store, "cancelled", queue="reports")

    counted = {q.name: (q.queued, q.running, q.scheduled) for q in store.queues.list()}

    assert {"mail": (2, 1, 1), "reports": (0, 0, 0)} == counted


def test_a_paused_queue_says_who_paused_it_when_and_why(store, clock):
    enqueue(store, queue="mail")

    assert store.queues.pause("mail", by="anna", reason="the mail server is down")
    queue = store.queues.get("mail")

    assert ("anna", clock.now()) == (queue.paused_by, queue.paused_at)
    assert "the mail server is down" == queue.reason


def test_pausing_twice_keeps_the_first(store):
    store.queues.pause("mail", by="anna")

    assert not store.queues.pause("mail", by="ben")
    assert "anna" == store.queues.get("mail").paused_by


def test_a_queue_can_be_paused_before_its_first_run(store):
    assert store.queues.pause("mail", by="anna")

    enqueue(store, queue="mail")

    assert "anna" == store.queues.get("mail").paused_by


def test_resuming_clears_the_pause(store):
    store.queues.pause("mail", by="anna", reason="x")

    assert store.queues.resume("mail")
    assert not store.queues.resume("mail")
    assert ("mail", None, None, None) == store.queues.get("mail")[:4]


def test_a_queue_that_is_not_there_is_not_resumed(store):
    assert not store.queues.resume("nowhere")


def test_what_runs_in_a_paused_queue_goes_on(store):
    run_id, _ = a_run(store, "running", queue="mail")
    store.queues.pause("mail", by="anna")

    assert "running" == store.runs.get(run_id).state


def test_the_runs_ahead_are_those_that_would_be_claimed_before(store):
    older, run_id, _younger = (enqueue(store) for _ in range(3))
    urgent = enqueue(store, priority=1)
    enqueue(store, queue="other", priority=50)
    run = store.runs.get(run_id)

    assert 2 == store.queues.ahead_of(run)
    assert 1 == store.queues.ahead_of(run, limit=1)

    claimed = claim(store, a_worker(store), 2, queues=["default"])
    assert [urgent, older] == [c.run_id for c in claimed]
    assert 0 == store.queues.ahead_of(run)


def test_a_free_slot_of_a_key_is_not_kept_by_a_run_of_a_paused_queue(store):
    worker = a_worker(store)
    first = enqueue(store, queue="held", concurrency_key="k")
    waiting = enqueue(store, queue="paused", concurrency_key="k")
    wanted = enqueue(store, queue="open", concurrency_key="k")
    (held,) = claim(store, worker)
    assert [] == claim(store, worker, count=10)
    store.queues.pause("paused", by="anna")

    store.leases.settle(worker, [a_settlement(held)])

    (after,) = claim(store, worker, count=10)
    assert (first, wanted) == (held.run_id, after.run_id)
    store.queues.resume("paused")
    store.leases.settle(worker, [a_settlement(after)])
    assert [waiting] == [c.run_id for c in claim(store, worker, count=10)]
