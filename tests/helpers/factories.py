"""Make legal rows through the store's own verbs."""

from __future__ import annotations

from holdfast.core.ids import new_id
from holdfast.core.models import NewRun, Settlement, WorkerRecord, WorkerState
from holdfast.core.states import AttemptOutcome, RunState
from holdfast.core.verdict import WorkerDeath

TASK = "shop.send"

_STATE_AFTER = {
    AttemptOutcome.SUCCEEDED: RunState.SUCCEEDED,
    AttemptOutcome.FAILED: RunState.FAILED,
    AttemptOutcome.TIMED_OUT: RunState.FAILED,
    AttemptOutcome.CRASHED: RunState.QUARANTINED,
    AttemptOutcome.LOST: RunState.QUEUED,
    AttemptOutcome.CANCELLED: RunState.CANCELLED,
    AttemptOutcome.RELEASED: RunState.QUEUED,
    AttemptOutcome.SNOOZED: RunState.QUEUED,
}

_OUTCOME_BEFORE = {
    RunState.SUCCEEDED: AttemptOutcome.SUCCEEDED,
    RunState.FAILED: AttemptOutcome.FAILED,
    RunState.CANCELLED: AttemptOutcome.CANCELLED,
    RunState.QUARANTINED: AttemptOutcome.CRASHED,
}


def a_new_run(**changes):
    """A run that nobody has enqueued yet."""
    values = {
        "run_id": new_id(),
        "task": TASK,
        "queue": "default",
        "priority": 0,
        "arguments": '{"args":[],"kwargs":{}}',
        "options": "{}",
    }
    return NewRun(**{**values, **changes})


def enqueue(store, **changes):
    """Enqueue one run and return its id."""
    return store.runs.insert([a_new_run(**changes)])[0]


def enqueue_many(store, count, **changes):
    """Enqueue runs and return their ids, the oldest first."""
    return store.runs.insert([a_new_run(**changes) for _ in range(count)])


def a_worker(store, tasks=(TASK,), shared=(), **changes):
    """Register a worker that knows exclusive and shared tasks, and return its id."""
    values = {
        "worker_id": new_id(),
        "state": WorkerState.UP,
        "beat": 0,
        "host": "lathe",
        "host_id": "machine-1",
        "boot_id": "boot-1",
        "pid": 4711,
        "pid_start": 99,
        "version": "0.1.0",
        "queues": '["*"]',
        "executors": 2,
        "started_at": 0,
        "seen_at": 0,
        "death": None,
    }
    worker = WorkerRecord(**{**values, **changes})
    known = {**dict.fromkeys(tasks, False), **dict.fromkeys(shared, True)}
    store.workers.register(worker, known)
    return worker.worker_id


def claim(store, worker_id, count=1, *, shared=False, queues=("*",)):
    """Claim up to `count` runs."""
    return store.leases.settle_and_claim(worker_id, [], {shared: count}, queues)[1]


def claim_one(store, worker_id):
    """Claim one run, which must be there."""
    (found,) = claim(store, worker_id)
    return found


def a_settlement(claimed, outcome=AttemptOutcome.SUCCEEDED, **changes):
    """The settlement of a claim, as a worker would write it."""
    outcome = AttemptOutcome(outcome)
    values = {
        "run_id": claimed.run_id,
        "attempt": claimed.attempt,
        "outcome": outcome,
        "state": _STATE_AFTER[outcome],
        "started_at": claimed.claimed_at,
        "finished_at": claimed.claimed_at + 1,
        "failures": claimed.failures,
        "crashes": claimed.crashes,
        "losses": claimed.losses,
        "shared": bool(claimed.shared),
        "concurrency_key": claimed.concurrency_key,
    }
    return Settlement(**{**values, **changes})


def settle(store, worker_id, claimed, outcome=AttemptOutcome.SUCCEEDED, **changes):
    """Settle a claim and return the leases that turned out to be lost."""
    return store.leases.settle(worker_id, [a_settlement(claimed, outcome, **changes)])


def a_run(store, state="queued", **changes):
    """A run in the given state, and the claim of its last attempt where there was one.

    It has a queue of its own unless one is given, so that no other run is claimed with it.
    """
    state = RunState(state)
    if state == RunState.SCHEDULED:
        changes.setdefault("due_at", store.database.clock.now() + 60_000_000)
    changes = {"queue": f"queue-{new_id()}", **changes}
    run_id = enqueue(store, **changes)
    if state in (RunState.SCHEDULED, RunState.QUEUED):
        return run_id, None
    worker_id = a_worker(store, tasks=[changes.get("task", TASK)])
    (claimed,) = claim(store, worker_id, 1000, queues=[changes["queue"]])
    if state != RunState.RUNNING:
        settle(store, worker_id, claimed, _OUTCOME_BEFORE[state])
    return run_id, claimed


def declare_dead(store, worker_id):
    """Declare a worker dead, as an observer does who saw its heartbeat stand still."""
    beat = store.workers.get(worker_id).beat
    return store.workers.declare_dead(worker_id, beat=beat, death=WorkerDeath("silent", "lathe"))


def reap(store):
    """Give back what dead workers hold, as the reaper does; return the ids of the runs."""
    ids = []
    for worker in store.workers.gone_with_leases():
        held = store.leases.held(worker.worker_id)
        settlements = [a_settlement(c, AttemptOutcome.LOST, reaped=True) for c in held]
        store.leases.settle(worker.worker_id, settlements)
        ids += [claimed.run_id for claimed in held]
    return ids
