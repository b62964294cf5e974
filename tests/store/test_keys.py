"""Concurrency keys: workers that claim and settle at once keep to them, and never to each other."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager

import pytest

from helpers.databases import again
from helpers.factories import (
    a_settlement,
    a_worker,
    claim,
    claim_one,
    enqueue,
    enqueue_many,
    settle,
)
from helpers.processes import at_once, claim_and_settle
from helpers.waiting import wait_until
from holdfast.core.states import RunState
from holdfast.store import claiming

ON_SERVERS = pytest.mark.only("postgres", "mysql")  # where several write at once
LIMITS = {"one": 1, "two": 2, "another": 1}


@pytest.fixture
def no_deadlock(template):
    """No two transactions wait for each other for ever, so that the server has to end one."""
    before = template.server.deadlocks()
    yield
    assert before == template.server.deadlocks()


@contextmanager
def beside(store):
    """A transaction of somebody else, open all the while."""
    with closing(again(store)) as other, other.database.transaction() as tx:
        yield tx


def in_a_thread(store, count):
    """Start to claim; returns a function that waits for what was claimed."""
    worker_id = a_worker(store)
    claims = []
    thread = threading.Thread(target=lambda: claims.extend(claim(store, worker_id, count)))
    thread.start()

    def result():
        thread.join(20)
        assert not thread.is_alive()
        return claims

    return result


def use(store, *keys):
    """Let keys have been used before: MySQL makes what is locked for a key at its first use."""
    worker_id = a_worker(store)
    for key in keys:
        enqueue(store, concurrency_key=key)
        settle(store, worker_id, claim_one(store, worker_id))


def try_key(tx, key):
    """Tell whether nobody else has the lock of a key."""
    return tx.row("try_key", concurrency_key=key) is not None


def blocked(store, ids):
    return [run_id for run_id in ids if store.runs.get(run_id).blocked]


@pytest.mark.parametrize("count", [2, 4])
def test_workers_that_share_keys_end_all_runs_within_the_limits(store, template, count):
    use(store, *LIMITS)
    ids = []
    for number in range(40):
        for key, limit in LIMITS.items():
            changes = {"concurrency_key": key, "concurrency_limit": limit}
            ids.append(enqueue(store, priority=number % 3, **changes))
    server = getattr(template, "server", None)
    before = server and server.deadlocks()

    passed = at_once(count, claim_and_settle, store.url, LIMITS, ids)

    assert [[]] * count == passed
    assert {RunState.SUCCEEDED} == {store.runs.get(run_id).state for run_id in ids}
    assert before == (server and server.deadlocks())


@ON_SERVERS
def test_who_blocks_a_key_passes_over_what_another_one_has_found(store, no_deadlock):
    """He may be waiting for the key, or for what we have locked."""
    use(store, "k")
    ids = enqueue_many(store, 6, concurrency_key="k")
    first, second = a_worker(store), a_worker(store)
    with beside(store) as others:
        assert ids[:2] == [row[0] for row in find(others, second, 2)]
        enqueue(store, concurrency_key="k", priority=9)
        claimed = claim(store, first, 2)
        others.execute("claim", run_id=ids[0], worker_id=second)

    assert 1 == len(claimed)
    assert ids[2:] == blocked(store, ids)


def find(tx, worker_id, limit):
    """Find runs to claim, as a claim does before it locks their keys."""
    return claiming._taker(tx, worker_id, ["*"])({False: limit}, 1 << 20)


@ON_SERVERS
def test_who_finds_a_key_in_other_hands_waits_for_it_with_empty_hands(store, template, no_deadlock):
    use(store, "busy", "k")
    enqueue(store, concurrency_key="busy")
    claim_one(store, a_worker(store))
    enqueue(store, concurrency_key="busy")
    last = enqueue(store, concurrency_key="k")
    other = a_worker(store)

    with beside(store) as others:
        assert try_key(others, "k")
        claims = in_a_thread(store, 2)
        wait_until(template.server.waits_for_lock)
        assert try_key(others, "busy")
        assert [last] == [row[0] for row in find(others, other, 2)]

    assert [last] == [one.run_id for one in claims()]


@ON_SERVERS
def test_runs_of_a_key_in_other_hands_keep_nobody_from_the_others(store):
    use(store, "k")
    keyed, plain = enqueue(store, concurrency_key="k"), enqueue(store)
    worker_id = a_worker(store)
    with beside(store) as others:
        assert try_key(others, "k")
        assert [plain] == [one.run_id for one in claim(store, worker_id, 2)]

    assert keyed == claim_one(store, worker_id).run_id


@ON_SERVERS
def test_two_that_end_at_once_hand_on_to_two_runs(store, no_deadlock):
    use(store, "k")
    ids = [enqueue(store, concurrency_key="k", concurrency_limit=2) for _ in range(4)]
    worker_id = a_worker(store)
    first, second = claim(store, worker_id, 4)
    with beside(store) as others:
        store.leases._settle(others, worker_id, [a_settlement(first)], one_by_one=False)
        settle(store, worker_id, second)

    assert [] == blocked(store, ids[2:])
    assert ids[2:] == [one.run_id for one in claim(store, worker_id, 4)]


def test_keys_are_looked_at_in_turn_for_slots_that_nobody_handed_on(store):
    worker_id = a_worker(store)
    for number in range(5):
        enqueue_many(store, 3, concurrency_key=f"k{number}")
    claims = claim(store, worker_id, 15)
    for one in claims[3:]:
        settle(store, worker_id, one, concurrency_key=None)

    freed = [store.leases.unblock_idle_keys(limit=2) for _ in range(3)]

    assert [0, 1, 1] == freed


def test_who_looks_for_idle_keys_keeps_nobody_from_writing(store, monkeypatch):
    enqueue_many(store, 3, concurrency_key="k")
    claim_one(store, a_worker(store))

    monkeypatch.setattr(store.database, "write", None)

    assert 0 == store.leases.unblock_idle_keys()


def test_the_slot_of_a_key_is_counted_again_before_it_is_given(store, monkeypatch):
    worker_id = a_worker(store)
    ids = enqueue_many(store, 3, concurrency_key="k")
    (first,) = claim(store, worker_id, 3)
    settle(store, worker_id, first, concurrency_key=None)
    real = store.database.write

    def late(work):
        monkeypatch.setattr(store.database, "write", real)
        store.leases.unblock_idle_keys()
        claim_one(store, worker_id)
        return real(work)

    monkeypatch.setattr(store.database, "write", late)

    assert 0 == store.leases.unblock_idle_keys()
    assert ids[2:] == blocked(store, ids)
