"""What can be in the way of a run in the caller's transaction on MySQL, and what cannot."""

from __future__ import annotations

import json
import threading
from contextlib import closing, suppress

import pymysql
import pytest
from pymysql.constants import CLIENT
from pymysql.cursors import DictCursor, SSCursor, SSDictCursor
from sqlalchemy.ext.asyncio import AsyncSession

from helpers.callers import an_engine, mysql_options
from helpers.databases import again
from helpers.factories import a_new_run, enqueue
from helpers.mysql import FAST, MysqlServer
from helpers.waiting import wait_until
from holdfast import new_id
from holdfast.core.errors import (
    AlreadyEnqueued,
    BadOption,
    OtherDatabase,
    StoreRefused,
    StoreUnavailable,
)
from holdfast.store.runs import RunFilter

pytestmark = pytest.mark.only("mysql")
WAITING = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
MIB = 1 << 20


@pytest.fixture
def connect(store):
    """Open connections to the database of the store, with an order in it, until the end."""
    opened = []

    def connect(url=store.url, **options):
        opened.append(pymysql.connect(**{**mysql_options(url), **options}))
        return opened[-1]

    execute(connect(), "CREATE TABLE IF NOT EXISTS shop_order (number INTEGER PRIMARY KEY)")
    execute(opened[0], "INSERT INTO shop_order VALUES (1)")
    opened[0].commit()
    yield connect
    for connection in opened:
        if connection.open:
            connection.close()


@pytest.fixture
def connection(connect):
    return connect()


def execute(connection, sql):
    with connection.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def there(store):
    return {run.run_id for run in store.runs.list(RunFilter())}


def orders(template, store):
    found = template.server.execute(
        "SELECT number FROM shop_order", database=store.url.rpartition("/")[2]
    )
    return {number for (number,) in found}


@pytest.mark.parametrize(
    "options",
    [
        {"cursorclass": DictCursor},
        {"cursorclass": SSCursor},
        {"cursorclass": SSDictCursor, "autocommit": True},
        {"client_flag": CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS},
        {"sql_mode": "ANSI,NO_BACKSLASH_ESCAPES"},
        {"sql_mode": ""},
        {"init_command": "SET collation_connection = utf8mb4_general_ci, max_error_count = 0"},
    ],
    ids=str,
)
def test_the_settings_of_a_connection_do_not_matter(store, send, connect, options):
    text = "%s \\ ' \" \n ; -- /* 😀 %(now)s"
    connection = connect(**options)
    connection.begin()
    joined = send.using(connection=connection, dedupe_key=text)
    run = joined.enqueue(text)
    assert run == joined.enqueue(2)
    assert set() == there(store)
    connection.commit()

    assert {run.id} == there(store)
    assert [text] == json.loads(run.record.arguments)["args"]


def test_in_autocommit_mode_and_without_a_transaction_the_run_is_there_at_once(
    store, send, connect
):
    connection = connect(autocommit=True)
    run = send.using(connection=connection).enqueue(1)

    assert {run.id} == there(store)
    with pytest.raises(AlreadyEnqueued):
        send.using(connection=connection, run_id=run.id).enqueue(2)
    execute(connection, "INSERT INTO shop_order VALUES (2)")
    connection.rollback()
    assert [(1,), (2,)] == execute(connection, "SELECT number FROM shop_order")


def test_a_stream_takes_no_run_and_goes_on(send, connection):
    """The driver would read all of it, and throw it away."""
    cursor = connection.cursor(SSCursor)
    cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
    assert (1,) == cursor.fetchone()
    with pytest.raises(StoreUnavailable, match="still going on"):
        send.using(connection=connection).enqueue(1)

    assert [(2,), (3,)] == list(cursor)


def test_results_that_wait_to_be_read_are_not_thrown_away(send, connect):
    connection = connect(client_flag=CLIENT.MULTI_STATEMENTS)
    cursor = connection.cursor()
    cursor.execute("SELECT 1; SELECT 2")
    with pytest.raises(StoreUnavailable, match="still going on"):
        send.using(connection=connection).enqueue(1)

    assert cursor.nextset()
    assert (2,) == cursor.fetchone()


def test_a_connection_from_the_pool_beneath_sqlalchemy(store, send):
    engine = an_engine(store.url)
    raw = engine.raw_connection()
    run = send.using(connection=raw).enqueue(1)
    assert set() == there(store)
    raw.commit()
    raw.close()
    engine.dispose()

    assert {run.id} == there(store)


def test_sqlalchemy_in_autocommit_mode_commits_at_once(store, send):
    engine = an_engine(store.url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        run = send.using(connection=connection).enqueue(1)
        assert {run.id} == there(store)
    engine.dispose()


# Refused


@pytest.mark.parametrize(
    ("options", "then"),
    [({"charset": "latin1"}, "SELECT 1"), ({}, "SET NAMES latin1"), ({"charset": "utf8"}, "DO 0")],
)
def test_a_charset_that_cannot_hold_all_texts_is_refused(
    store, send, connect, template, options, then
):
    connection = connect(**options)
    execute(connection, then)
    execute(connection, "INSERT INTO shop_order VALUES (2)")
    with pytest.raises(BadOption, match=r"charset.*expected 'utf8mb4'"):
        send.using(connection=connection).enqueue(1)
    connection.commit()

    assert {1, 2} == orders(template, store)
    assert set() == there(store)


def test_a_connection_that_gives_bytes_is_refused(send, connect):
    with pytest.raises(StoreUnavailable, match="use_unicode"):
        send.using(connection=connect(use_unicode=False)).enqueue(1)


def test_a_connection_to_another_database_is_refused_and_goes_on(store, send, connect, template):
    template.server.execute("CREATE DATABASE elsewhere")
    connection = connect()
    joined = send.using(connection=connection)
    run = joined.enqueue(1)
    execute(connection, "USE elsewhere")
    with pytest.raises(OtherDatabase, match=r"'elsewhere' at .*:\d+ \(folder .*\)"):
        joined.enqueue(2)
    connection.commit()
    with pytest.raises(OtherDatabase, match="database None"):
        send.using(connection=connect(database=None)).enqueue(1)
    template.server.execute("DROP DATABASE elsewhere")

    assert {run.id} == there(store)


def test_a_database_of_this_name_on_another_server_is_refused(store, send, connect):
    server = MysqlServer(**FAST).start()
    name = store.url.rpartition("/")[2]
    server.execute(f"CREATE DATABASE {name}")
    with pytest.raises(OtherDatabase):
        send.using(connection=connect(server.url(name))).enqueue(1)
    server.stop()


def test_a_connection_that_was_cut_takes_no_run(store, send, connection, template):
    send.using(connection=connection).enqueue(1)
    template.server.execute(f"KILL {connection.thread_id()}")

    with pytest.raises(StoreUnavailable) as caught:
        send.using(connection=connection).enqueue(2)

    assert isinstance(caught.value.__cause__, pymysql.OperationalError)
    assert set() == there(store)


def test_a_user_without_rights_is_told_so_and_may_go_on(store, send, connect, template):
    name = store.url.rpartition("/")[2]
    template.server.execute("CREATE USER guest", f"GRANT SELECT ON {name}.shop_order TO guest")
    connection = connect(user="guest")
    with pytest.raises(StoreRefused, match="denied"):
        send.using(connection=connection).enqueue(1)
    assert [(2,)] == execute(connection, "SELECT 2")
    template.server.execute("DROP USER guest")


def test_a_user_with_rights_of_its_own_can_enqueue(store, send, connect, template):
    name = store.url.rpartition("/")[2]
    template.server.execute(
        "CREATE USER shop",
        f"GRANT SELECT, INSERT ON {name}.holdfast_run TO shop",
        f"GRANT SELECT, INSERT ON {name}.holdfast_live TO shop",
    )
    connection = connect(user="shop")
    joined = send.using(connection=connection, dedupe_key="a", run_id=new_id())
    run = joined.enqueue(1)
    assert run == joined.enqueue(1) == joined.using(run_id=new_id()).enqueue(2)
    connection.commit()
    template.server.execute("DROP USER shop")

    assert {run.id} == there(store)


def test_a_read_only_transaction_takes_no_run_and_goes_on(send, connection):
    execute(connection, "START TRANSACTION READ ONLY")
    with pytest.raises(StoreRefused, match="READ ONLY"):
        send.using(connection=connection).enqueue(1)

    assert [(2,)] == execute(connection, "SELECT 2")


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "x" * 201},
        {"arguments": "\udc80"},
        {"arguments": "\udc80", "dedupe_key": "a"},
        {"arguments": "x" * (16 * MIB)},
    ],
    ids="-".join,
)
@pytest.mark.parametrize("mode", ["", "TRADITIONAL"])
def test_a_value_that_does_not_fit_is_refused_and_nothing_else_is_lost(
    store, connect, template, changes, mode
):
    connection = connect(sql_mode=mode)
    first = store.runs.insert_within([a_new_run()], connection)
    execute(connection, "INSERT INTO shop_order VALUES (2)")
    with pytest.raises(StoreRefused):
        store.runs.insert_within([a_new_run(), a_new_run(**changes)], connection)
    last = store.runs.insert_within([a_new_run()], connection)
    connection.commit()

    assert {*first, *last} == there(store)
    assert {1, 2} == orders(template, store)


def test_runs_larger_than_one_message_come_together(store, connection):
    ids = store.runs.insert_within([a_new_run(arguments="x" * MIB) for _ in range(20)], connection)
    assert set() == there(store)
    connection.commit()

    assert set(ids) == there(store)


@pytest.mark.parametrize("first", ["SELECT * FROM shop_order FOR UPDATE", "SAVEPOINT mine"])
def test_a_run_that_is_refused_leaves_what_has_begun_without_a_word_of_the_server(
    store, send, connect, first
):
    """The driver does not see that a SELECT or a savepoint has begun a transaction."""
    taken = send.enqueue(1)
    connection, other = connect(), connect()
    execute(connection, first)
    with pytest.raises(AlreadyEnqueued):
        send.using(connection=connection, run_id=taken.id).enqueue(3)
    if "mine" in first:
        execute(connection, "ROLLBACK TO SAVEPOINT mine")
    else:
        execute(other, "SET innodb_lock_wait_timeout = 1")
        with pytest.raises(pymysql.OperationalError, match="Lock wait timeout"):
            execute(other, "DELETE FROM shop_order")
    last = send.using(connection=connection).enqueue(4)
    connection.commit()

    assert {taken.id, last.id} == there(store)


# Others at the same time


def in_thread(work):
    """Do work beside; return the thread and what will hold its answer."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()
    return thread, answers


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_key_that_another_transaction_has_just_taken_is_waited_for(
    store, send, connect, template, level
):
    """Theirs comes first and is committed while ours waits: ours is theirs, and we go on."""
    connection, other = connect(), connect()
    execute(connection, f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
    theirs = send.using(connection=other, dedupe_key="a").enqueue(1)
    execute(connection, "INSERT INTO shop_order VALUES (2)")
    ours = send.using(connection=connection, dedupe_key="a")
    thread, answers = in_thread(lambda: ours.enqueue(2))
    wait_until(lambda: template.server.execute(WAITING))
    other.commit()
    thread.join()
    connection.commit()

    assert [theirs] == answers
    assert {theirs.id} == there(store)
    assert {1, 2} == orders(template, store)


def test_a_key_that_another_transaction_gives_up_is_free(store, send, connect, template):
    connection, other = connect(), connect()
    send.using(connection=other, dedupe_key="a").enqueue(1)
    ours = send.using(connection=connection, dedupe_key="a")
    thread, answers = in_thread(lambda: ours.enqueue(2))
    wait_until(lambda: template.server.execute(WAITING))
    other.rollback()
    thread.join()
    connection.commit()

    assert {answers[0].id} == there(store)


def test_what_was_enqueued_since_a_transaction_has_looked_is_found(store, send, connection):
    """It goes on to see the rows as they were, but not those that it may not write beside."""
    assert [] == execute(connection, "SELECT * FROM holdfast_live")
    theirs = send.using(dedupe_key="a").enqueue(1)
    joined = send.using(connection=connection)

    assert theirs == joined.using(dedupe_key="a").enqueue(2)
    assert theirs == joined.using(run_id=theirs.id).enqueue(1)
    with pytest.raises(AlreadyEnqueued):
        joined.using(run_id=theirs.id).enqueue(2)
    last = joined.enqueue(3)
    connection.commit()

    assert {theirs.id, last.id} == there(store)


def test_a_long_transaction_with_a_new_task_keeps_nobody_waiting(store, send, connection):
    send.using(connection=connection, queue_name="new").enqueue(1)
    with closing(again(store)) as other:
        ids = [enqueue(other, queue="new", task="shop.send") for _ in range(3)]
    connection.rollback()

    assert set(ids) == there(store)


def test_a_transaction_that_a_deadlock_has_ended_takes_no_run(store, send, connect, template):
    """Not in autocommit mode either, where it would be there for good at once."""
    connection, other = connect(autocommit=True), connect()
    connection.begin()
    execute(other, "INSERT INTO shop_order VALUES (2), (3), (4)")
    send.using(connection=other, dedupe_key="a").enqueue(1)
    execute(connection, "INSERT INTO shop_order VALUES (5)")
    theirs = in_thread(lambda: execute(other, "DELETE FROM shop_order WHERE number = 5"))[0]
    wait_until(lambda: template.server.execute(WAITING))
    with pytest.raises(StoreUnavailable, match=r"(?s)Deadlock.*repeat the whole"):
        send.using(connection=connection, dedupe_key="a").enqueue(2)
    with pytest.raises(StoreUnavailable, match=r"rolled it back already.*repeat the whole"):
        send.using(connection=connection).enqueue(2)
    connection.rollback()
    theirs.join()
    other.rollback()
    run = send.using(connection=connection).enqueue(3)

    assert {run.id} == there(store)


# Async


def test_async_sessions_are_refused_with_what_may_be_given(send):
    class Adapted:
        """What SQLAlchemy puts around a connection of asyncmy."""

        driver_connection = cursor = suppress

    for given in (AsyncSession(), Adapted()):
        with pytest.raises(BadOption, match="expected a connection of PyMySQL"):
            send.using(connection=given).enqueue(1)
