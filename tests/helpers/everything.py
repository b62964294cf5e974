"""A store that has everything in it, and all that is in a store."""

from __future__ import annotations

import zlib

from helpers.chunks import chunked
from helpers.factories import (
    a_new_run,
    a_run,
    a_settlement,
    a_worker,
    claim,
    declare_dead,
    enqueue,
    settle,
)
from holdfast.core.models import Hole, LogEnd, Stream, WorkerState
from holdfast.core.states import AttemptOutcome
from holdfast.core.usage import Usage
from holdfast.store import tables
from holdfast.store.runs import RunFilter

STATES = ("scheduled", "queued", "running", "succeeded", "failed", "cancelled", "quarantined")
LEASE_SECONDS = 30.0


def fill(store):
    """Put everything into a store that there can be; its workers have been silent for a lease."""
    for state in STATES:
        a_run(store, state, task="café.送", arguments='{"args":["ünï\\\\ \'\\"%s %(x)s :a @b"]}')
    waiting_runs(store)
    with_history(store)
    dead_worker(store)
    store.queues.pause("it's; paused", by="anna", reason="100 % — 'quoted' \\ 🙂")
    a_worker(store, tasks=["a", "b"], shared=["c"])
    store.workers.set_state(a_worker(store), WorkerState.STOPPED)
    write_logs(store)
    store.logs.watch(enqueue(store))
    store.database.clock.advance(LEASE_SECONDS + 1)


def waiting_runs(store):
    """Runs that wait for each other, and one that cannot be enqueued twice."""
    store.runs.insert([a_new_run(dedupe_key="Only ONE ", priority=-5)])
    limited = {"queue": "keys", "concurrency_key": "tenant:7"}
    store.runs.insert([a_new_run(**limited) for _ in range(3)])
    claim(store, a_worker(store), 3, queues=["keys"])
    enqueue(store, queue="many", arguments='{"args":["' + "x" * 300_000 + '"]}')
    for _ in range(40):
        enqueue(store, queue="many")
    cancelled = enqueue(store)
    store.runs.cancel(cancelled, by="anna")


def with_history(store):
    """A run with three attempts behind it that waits for the fourth, and an ended one."""
    worker = a_worker(store)
    for last in ("lost", "succeeded"):
        run_id = enqueue(store, queue=f"history-{last}", due_at=None)
        for outcome in ("lost", "crashed", last):
            claimed = claim(store, worker, 1, queues=[f"history-{last}"])[0]
            changes = {"certificate": '{"sentence":"No ☂"}', "peak_rss": 1 << 40, "cpu_ms": 77}
            changes |= {"usage": Usage(1.0, [1, 2], [0.5, 1.0]), "logged": True}
            state = None if outcome == "succeeded" else a_settlement(claimed, "released").state
            changes |= {"state": state} if state else {"result": '"\\u0000 and ünï"'}
            settle(store, worker, claimed, AttemptOutcome(outcome), **changes)
        assert 3 == store.runs.get(run_id).attempt


def dead_worker(store):
    """Two workers that hold runs: one was declared dead, nobody knows of the other yet."""
    for known in (True, False):
        worker = a_worker(store)
        enqueue(store, queue="held")
        (claimed,) = claim(store, worker, 1, queues=["held"])
        store.leases.set_progress({claimed.lease: '{"done":1.5,"text":"½"}'})
        store.leases.set_paused({claimed.lease: "no room"})
        store.leases.set_usage({claimed.lease: Usage(1.0, [5], [0.25])})
        store.workers.set_trouble(worker, "no room on /dev/sda1")
        if known:
            declare_dead(store, worker)
            store.runs.cancel(claimed.run_id, by="otto")


def write_logs(store):
    """Logs of all kinds: pressed or not, growing, broken, deleted, about to be."""
    leases = [claim_all(store) for _ in range(6)]
    pressed, growing, broken, retired, doomed, silent = leases
    parts = [(b"line %d \xff\xfe \xe4\xb8\n\r\x1b[1m" % n, Stream(1 + n % 3)) for n in range(30)]
    for lease in (pressed, retired):
        store.logs.append({lease: chunked(parts)}, {lease: end_of(chunked(parts))})
    while store.upkeep.compact():
        pass
    holes = end_of(chunked(parts), missing="some", holes=(Hole(3, 5), Hole(9, 1)))
    store.logs.append({broken: chunked(parts)}, {broken: holes})
    store.logs.append({growing: chunked(["ünï 🙂".encode(), b"\0" * 3000, b"no line end"])}, {})
    store.logs.append({doomed: chunked(parts)}, {doomed: end_of(chunked(parts))})
    store.logs.append({}, {silent: LogEnd(0, 0, 0, None)})
    store.upkeep.retire([retired])
    while store.upkeep.sweep():
        pass
    store.logs.delete([doomed.run_id])


def claim_all(store):
    """The lease of a run that is being carried out."""
    worker = a_worker(store)
    enqueue(store, queue=f"logs-{worker}")
    (claimed,) = claim(store, worker, 1, queues=[f"logs-{worker}"])
    return claimed.lease


def end_of(chunks, missing=None, **more):
    """The final record of a log."""
    data = b"".join(chunk.data for chunk in chunks)
    return LogEnd(len(data), data.count(b"\n"), zlib.crc32(data), missing, **more)


def rows_of(store):
    """All that is moved, as it is stored: table -> rows by their key."""
    found = {}
    for database, among in ((store.database, tables.OF_RUNS), (store.log_database, tables.OF_LOGS)):
        for table in among:
            columns = columns_of(store, table.name)
            database.learn({"all": f"SELECT {', '.join(columns)} FROM @{table.name}"})
            rows = database.read(lambda tx: tx.rows("all"))
            records = [dict(zip(columns, row, strict=True)) for row in rows]
            found[table.name] = {tuple(r[k] for k in table.key): r for r in records}
    return found


def columns_of(store, table):
    """The columns of a table that hold something of their own."""
    database = store.log_database if table.startswith("log_") else store.database
    return [name for (name,) in database.read(lambda tx: tx.rows("columns_of", name=table))]


def told(store):
    """All that people and programs are told of a store."""
    runs = store.runs.list(RunFilter(limit=1000))
    attempts = {run.run_id: store.runs.attempts(run.run_id) for run in runs}
    leases = {
        (key[0], key[1])
        for name in ("log_chunk", "log_block", "log_end")
        for key in rows_of(store)[name]
    }
    from holdfast.core.models import Lease

    logs = {
        lease: (
            list(store.logs.iterate(Lease(*lease))),
            store.logs.end(Lease(*lease)),
            store.logs.position(Lease(*lease)),
            store.logs.offset_of_line(Lease(*lease), 7),
        )
        for lease in leases
    }
    return runs, attempts, logs, store.workers.list(gone=True), store.queues.list()
