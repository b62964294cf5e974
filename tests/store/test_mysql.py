"""What only MySQL and MariaDB do: their errors, their packets, their texts, their connections."""

from __future__ import annotations

import gc
import os
import threading
from contextlib import closing

import pymysql
import pytest

from helpers.databases import again
from helpers.factories import a_new_run, a_worker, enqueue, enqueue_many
from holdfast.core.clock import SECOND, SystemClock
from holdfast.core.config import StoreSettings
from holdfast.core.errors import ServerTooOld, StoreRefused, StoreUnavailable
from holdfast.store import open_store, queries
from holdfast.store.database import Transaction
from holdfast.store.runs import RunFilter

pytestmark = pytest.mark.only("mysql")
MIB = 1 << 20


def explained(store, name, **values):
    """How the server carries out a query, by table."""
    sql = store.database.dialect.adapt(queries.load("mysql")[name]).text
    with store.database.transaction() as tx:
        rows = tx._connection.execute("EXPLAIN " + sql, values).fetchall()
    return {row[2]: (row[5], row[-1]) for row in rows}


def test_keys_that_differ_by_case_accent_or_a_blank_are_different(store):
    keys = ["a", "A", "á", "a ", "a\0", "😀", "😁"]

    ids = {enqueue(store, dedupe_key=key) for key in keys}

    assert len(keys) == len(ids)


def test_values_come_back_as_they_were(store):
    arguments = "%s \\ ' \" \0 \n \x1a ; -- /* 😀 %(now)s"
    run_id = enqueue(store, arguments=arguments, task="a%b:c'd")

    assert arguments == store.runs.get(run_id).arguments
    assert "a%b:c'd" == store.runs.get(run_id).task


@pytest.mark.parametrize(
    "changes",
    [{"task": "x" * 201}, {"priority": 1 << 40}, {"arguments": "\udc80"}, {"run_id": "é"}],
)
def test_a_value_that_does_not_fit_is_refused_and_never_cut(store, changes):
    with pytest.raises(StoreRefused):
        enqueue(store, **changes)

    assert [] == store.runs.list(RunFilter())


def test_what_is_larger_than_the_server_takes_is_refused_with_the_reason(store):
    with pytest.raises(StoreRefused, match="max_allowed_packet"):
        enqueue(store, arguments="x" * (16 * MIB))

    enqueue(store)


def test_a_batch_larger_than_one_message_is_sent_in_several(store):
    ids = enqueue_many(store, 40, arguments="x" * MIB)

    assert len(ids) == len(store.runs.list(RunFilter(limit=100)))


def test_runs_to_claim_are_read_in_the_order_of_their_index(store):
    enqueue_many(store, 2000)
    store.database.write(lambda tx: tx.script(["ANALYZE TABLE holdfast_live, holdfast_run"]))

    values = {"queue": "default", "task": "shop.send", "shared": 0, "limit": 10, "now": 0}
    found = explained(store, "claim_candidates", **values)

    assert "live_claim_idx" == found["l"][0]
    assert "filesort" not in str(found)
    assert (
        "live_due_idx" == explained(store, "promote_candidates", now=1, limit=9)["holdfast_live"][0]
    )


def test_the_runs_of_a_key_are_found_and_blocked_by_indexes_alone(store):
    ids = enqueue_many(store, 2000, concurrency_key="other")
    enqueue_many(store, 20, concurrency_key="k")
    store.database.write(lambda tx: tx.script(["ANALYZE TABLE holdfast_live"]))

    found = explained(store, "first_of_key", concurrency_key="k", limit=1000)
    assert ("live_key_idx", "PRIMARY") == (found["holdfast_live"][0], found["l"][0])
    found = explained(store, "block_all", run_ids=ids[:1000])
    assert "PRIMARY" == found["holdfast_live"][0]
    assert 1000 == read_rows(store, "block_all", run_ids=ids[:1000])
    for name, values in {
        "blocked_with_key": {"concurrency_key": "k"},
        "next_key_with_blocked": {"after": "k"},
    }.items():
        found = explained(store, name, **values)
        assert "live_key_idx" == found["l"][0]
        assert "filesort" not in found["l"][1]


def read_rows(store, name, **values):
    """How many rows the server expects a statement of one table to read."""
    sql = store.database.dialect.adapt(queries.load("mysql")[name]).text
    with store.database.transaction() as tx:
        ((*_, count, _),) = tx._connection.execute("EXPLAIN " + sql, values).fetchall()
    return int(count)


def test_two_that_claim_at_once_take_different_runs(store):
    ids = enqueue_many(store, 20)
    first, second = a_worker(store), a_worker(store)
    other = again(store)
    with store.database.transaction() as tx:
        place = {"queue": "default", "task": "shop.send", "shared": 0, "limit": 5}
        held = [row[0] for row in tx.rows("claim_candidates", **place)]
        _, claims = other.leases.settle_and_claim(second, [], {False: 5}, ["*"])
    _, rest = store.leases.settle_and_claim(first, [], {False: 20}, ["*"])

    assert ids[:5] == held
    assert ids[5:10] == [claim.run_id for claim in claims]
    assert ids[:5] + ids[10:] == [claim.run_id for claim in rest]
    other.close()


def test_an_update_that_changes_nothing_says_that_it_has_found_its_row(store):
    values = {"run_id": enqueue(store), "options": "{}"}

    assert 1 == store.database.write(lambda tx: tx.execute("change_options", **values))


def test_an_old_server_is_told_by_name(store, monkeypatch):
    for version in ("5.5.5-10.5.21-MariaDB-1", "5.7.44-log", "8.0.11-TiDB-v7.5"):
        monkeypatch.setattr(
            pymysql.connections.Connection, "get_server_info", lambda _, text=version: text
        )
        with pytest.raises(ServerTooOld, match=version):
            again(store).prepare()


@pytest.mark.parametrize("version", ["10.6.0-MariaDB", "5.5.5-10.11.19-MariaDB", "8.0.17", "9.4.0"])
def test_a_server_that_is_new_enough_is_taken(store, version):
    store.database.dialect._check_version(version)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((1, 1, 0, 0, "MIXED", 0), ""),
        ((1, "ON", 1, 1, "ROW", "OFF"), ""),
        ((0, 1, 0, 0, "MIXED", 0), "crash"),
        ((2, 1, 0, 0, "MIXED", 0), "power cut"),
        ((1, 1, 1, 0, "ROW", 0), "power cut"),
        ((1, "OFF", 0, 0, "ROW", 0), "destroy"),
        ((1, 1, 1, 1, "STATEMENT", 0), "STATEMENT"),
        ((1, 1, 0, 0, "ROW", 1), "Galera"),
    ],
)
def test_settings_that_can_lose_runs_are_a_danger(store, found, words):
    judged = store.database.dialect.durability(*found)

    assert words in judged.danger
    assert bool(words) == bool(judged.danger) == (not judged.survives)


def test_the_settings_of_this_server_are_told(store):
    assert "innodb_flush_log_at_trx_commit 2" in store.durability().settings


@pytest.mark.parametrize(
    ("code", "transient", "refusal", "half_done"),
    [
        (1213, True, False, False),
        (1205, True, False, False),
        (2006, True, False, True),
        (2013, True, False, True),
        (0, True, False, True),
        (1927, True, False, True),
        (1406, False, True, False),
        (1062, False, True, False),
        (1045, False, False, False),
        (1064, False, False, False),
    ],
)
def test_an_error_says_what_can_be_done(store, code, transient, refusal, half_done):
    dialect = store.database.dialect
    error = pymysql.OperationalError(code, "Duplicate entry 'a' for key 'PRIMARY'")

    assert transient == dialect.is_transient(error)
    assert refusal == dialect.is_refusal(error)
    assert half_done == dialect.is_half_done(error)


@pytest.mark.parametrize("place", ["live_dedupe_idx", "holdfast_live.live_dedupe_idx"])
def test_a_race_for_a_dedupe_key_is_run_again(store, place):
    error = pymysql.IntegrityError(1062, f"Duplicate entry 'a' for key '{place}'")

    assert store.database.dialect.is_transient(error)
    assert not store.database.dialect.is_refusal(error)


def test_a_commit_whose_answer_is_lost_may_have_been_done(store, template, monkeypatch):
    real = Transaction.__exit__
    store.database.wait_seconds = 1

    def cut_first(self, kind, *rest):
        template.server.cut()
        return real(self, kind, *rest)

    monkeypatch.setattr(Transaction, "__exit__", cut_first)
    with pytest.raises(StoreUnavailable) as caught:
        store.runs.insert([a_new_run()])

    assert caught.value.unknown


def test_a_connection_that_the_server_has_cut_is_replaced_at_once(store, template):
    run_id = enqueue(store)
    for _ in range(3):
        template.server.cut()
        assert run_id == store.runs.get(run_id).run_id


def test_a_child_that_got_a_connection_by_a_fork_says_nothing_on_it(store, template):
    """Even by a fork in the middle of a transaction, where it cannot be closed before."""
    number = "SELECT CONNECTION_ID()"
    with store.database.transaction() as tx:
        before = tx._connection.execute(number).fetchone()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                enqueue(store)
                store.close()
                tx._connection.close()
                del tx
                gc.collect()
                code = 0
            finally:
                os._exit(code)
        assert 0 == os.waitpid(child, 0)[1]
        assert before == tx._connection.execute(number).fetchone()
    assert 1 == len(store.runs.list(RunFilter()))


def test_the_clock_of_the_server_is_read_whatever_its_time_zone_is(store, template):
    dialect = again(store).database.dialect
    template.server.execute("SET GLOBAL time_zone = '-07:00'")
    try:
        with closing(dialect.connect()) as connection:
            assert abs(dialect.ahead(connection, SystemClock())) < 5 * SECOND
    finally:
        template.server.execute("SET GLOBAL time_zone = SYSTEM")


@pytest.fixture
def new_url(template):
    """The address of a database in which there is nothing yet."""
    template.server.execute("DROP DATABASE IF EXISTS fresh", "CREATE DATABASE fresh")
    return template.server.url("fresh")


def test_of_several_that_migrate_at_once_one_does_it(new_url):
    def prepare():
        with closing(open_store(StoreSettings(url=new_url))) as store:
            steps.append(store.migrate())

    steps = []
    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [[], [], [], ["start"]] == sorted(steps)


def test_a_step_that_was_cut_off_is_completed(new_url, template):
    with closing(open_store(StoreSettings(url=new_url))) as store:
        store.prepare()
        template.server.execute(
            "DELETE FROM holdfast_schema_migration",
            "DROP TABLE holdfast_log_end",
            "DROP VIEW holdfast_attempt_view",
            database="fresh",
        )
        store.prepare()

        assert [] == store.runs.attempts(enqueue(store))
        assert not store.upkeep.compact()


def test_the_tables_stand_beside_those_of_others(store, template):
    name = store.url.rpartition("/")[2]
    found = {row[0] for row in template.server.execute("SHOW TABLES", database=name)}

    assert found
    assert all(table.startswith("holdfast_") for table in found)
