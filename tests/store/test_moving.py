"""A whole store moves to another database: all of it, once, whoever dies on the way."""

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from helpers.databases import again, fresh_store, settings_for
from helpers.everything import LEASE_SECONDS, columns_of, fill, rows_of, told
from helpers.factories import (
    a_new_run,
    a_worker,
    claim,
    claim_one,
    declare_dead,
    enqueue,
    reap,
    settle,
)
from helpers.moving import move, takes
from holdfast.core.errors import (
    CannotClose,
    CountsDiffer,
    NotAStore,
    NotEmpty,
    SameStore,
    StoreRefused,
    WorkersAreUp,
)
from holdfast.core.ids import new_id
from holdfast.core.models import Lease, LogChunk, WorkerState
from holdfast.core.states import RunState
from holdfast.store import copying, gates, moving, open_store, tables

TESTS = Path(__file__).parents[1]


def test_all_that_is_in_a_store_is_in_the_other_one_then(store, target, small_batches):
    fill(store)
    rows, words = rows_of(store), told(store)

    moved = move(store, target)

    assert rows == rows_of(target)
    assert words == told(target)
    ended = [attempt for attempts in words[1].values() for attempt in attempts]
    logs = sum(len(chunk.data) for chunks, *_ in words[2].values() for chunk in chunks)
    assert (len(words[0]), len(ended), logs, False) == moved


def test_the_store_that_is_moved_here_has_rows_in_every_table(store):
    fill(store)

    assert [] == [name for name, rows in rows_of(store).items() if not rows]


def test_every_table_has_the_same_columns_everywhere(store, target):
    for _, among in moving._parts(store):
        for table in among:
            assert columns_of(store, table.name) == columns_of(target, table.name)
            assert set(table.key) <= set(columns_of(store, table.name))


def test_every_table_is_moved_or_left_on_purpose(store):
    asked = {
        "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table'",
        "postgres": "SELECT tablename FROM pg_tables WHERE schemaname = 'holdfast'",
        "mysql": "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'",
    }
    there = set()
    for one in (store.database, store.log_database):
        with one.transaction(one.dialect.begin_read) as tx:
            rows = tx._connection.execute(asked[one.dialect.name]).fetchall()
            there |= {name.removeprefix("holdfast_") for (name,) in rows}

    moved = {table.name for table in (*tables.OF_RUNS, *tables.OF_LOGS)}
    assert {"move", "schema_migration", "log_watch"} == there - moved - {
        "key_lock",
        "sqlite_sequence",
    }
    assert moved <= there


REFUSALS = {
    "enqueue": lambda store, _: enqueue(store),
    "enqueue with a key": lambda store, _: enqueue(store, dedupe_key="new"),
    "enqueue many": lambda store, _: store.runs.insert([a_new_run(), a_new_run()]),
    "start a worker": lambda store, _: a_worker(store),
    "cancel": lambda store, ids: store.runs.cancel(ids["queued"], by="anna"),
    "ask to cancel": lambda store, ids: store.runs.cancel(ids["running"], by="anna"),
    "retry": lambda store, ids: store.runs.retry(ids["failed"]),
    "forget": lambda store, ids: store.runs.delete([ids["failed"]]),
    "pause": lambda store, _: store.queues.pause("default", by="anna"),
    "resume": lambda store, ids: store.queues.resume("it's; paused"),
    "delete a log": lambda store, ids: store.logs.delete([ids["logged"]]),
}


def ids_in(store):
    found = {}
    for run_id, row in ((key[0], row) for key, row in rows_of(store)["live"].items()):
        found[row["state"]] = run_id
    for (run_id,), row in rows_of(store)["ended"].items():
        found[row["state"]] = run_id
    found["logged"] = next(iter(rows_of(store)["log_end"]))[0]
    return found


@pytest.mark.to("sqlite")
def test_who_has_the_old_store_open_is_told_where_it_went(store, target):
    fill(store)
    ids = ids_in(store)
    move(store, target)
    before = rows_of(store)

    for what, do in REFUSALS.items():
        with pytest.raises(StoreRefused) as caught:
            do(store, ids)

        sentence = f"this store is being moved to {target.url}"
        told = caught.value.problem
        assert sentence[:100] == told[:100], what
        assert told == sentence or (len(told) == 128 and told.endswith("…")), what
    assert before == rows_of(store)


@pytest.mark.to("sqlite")
def test_what_only_reads_goes_on_in_the_old_store(store, target):
    fill(store)
    before = told(store)

    move(store, target)

    after = told(store)
    assert before[:3] == after[:3]
    store.logs.watch(before[0][0].run_id)
    store.prepare()


@pytest.mark.to("sqlite")
def test_a_worker_of_the_old_store_that_was_only_stopped_learns_that_it_holds_nothing(
    store, target
):
    worker = a_worker(store)
    enqueue(store)
    claimed = claim_one(store, worker)
    store.database.clock.advance(LEASE_SECONDS + 1)

    move(store, target)

    assert not store.workers.beat(worker)
    with pytest.raises(StoreRefused):
        store.leases.set_progress({claimed.lease: "{}"})
    assert [claimed.lease] == settle(store, worker, claimed, "failed")
    with pytest.raises(StoreRefused):
        settle(store, worker, claimed)
    assert WorkerState.UP == target.workers.get(worker).state
    assert RunState.RUNNING == target.runs.get(claimed.run_id).state


@pytest.mark.to("next")
def test_workers_of_the_new_store_go_on_where_those_of_the_old_one_were(store, target):
    fill(store)
    move(store, target)
    (held,) = [
        run
        for run in rows_of(target)["live"].values()
        if run["queue"] == "held" and run["cancel_by"] is None
    ]
    worker = a_worker(target, tasks=["shop.send", "café.送"])

    for record in target.workers.list():
        if record.worker_id != worker:
            declare_dead(target, record.worker_id)
    reaped = reap(target)
    target.database.clock.advance(100)
    target.runs.promote()
    ended = []
    while claims := claim(target, worker, 100):
        target.leases.unblock_idle_keys()
        for claimed in claims:
            assert [] == settle(target, worker, claimed)
            ended.append(claimed.run_id)

    assert held["run_id"] in reaped
    assert held["run_id"] in ended
    assert len(ended) == len(set(ended))
    left = rows_of(target)["live"].values()
    assert {"it's; paused"} >= {run["queue"] for run in left}
    again_there = enqueue(target, dedupe_key="Only ONE ")
    assert again_there not in rows_of(store)["run"]


@pytest.mark.to("next")
def test_a_move_that_is_complete_is_found_so_and_nothing_changes(store, target):
    fill(store)
    first = move(store, target)
    worker = a_worker(target)
    run_id = enqueue(target, queue="new")
    settle(target, worker, claim(target, worker, 1, queues=["new"])[0])
    rows = rows_of(target)

    second = move(again(store), again(target))

    assert first._replace(before=True) == second
    assert rows == rows_of(target)
    assert RunState.SUCCEEDED == target.runs.get(run_id).state


@pytest.mark.to("sqlite")
def test_a_store_with_a_living_worker_is_left_as_it_is(store, target):
    worker = a_worker(store)
    store.workers.beat(worker)
    store.database.clock.advance(LEASE_SECONDS / 2)

    with pytest.raises(WorkersAreUp) as caught:
        move(store, target)

    assert (f"{worker} on lathe (pid 4711)",) == caught.value.workers
    assert takes(store)
    assert takes(target)
    store.workers.set_state(worker, WorkerState.STOPPED)
    with pytest.raises(NotEmpty, match="1 rows in queue"):
        move(store, target)


@pytest.mark.to("sqlite")
def test_a_worker_that_beats_while_the_store_is_closed_ends_the_move(store, target, monkeypatch):
    worker = a_worker(store)
    store.database.clock.advance(LEASE_SECONDS + 1)
    real = moving._Moving._close

    def close(self, found):
        real(self, found)
        store.workers.beat(worker)

    monkeypatch.setattr(moving._Moving, "_close", close)

    with pytest.raises(WorkersAreUp):
        move(store, target)
    store.workers.set_state(worker, WorkerState.STOPPED)
    move(store, target)

    assert takes(target)


@pytest.mark.to("sqlite")
@pytest.mark.parametrize(
    ("put", "found"),
    [
        (enqueue, "1 rows in queue"),
        (lambda store: store.workers.set_state(a_worker(store), WorkerState.STOPPED), "worker"),
        (lambda store: store.logs.append({Lease(new_id(), 1): [CHUNK]}, {}), "1 rows in log_chunk"),
    ],
)
def test_a_store_is_not_moved_to_where_something_is(store, target, put, found):
    put(target)
    rows = rows_of(target)

    with pytest.raises(NotEmpty, match=found):
        move(store, target)

    assert takes(store)
    assert rows == rows_of(target)
    assert gates.move_of(store.database, gates.AWAY) is None


CHUNK = LogChunk(0, 0, 0, 1, 1, 4, 0, 0, b"four")


def test_a_store_is_not_moved_to_itself(store, templates):
    with pytest.raises(SameStore):
        move(store, again(store))

    assert takes(store)


@pytest.mark.only("sqlite")
def test_a_store_is_not_moved_to_itself_by_another_name(store, tmp_path):
    (tmp_path / "elsewhere").symlink_to(store.database.dialect.path.parent)
    with (
        closing(open_store(settings_for(tmp_path / "elsewhere"))) as same,
        pytest.raises(SameStore),
    ):
        move(store, same)


@pytest.mark.only("sqlite")
def test_a_file_of_something_else_is_not_moved_and_not_changed(store, tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    path = folder / "holdfast.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE song (name TEXT)")
    before = path.read_bytes()

    with closing(open_store(settings_for(folder))) as foreign:
        for one, other in ((foreign, store), (store, foreign)):
            with pytest.raises(NotAStore):
                move(one, other)

    assert before == path.read_bytes()


@pytest.mark.only("sqlite")
def test_nothing_is_made_where_there_is_no_store_to_move(tmp_path):
    stores = [open_store(settings_for(tmp_path / name)) for name in ("old", "new")]

    with pytest.raises(NotAStore):
        move(*stores)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.to("sqlite")
def test_a_row_that_is_missing_in_the_end_is_told_and_opens_nothing(store, target, monkeypatch):
    fill(store)
    real = copying.Copy._write

    def write(copy, rows, tx):
        real(copy, rows[1:] if copy._table.name == "ended" else rows, tx)

    monkeypatch.setattr(copying.Copy, "_write", write)

    with pytest.raises(CountsDiffer) as caught:
        move(store, target)

    there = len(rows_of(store)["ended"])
    assert ("ended", there - 1, there) == (
        caught.value.table,
        caught.value.found,
        caught.value.expected,
    )
    assert not takes(target)
    moving.give_up(store)
    assert takes(store)


@pytest.mark.to("next")
def test_a_store_that_was_moved_moves_on(store, target, template, tmp_path):
    fill(store)
    rows = rows_of(store)
    move(store, target)
    with closing(fresh_store(template, tmp_path / "third")) as third:
        target.database.clock.advance(LEASE_SECONDS + 1)

        move(target, third)

        assert rows == rows_of(third)
        assert not takes(target)
        assert takes(third)


def test_the_new_store_has_no_gate_left(store, target):
    move(store, target)

    for one in (target.database, target.log_database):
        assert not one.read(lambda tx: tx.rows("gates"))
    assert {target.url, store.url} == target.names()


@pytest.mark.only("postgres", "mysql")
@pytest.mark.to("sqlite")
def test_who_may_make_no_triggers_is_told_what_that_takes(store, target, monkeypatch):
    real = type(store.database.dialect).gates

    def gates_of(dialect, *arguments):
        return dict.fromkeys(real(dialect, *arguments), "CREATE TRIGGER nonsense")

    monkeypatch.setattr(type(store.database.dialect), "gates", gates_of)

    with pytest.raises(CannotClose, match="the right to create triggers"):
        move(store, target)

    assert takes(store)
    moving.give_up(store)


@pytest.mark.to("sqlite")
def test_a_quote_in_the_address_is_only_a_quote(store, template, target, tmp_path):
    with closing(fresh_store(template, tmp_path)):
        pass
    words = "o'\\'; DROP TABLE x; -- \\"
    for one, among in moving._parts(store):
        gates.close(one, among, gates.Move(new_id(), gates.LEAVING, words))

    with pytest.raises(StoreRefused) as caught:
        enqueue(store)

    assert f"this store is being moved to {words}" == caught.value.problem


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_page_of_a_log_is_read_in_the_order_of_its_index(store, depth):
    table = tables.OF_LOGS[0]
    for number in range(40):
        rows = [CHUNK._replace(start=4 * n) for n in range(20)]
        store.logs.append({Lease(f"{number:08}-0000-7000-8000-000000000000", 1): rows}, {})
    copying.Copy(store.log_database, store.log_database, table, "")
    one = store.log_database
    text, bind, _ = one._queries[f"{table.name}.page.{depth}"]
    values = {"run_id": "00000020", "attempt": 0, "start": 0, "limit": 16, "now": 0}

    with one.transaction() as tx:
        if one.dialect.name == "postgres":
            tx._connection.execute("SET LOCAL enable_seqscan = off")
            tx._connection.execute("SET LOCAL enable_bitmapscan = off")
        ask = "EXPLAIN QUERY PLAN" if one.dialect.name == "sqlite" else "EXPLAIN"
        plan = str(tx._connection.execute(f"{ask} {text}", bind(values)).fetchall())

    assert "log_chunk_start_idx" in plan or "PRIMARY" in plan
    for way in ("TEMP B-TREE", "SCAN log", "Seq Scan", "Sort", "filesort"):
        assert way not in plan


BIG = 96  # chunks of half a mebibyte


def test_a_big_log_is_moved_in_little_memory(store, target):
    lease = Lease(new_id(), 1)
    for number in range(BIG):
        chunk = CHUNK._replace(start=number << 19, data=bytes([number]) * (1 << 19))
        store.logs.append({lease: [chunk]}, {})

    tracemalloc.start()
    try:
        moved = move(store, target)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert BIG << 19 == moved.log_bytes
    assert peak < (BIG << 19)
