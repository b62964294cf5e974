"""What can be in the way of a run in the caller's transaction on PostgreSQL, and what cannot."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing, suppress

import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row, namedtuple_row
from sqlalchemy.ext import asyncio as async_sqlalchemy

from helpers.databases import again
from helpers.factories import enqueue
from helpers.waiting import wait_until
from holdfast import new_id
from holdfast.core.errors import (
    AlreadyEnqueued,
    BadOption,
    OtherDatabase,
    RunNotFound,
    StoreRefused,
    StoreUnavailable,
)
from holdfast.store.runs import RunFilter

pytestmark = pytest.mark.only("postgres")
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def connection(store):
    with closing(psycopg.connect(store.url)) as connection:
        yield connection


def there(store):
    return {run.run_id for run in store.runs.list(RunFilter())}


@pytest.mark.parametrize(
    "options",
    [
        {"row_factory": dict_row},
        {"row_factory": namedtuple_row, "prepare_threshold": 0},
        {"cursor_factory": psycopg.ClientCursor, "prepare_threshold": None},
        {"cursor_factory": psycopg.RawCursor},
        {"autocommit": True, "row_factory": dict_row},
    ],
    ids=" ".join,
)
def test_the_settings_of_a_connection_do_not_matter(store, send, options):
    with psycopg.connect(store.url, **options) as connection, connection.transaction():
        joined = send.using(connection=connection, dedupe_key="a")
        run = joined.enqueue(1)
        assert run == joined.enqueue(2)
        connection.execute("SELECT 1 AS one")
        assert set() == there(store)

    assert {run.id} == there(store)
    assert "queued" == run.state


def test_in_autocommit_mode_and_without_a_transaction_the_run_is_there_at_once(store, send):
    with psycopg.connect(store.url, autocommit=True) as connection:
        run = send.using(connection=connection).enqueue(1)

        assert "queued" == run.state
        assert "IDLE" == connection.info.transaction_status.name
        with pytest.raises(AlreadyEnqueued):
            send.using(connection=connection, run_id=run.id).enqueue(2)
        assert "IDLE" == connection.info.transaction_status.name


def test_a_pipeline_takes_no_run_and_goes_on(store, send, connection):
    with connection.pipeline():
        cursor = connection.execute("SELECT 1")
        with pytest.raises(StoreUnavailable, match="in a pipeline"):
            send.using(connection=connection).enqueue(1)
        assert (1,) == cursor.fetchone()
    run = send.using(connection=connection).enqueue(1)
    connection.commit()

    assert {run.id} == there(store)


def test_a_stream_takes_no_run_and_goes_on(store, send, connection):
    """The driver would wait for the end of the stream, and that for us."""
    numbers = connection.cursor().stream("SELECT generate_series(1, 3)")
    assert (1,) == next(numbers)
    with pytest.raises(StoreUnavailable, match="still going on"):
        send.using(connection=connection).enqueue(1)

    assert [(2,), (3,)] == list(numbers)


def test_a_connection_from_the_pool_beneath_sqlalchemy(store, send):
    engine = sqlalchemy.create_engine(store.url.replace("postgresql", "postgresql+psycopg", 1))
    raw = engine.raw_connection()
    run = send.using(connection=raw).enqueue(1)
    assert set() == there(store)
    raw.commit()
    raw.close()
    engine.dispose()

    assert {run.id} == there(store)


def test_sqlalchemy_in_autocommit_mode_commits_at_once(store, send):
    url = store.url.replace("postgresql", "postgresql+psycopg", 1)
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        run = send.using(connection=connection).enqueue(1)
        assert {run.id} == there(store)
    engine.dispose()


# Refused


def test_a_connection_to_another_database_is_refused_and_goes_on(store, send, template):
    template.server.execute("CREATE DATABASE elsewhere")
    with psycopg.connect(template.server.url("elsewhere")) as connection:
        connection.execute("CREATE TABLE shop_order (number INTEGER)")
        with pytest.raises(OtherDatabase, match=r"'elsewhere' at 127.0.0.1:\d+ \(cluster \d+\)"):
            send.using(connection=connection).enqueue(1)
        connection.execute("INSERT INTO shop_order VALUES (1)")

    assert [(1,)] == template.server.execute("SELECT * FROM shop_order", database="elsewhere")
    assert set() == there(store)
    template.server.execute("DROP DATABASE elsewhere")


def test_a_copy_of_the_store_is_another_database(store, send, template):
    enqueue(store)
    store.close()
    template.server.execute(f"CREATE DATABASE copy TEMPLATE {store.url.rpartition('/')[2]}")

    with (
        psycopg.connect(template.server.url("copy")) as connection,
        pytest.raises(OtherDatabase, match="'copy'"),
    ):
        send.using(connection=connection).enqueue(1)
    template.server.execute("DROP DATABASE copy")


def test_it_looks_only_once_where_a_connection_leads(store, send, connection, monkeypatch):
    joined = send.using(connection=connection)
    joined.enqueue(1)
    monkeypatch.setattr(store.database.dialect, "place", None)

    joined.enqueue(2)
    connection.commit()
    assert 2 == len(there(store))


def test_an_aborted_transaction_is_told_apart(store, send, connection):
    with suppress(psycopg.Error):
        connection.execute("SELECT 1 / 0")
    with pytest.raises(StoreUnavailable, match=r"an earlier error has aborted.*Roll it back"):
        send.using(connection=connection).enqueue(1)
    connection.rollback()

    run = send.using(connection=connection).enqueue(1)
    connection.commit()
    assert {run.id} == there(store)


def test_a_connection_that_was_cut_takes_no_run(store, send, connection, template):
    send.using(connection=connection).enqueue(1)
    template.server.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid})")

    with pytest.raises(StoreUnavailable) as caught:
        send.using(connection=connection).enqueue(2)

    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert set() == there(store)


def test_a_user_without_rights_is_told_so_and_may_go_on(store, send, template):
    database = store.url.rpartition("/")[2]
    template.server.execute("CREATE ROLE guest LOGIN")
    url = template.server.url(database).replace("holdfast@", "guest@")
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(StoreRefused, match="permission denied for schema holdfast"):
            send.using(connection=connection).enqueue(1)
        assert (2,) == connection.execute("SELECT 2").fetchone()
    template.server.execute("DROP ROLE guest")


def test_a_user_with_rights_of_its_own_can_enqueue(store, send, template):
    database = store.url.rpartition("/")[2]
    for statement in (
        "CREATE ROLE shop LOGIN",
        "GRANT USAGE ON SCHEMA holdfast TO shop",
        "GRANT SELECT, INSERT ON holdfast.run, holdfast.live TO shop",
    ):
        template.server.execute(statement, database=database)
    url = template.server.url(database).replace("holdfast@", "shop@")
    with psycopg.connect(url) as connection:
        joined = send.using(connection=connection, dedupe_key="a", run_id=new_id())
        run = joined.enqueue(1)
        assert run == joined.enqueue(1) == joined.using(run_id=new_id()).enqueue(2)

    assert {run.id} == there(store)
    template.server.execute("DROP OWNED BY shop", database=database)
    template.server.execute("DROP ROLE shop")


def test_a_read_only_transaction_takes_no_run_and_goes_on(store, send, connection):
    connection.read_only = True
    connection.execute("SELECT 1")
    with pytest.raises(StoreRefused, match="read-only transaction"):
        send.using(connection=connection).enqueue(1)

    assert (2,) == connection.execute("SELECT 2").fetchone()


def test_a_run_that_is_refused_leaves_the_transaction_as_it_was(store, send, connection):
    taken = send.enqueue(1)
    first = send.using(connection=connection).enqueue(2)
    with pytest.raises(AlreadyEnqueued):
        send.using(connection=connection, run_id=taken.id).enqueue(3)
    last = send.using(connection=connection).enqueue(4)
    connection.commit()

    assert {taken.id, first.id, last.id} == there(store)


def test_a_session_that_has_failed_is_refused_in_its_own_words(store, send):
    engine = sqlalchemy.create_engine(store.url.replace("postgresql", "postgresql+psycopg", 1))
    with sqlalchemy.orm.Session(engine) as session:
        with suppress(sqlalchemy.exc.DataError):
            session.execute(sqlalchemy.text("SELECT 1 / 0"))
        with pytest.raises(StoreUnavailable, match="an earlier error has aborted"):
            send.using(connection=session).enqueue(1)
    engine.dispose()


# Others at the same time


def somebody_waits(template):
    """Ask in a transaction of its own: what it shows is of the time when that first asked."""
    return template.server.execute(WAITING)


def in_thread(work):
    """Do work beside; return the thread and what will hold its answer."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()
    return thread, answers


def test_a_key_that_another_transaction_has_just_taken_is_waited_for(
    store, send, connection, template
):
    """Theirs comes first and is committed while ours waits: ours is theirs, and we go on."""
    with psycopg.connect(store.url) as other:
        theirs = send.using(connection=other, dedupe_key="a").enqueue(1)
        connection.execute("CREATE TABLE shop_order AS SELECT 1 AS number")
        ours = send.using(connection=connection, dedupe_key="a")
        thread, answers = in_thread(lambda: ours.enqueue(2))
        wait_until(lambda: somebody_waits(template))
    thread.join()
    connection.commit()

    assert [theirs] == answers
    assert {theirs.id} == there(store)
    assert (1,) == connection.execute("SELECT number FROM shop_order").fetchone()


def test_a_key_that_another_transaction_gives_up_is_free(store, send, connection, template):
    with psycopg.connect(store.url) as other:
        send.using(connection=other, dedupe_key="a").enqueue(1)
        ours = send.using(connection=connection, dedupe_key="a")
        thread, answers = in_thread(lambda: ours.enqueue(2))
        wait_until(lambda: somebody_waits(template))
        other.rollback()
    thread.join()
    connection.commit()

    assert {answers[0].id} == there(store)


def test_an_ordinary_enqueue_waits_for_the_transaction_that_holds_its_key(
    store, send, connection, template
):
    first = send.using(connection=connection, dedupe_key="a").enqueue(1)
    thread, answers = in_thread(lambda: send.using(dedupe_key="a").enqueue(2))
    wait_until(lambda: somebody_waits(template))
    connection.commit()
    thread.join()

    assert [first] == answers
    assert {first.id} == there(store)


def test_a_key_taken_since_a_transaction_began_to_look_is_for_the_caller_to_repeat(
    store, send, connection
):
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.execute("SELECT count(*) FROM holdfast.live")
    theirs = send.using(dedupe_key="a").enqueue(1)
    joined = send.using(connection=connection, dedupe_key="a")

    with pytest.raises(StoreUnavailable, match="repeat the whole of it"):
        joined.enqueue(2)
    connection.rollback()
    assert theirs == joined.enqueue(2)


def test_a_long_transaction_with_a_new_task_keeps_nobody_waiting(store, send, connection):
    joined = send.using(connection=connection, queue_name="new").enqueue(1)
    other = again(store)
    try:
        ids = [enqueue(other, queue="new", task="shop.send")]
    finally:
        other.close()
    connection.rollback()

    assert set(ids) == there(store)
    with pytest.raises(RunNotFound):
        joined.result(timeout=1)


def test_a_deadlock_is_for_the_caller_to_repeat(store, send, connection, template):
    connection.execute("SET deadlock_timeout = '100ms'")
    with psycopg.connect(store.url) as other:
        send.using(connection=other, dedupe_key="a").enqueue(1)
        send.using(connection=connection, dedupe_key="b").enqueue(1)
        theirs = send.using(connection=other, dedupe_key="b")
        thread, _ = in_thread(lambda: theirs.enqueue(2))
        wait_until(lambda: somebody_waits(template))
        with pytest.raises(StoreUnavailable, match=r"(?s)deadlock detected.*repeat the whole"):
            send.using(connection=connection, dedupe_key="a").enqueue(2)
        connection.rollback()
        thread.join()

    assert 2 == len(there(store))


# Async


@pytest.fixture
def async_engine(store):
    url = store.url.replace("postgresql", "postgresql+psycopg", 1)
    return async_sqlalchemy.create_async_engine(url)


def test_an_async_session_takes_a_run_with_it(store, send, async_engine):
    async def work():
        session = async_sqlalchemy.AsyncSession(async_engine)
        async with session.begin():
            joined = send.using(connection=session, dedupe_key="a")
            run = await joined.aenqueue(1)
            assert run == await joined.aenqueue(2)
            assert set() == there(store)
        with suppress(ZeroDivisionError):
            async with session.begin():
                await send.using(connection=session).aenqueue(3)
                1 / 0  # noqa: B018
        await session.close()
        await async_engine.dispose()
        return run

    assert {asyncio.run(work()).id} == there(store)


def test_an_async_connection_takes_a_run_with_it(store, send, async_engine):
    async def work():
        async with async_engine.connect() as connection:
            joined = send.using(connection=connection)
            async with connection.begin():
                first = await joined.aenqueue(1)
                nested = await connection.begin_nested()
                await joined.aenqueue(2)
                await nested.rollback()
            with pytest.raises(AlreadyEnqueued):
                await joined.using(run_id=first.id).aenqueue(3)
            last = await joined.aenqueue(4)
            await connection.commit()
        await async_engine.dispose()
        return {first.id, last.id}

    assert asyncio.run(work()) == there(store)


def test_an_async_session_in_sync_code_is_refused_with_the_next_step(send, async_engine):
    session = async_sqlalchemy.AsyncSession(async_engine)

    with pytest.raises(BadOption, match=r"await task\.aenqueue"):
        send.using(connection=session).enqueue(1)


def test_an_async_connection_of_psycopg_is_refused_with_the_next_step(store, send):
    async def work():
        connection = await psycopg.AsyncConnection.connect(store.url)
        with pytest.raises(BadOption, match="SQLAlchemy's AsyncSession"):
            await send.using(connection=connection).aenqueue(1)
        with pytest.raises(BadOption, match="SQLAlchemy's async session"):
            send.using(connection=connection).enqueue(1)
        await connection.close()

    asyncio.run(work())


def test_a_connection_of_sync_code_is_refused_by_aenqueue(send, connection):
    with pytest.raises(BadOption, match=r"call enqueue\(\)"):
        send.using(connection=connection).aenqueue(1)


# The bell


def test_listeners_are_woken_by_the_commit(store, send, connection):
    with psycopg.connect(store.url, autocommit=True) as ear:
        ear.execute("LISTEN holdfast")
        send.using(connection=connection).enqueue(1)
        send.using(connection=connection, run_id=new_id()).enqueue(2)
        assert [] == list(ear.notifies(timeout=0.2))
        connection.commit()
        assert 1 == len(list(ear.notifies(timeout=5, stop_after=1)))
        assert [] == list(ear.notifies(timeout=0.2))

        send.using(connection=connection).enqueue(1)
        connection.rollback()
        assert [] == list(ear.notifies(timeout=0.2))
