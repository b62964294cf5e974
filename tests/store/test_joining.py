"""A run that is enqueued in the caller's transaction: it comes and goes with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from helpers.callers import Session, a_caller
from helpers.factories import a_worker, claim_one
from holdfast import App, new_id
from holdfast.core.errors import AlreadyEnqueued, BadOption, RunNotFound, StoreUnavailable
from holdfast.store.runs import RunFilter


@pytest.fixture
def caller(caller_kind, store):
    """A program with a connection to the database of the store, and a table there."""
    caller = a_caller(caller_kind, store)
    caller.make_table()
    yield caller
    caller.close()


@pytest.fixture
def app(store):
    app = App()
    app.store = store
    return app


@pytest.fixture
def send(app):
    @app.task(name="shop.send")
    def send(number: int):
        return number

    return send


class Changed(Exception):
    """The caller has changed its mind."""


def there(store):
    """The ids of all runs, and the numbers of all orders, that are committed."""
    rows = store.database.read(lambda tx: list(tx._connection.execute(ORDERS)))
    return {run.run_id for run in store.runs.list(RunFilter())}, {row[0] for row in rows}


ORDERS = "SELECT number FROM shop_order"
NOTHING = (set(), set())


def test_a_commit_brings_the_run_together_with_what_the_caller_wrote(store, caller, send):
    with caller.transaction():
        caller.add_order()
        run = send.using(connection=caller.connection).enqueue(7)
        assert NOTHING == there(store)

    assert ({run.id}, {1}) == there(store)
    assert "queued" == run.state
    assert '{"args":[7],"kwargs":{}}' == run.record.arguments


def test_a_rollback_takes_the_run_with_it(store, caller, send):
    with suppress(Changed), caller.transaction():
        caller.add_order()
        run = send.using(connection=caller.connection).enqueue(7)
        raise Changed

    assert NOTHING == there(store)
    with pytest.raises(RunNotFound, match="not committed yet, or was rolled back"):
        run.result(timeout=5)


def test_a_run_that_is_the_first_thing_in_a_transaction_belongs_to_it(store, caller, send):
    with suppress(Changed), caller.transaction():
        send.using(connection=caller.connection).enqueue(7)
        caller.add_order()
        raise Changed

    assert NOTHING == there(store)


def test_a_savepoint_that_is_given_up_takes_only_its_own_runs_with_it(store, caller, send):
    with caller.transaction():
        caller.add_order(1)
        first = send.using(connection=caller.connection).enqueue(1)
        with suppress(Changed), caller.savepoint():
            caller.add_order(2)
            send.using(connection=caller.connection).enqueue(2)
            raise Changed
        last = send.using(connection=caller.connection).enqueue(3)

    assert ({first.id, last.id}, {1}) == there(store)


def test_a_savepoint_that_is_kept_keeps_its_runs(store, caller, send):
    with caller.transaction():
        with caller.savepoint():
            caller.add_order(2)
            run = send.using(connection=caller.connection).enqueue(2)
        assert NOTHING == there(store)

    assert ({run.id}, {2}) == there(store)


def test_a_rollback_takes_the_runs_of_a_kept_savepoint_too(store, caller, send):
    with suppress(Changed), caller.transaction():
        with caller.savepoint():
            send.using(connection=caller.connection).enqueue(2)
        raise Changed

    assert NOTHING == there(store)


def test_one_transaction_after_the_other_on_one_connection(store, caller, send):
    ids = set()
    for number in range(3):
        with caller.transaction():
            ids.add(send.using(connection=caller.connection).enqueue(number).id)
        with suppress(Changed), caller.transaction():
            send.using(connection=caller.connection).enqueue(number)
            raise Changed

    assert ids == there(store)[0]


def test_a_run_can_be_enqueued_in_the_usual_way_after_a_rollback(store, caller, send, app):
    """The queue and the task were new in the transaction, and went with it."""
    worker_id = a_worker(store, ["shop.send"])
    with suppress(Changed), caller.transaction():
        send.using(connection=caller.connection, queue_name="new").enqueue(1)
        raise Changed
    run = send.using(queue_name="new").enqueue(1)

    assert run.id == claim_one(store, worker_id).run_id


def test_many_runs_come_together(store, caller, send, app):
    joined = send.using(connection=caller.connection)
    with caller.transaction():
        runs = app.enqueue_many([joined.call(number) for number in range(2500)])
        assert NOTHING == there(store)

    assert 2500 == len({run.id for run in runs})
    assert {"queued"} == {runs[place].state for place in (0, 999, 1000, 2499)}


def test_many_runs_go_together_when_one_is_refused_and_the_transaction_goes_on(
    store, caller, send, app
):
    taken = send.enqueue(0)
    joined = send.using(connection=caller.connection)
    with caller.transaction():
        caller.add_order(1)
        calls = [joined.call(number) for number in range(1500)]
        calls.append(joined.using(run_id=taken.id).call("other"))
        with pytest.raises(AlreadyEnqueued):
            app.enqueue_many(calls)
        run = joined.enqueue(5)

    assert ({taken.id, run.id}, {1}) == there(store)


def test_calls_with_different_connections_are_refused(caller, send, app):
    calls = [send.call(1), send.using(connection=caller.connection).call(2)]

    with pytest.raises(BadOption, match="the same one for all calls"):
        app.enqueue_many(calls)


def test_every_option_goes_with_the_run(store, caller, send):
    joined = send.using(
        connection=caller.connection,
        priority=7,
        queue_name="slow",
        run_after=datetime(2100, 1, 1, tzinfo=UTC),
        dedupe_key="d",
        concurrency_key="c",
        concurrency_limit=3,
        timeout="5m",
    )
    with caller.transaction():
        run = joined.enqueue(1)

    record = run.record
    assert ("scheduled", 7, "slow") == (record.state, record.priority, record.queue)
    assert ("d", "c", 3) == (record.dedupe_key, record.concurrency_key, record.concurrency_limit)
    assert 300 == json.loads(record.options)["timeout"]


def test_commands_are_enqueued_in_a_transaction_too(store, caller, app):
    backup = app.command("backup", ["pg_dump", "{database}"])
    with caller.transaction():
        first = backup.using(connection=caller.connection).enqueue(database="shop")
        second = app.run_command(["true"], connection=caller.connection)
        assert NOTHING == there(store)

    assert {first.id, second.id} == there(store)[0]


def test_the_same_id_twice_is_one_run(store, caller, send):
    once = send.using(connection=caller.connection, run_id=new_id())
    with caller.transaction():
        first = once.enqueue(1)
        assert first == once.enqueue(1)
    with caller.transaction():
        assert first == once.enqueue(1)

    assert {first.id} == there(store)[0]


def test_a_dedupe_key_holds_within_the_transaction_and_against_what_is_there(store, caller, send):
    waiting = send.using(dedupe_key="a").enqueue(1)
    joined = send.using(connection=caller.connection)
    with caller.transaction():
        assert waiting == joined.using(dedupe_key="a").enqueue(2)
        mine = joined.using(dedupe_key="b").enqueue(3)
        assert mine == joined.using(dedupe_key="b").enqueue(4)

    assert {waiting.id, mine.id} == there(store)[0]


def test_a_handle_says_before_the_commit_that_the_run_is_not_there(caller, send):
    with caller.transaction():
        run = send.using(connection=caller.connection).enqueue(1)
        for look in (lambda: run.state, run.cancel, run.retry, lambda: run.result(5), run.log):
            with pytest.raises(RunNotFound, match=f"{run.id} is not there: the transaction"):
                look()

    assert "cancelled" == run.cancel()


def test_without_a_transaction_the_first_run_begins_one_as_any_statement_would(
    store, caller_kind, caller, send
):
    run = send.using(connection=caller.connection).enqueue(1)
    if caller_kind == "django":  # any statement of its own would be committed at once
        assert ({run.id}, set()) == there(store)
        return
    assert NOTHING == there(store)
    caller.connection.rollback()
    assert NOTHING == there(store)

    run = send.using(connection=caller.connection).enqueue(1)
    caller.add_order(1)
    caller.connection.commit()
    assert ({run.id}, {1}) == there(store)


@pytest.mark.only("sqlite")
def test_a_refused_run_ends_the_transaction_that_it_had_begun(caller_kind, caller, send):
    taken = send.enqueue(1)
    with pytest.raises(AlreadyEnqueued):
        send.using(connection=caller.connection, run_id=taken.id).enqueue(2)
    if caller_kind in ("core", "session"):  # they begin one for everything, and end none
        caller.connection.rollback()

    assert "queued" == send.enqueue(3).state  # nobody holds the lock of an SQLite file


def test_a_connection_that_is_closed_is_refused(caller_kind, caller, send):
    with caller.transaction():
        caller.add_order()
    given = caller.connection
    if caller_kind == "session":
        given = given.connection()  # a session opens another one
    given.close()
    if caller_kind == "django":  # so does Django
        with caller.transaction():
            run = send.using(connection=given).enqueue(1)
        assert "queued" == run.state
        return

    with pytest.raises(StoreUnavailable, match="closed") as caught:
        send.using(connection=given).enqueue(1)
    assert caught.value.joined


@pytest.mark.only("postgres", "mysql")
def test_a_session_on_another_driver_is_refused_with_both_names(send, tmp_path):
    """Such as psycopg2 and asyncpg, which speak to the same server."""
    session = Session(tmp_path / "shop.db")
    with pytest.raises(BadOption, match=r"of (psycopg 3|PyMySQL) .*, found one of sqlite3"):
        send.using(connection=session.connection).enqueue(1)
    session.close()


@pytest.mark.parametrize(
    "given", [1, "postgresql://shop", object(), App()], ids=["number", "text", "object", "app"]
)
def test_what_is_no_connection_is_refused(store, send, given):
    with pytest.raises(
        BadOption, match=rf"a connection of (sqlite3|psycopg 3|PyMySQL) .*{store.url}"
    ):
        send.using(connection=given).enqueue(1)


def test_a_task_is_not_bound_to_a_connection_for_good(app):
    with pytest.raises(BadOption, match="connection"):
        app.task(name="bound", connection=object())(print)


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from helpers.callers import CALLERS
from holdfast import App

kind, place, store, moment = sys.argv[2:]
app = App(store=store)
send = app.task(name="shop.send")(lambda number: number)
caller = CALLERS[kind](place)

def stay():
    print("here", flush=True)
    sys.stdin.read()

with caller.transaction():
    caller.add_order()
    send.using(connection=caller.connection, dedupe_key="a").enqueue(1)
    if moment == "before":
        stay()
stay()
"""


@pytest.fixture
def kill_at(caller_kind, caller, store, tmp_path):
    """Kill a program right before or after the commit of its order and its run."""

    def kill(moment):
        dialect = store.database.dialect
        place = dialect.path if dialect.name == "sqlite" else store.url
        tests = Path(__file__).parents[1]
        words = [sys.executable, "-c", PROGRAM, tests, caller_kind, place, store.url, moment]
        with subprocess.Popen(
            [*map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
        ) as process:
            assert b"here\n" == process.stdout.readline()
            process.send_signal(signal.SIGKILL)

    return kill


def test_who_is_killed_before_the_commit_has_enqueued_nothing(store, send, kill_at):
    kill_at("before")
    assert NOTHING == there(store)

    run = send.using(dedupe_key="a").enqueue(2)
    assert ({run.id}, set()) == there(store)


def test_who_is_killed_after_the_commit_has_enqueued(store, kill_at):
    kill_at("after")
    runs, orders = there(store)

    assert (1, {1}) == (len(runs), orders)
