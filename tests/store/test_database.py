"""Transactions: retried while others hold the lock, rolled back whole, errors wrapped once."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from helpers.databases import again, fresh_store
from helpers.factories import a_new_run, enqueue
from helpers.processes import at_once, enqueue_and_claim
from helpers.waiting import wait_until
from holdfast.core.config import StoreSettings
from holdfast.core.errors import ConfigError, StoreUnavailable
from holdfast.store import open_store
from holdfast.store.connections import Line
from holdfast.store.runs import RunFilter


def names(store):
    """The names of the queues there are."""
    return [queue.name for queue in store.queues.list()]


def add_queue(name):
    """Work for a transaction: one row."""
    return lambda tx: tx.execute("insert_queue", name=name)


@pytest.mark.only("sqlite")
def test_four_processes_on_one_new_file_see_no_error_and_share_the_runs(database_kind, tmp_path):
    answers = at_once(4, enqueue_and_claim, str(tmp_path), 50)

    enqueued = [run_id for ids, _ in answers for run_id in ids]
    claimed = [run_id for _, ids in answers for run_id in ids]
    assert 200 == len(claimed)
    assert sorted(enqueued) == sorted(claimed)


@pytest.mark.only("sqlite")
def test_a_transaction_waits_for_the_one_that_holds_the_lock(store):
    held, release = threading.Event(), threading.Event()

    def hold():
        with again(store).database.transaction():
            held.set()
            release.wait(10)

    def enqueue_in_thread():
        done.append(enqueue(store))

    done = []
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    waiting = threading.Thread(target=enqueue_in_thread)
    waiting.start()
    assert [] == done
    release.set()
    wait_until(lambda: done)
    holder.join()
    waiting.join()


@pytest.mark.only("sqlite")
def test_a_store_locked_for_too_long_is_unavailable(template, tmp_path):
    store = fresh_store(template, tmp_path, wait_seconds=0.01)

    with again(store).database.transaction(), pytest.raises(StoreUnavailable, match="locked"):
        enqueue(store)

    assert [] == store.runs.list(RunFilter())
    enqueue(store)


def test_readers_do_not_wait_for_a_writer(store):
    enqueue(store)

    with again(store).database.transaction() as tx:
        add_queue("hidden")(tx)

        assert ["default"] == names(store)


def test_who_comes_to_look_at_logs_does_not_wait_for_a_writer_either(store):
    with store.log_database.transaction():
        other = again(store)
        other.log_database.wait_seconds = 0.0

        assert set() == other.logs.watched()
    other.close()


def test_a_transaction_that_fails_leaves_nothing(store):
    def work(tx):
        add_queue("mail")(tx)
        raise KeyError

    with pytest.raises(KeyError):
        store.database.write(work)

    assert [] == names(store)
    store.database.write(add_queue("reports"))
    assert ["reports"] == names(store)


def test_a_driver_error_is_wrapped_with_its_cause(store):
    with pytest.raises(StoreUnavailable, match=r"nowhere") as caught:
        store.database.write(lambda tx: tx.script(["DELETE FROM nowhere"]))

    assert store.database.dialect.is_error(caught.value.__cause__)
    assert store.url == caught.value.store


def test_an_error_of_the_work_itself_passes_as_it_is(store):
    def work(_tx):
        raise OSError("not of the database")

    with pytest.raises(OSError, match="not of the database"):
        store.database.write(work)


def test_a_transaction_interrupted_in_the_middle_leaves_nothing_and_no_lock(store):
    def work(tx):
        add_queue("mail")(tx)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.database.write(work)

    again(store).database.write(add_queue("reports"))
    assert ["reports"] == names(store)


def test_every_thread_has_a_connection_of_its_own_that_ends_with_it(store):
    seen = []

    def work():
        with store.database.transaction(store.database.dialect.begin_read) as tx:
            seen.append(id(tx._connection))

    work()
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()

    assert seen[0] not in seen[1:]
    assert 1 == len(store.database._connections._lines)


def test_a_connection_is_closed_before_it_ends_in_a_circle_of_garbage():
    """A driver warns of one that ends while it is open."""

    class Connection:
        closed = False

        def close(self):
            self.closed = True

        def __del__(self):
            ends.append(self.closed)

    def leave():
        connection, line = Connection(), Line()
        line.open(lambda: connection)
        circle = [connection, line]
        circle.append(circle)

    ends = []
    leave()
    gc.collect()

    assert [True] == ends


def test_a_closed_store_opens_again_at_its_next_use(store):
    run_id = enqueue(store)
    store.close()

    assert run_id == store.runs.get(run_id).run_id


@pytest.mark.only("sqlite")
def test_every_commit_is_synced(store):
    for database in (store.database, store.log_database):
        with database.transaction(database.dialect.begin_read) as tx:
            found = tx._connection.execute("PRAGMA synchronous").fetchone()
            mode = tx._connection.execute("PRAGMA journal_mode").fetchone()

        assert (2,) == found
        assert ("wal",) == mode


@pytest.mark.parametrize(
    "url",
    [
        "oracle://x/y",
        "mysql://x",
        "mysql://x/y?z=1",
        "mysql://x:y/z",
        "sqlite://holdfast.db",
        "sqlite:///",
        "file:///x",
    ],
)
def test_a_store_of_another_kind_is_a_problem_of_the_settings(url):
    with pytest.raises(ConfigError):
        open_store(StoreSettings(url=url))


def test_no_error_shows_a_password():
    with pytest.raises(ConfigError) as caught:
        open_store(StoreSettings(url="oracle://ann:geheim@db/shop"))

    assert "oracle://ann@db/shop" in str(caught.value)


def test_a_folder_that_cannot_be_made_makes_the_store_unavailable(tmp_path):
    (tmp_path / "file").write_text("no folder")
    store = open_store(StoreSettings(url=f"sqlite:///{tmp_path}/file/data/holdfast.db"))

    with pytest.raises(StoreUnavailable, match="Not a directory"):
        store.prepare()


def test_a_file_that_becomes_no_database_makes_the_store_unavailable(tmp_path):
    (tmp_path / "holdfast.db").write_bytes(b"this is no database, but long enough to be read" * 99)
    store = open_store(StoreSettings(url=f"sqlite:///{tmp_path}/holdfast.db"))

    with pytest.raises(StoreUnavailable, match="not a database"):
        store.runs.list(RunFilter())


def test_what_was_accepted_can_be_read_by_every_other_connection(store):
    new = a_new_run()
    store.runs.insert([new])

    assert new.run_id == again(store).runs.get(new.run_id).run_id


@pytest.mark.only("sqlite")
def test_who_is_in_a_transaction_is_known_and_who_only_has_the_store_open_is_not(store):
    enqueue(store)
    assert set() == store.lock_holders()

    for database in (store.database, store.log_database):
        with database.transaction():
            assert {os.getpid()} == store.lock_holders()
        assert set() == store.lock_holders()
    with store.database.transaction(store.database.dialect.begin_read) as tx:
        tx.rows("list_queues")  # a reader keeps others from emptying the journal
        assert {os.getpid()} == store.lock_holders()
