"""The caller's transaction on SQLite: it has to be on the file of the store itself."""

from __future__ import annotations

import select
import sqlite3
from contextlib import closing, suppress

import pytest

from helpers.callers import Django
from holdfast.core.errors import AlreadyEnqueued, BadOption, OtherDatabase, StoreUnavailable
from holdfast.store.runs import RunFilter

pytestmark = pytest.mark.only("sqlite")


@pytest.fixture
def path(store):
    return store.database.dialect.path


@pytest.fixture
def connection(path):
    with closing(sqlite3.connect(path)) as connection:
        yield connection


@pytest.fixture
def ear(store):
    ear = store.bell.listen()
    yield ear
    ear.close()


def there(store):
    return {run.run_id for run in store.runs.list(RunFilter())}


def rang(ear):
    return bool(select.select([ear], [], [], 0)[0]) and ear.clear()


def test_a_connection_to_another_file_is_refused_with_both_names(store, send, path, tmp_path):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE shop_order (number INTEGER)")
        with pytest.raises(OtherDatabase, match=r"shop\.db, .*holdfast\.db: no transaction spans"):
            send.using(connection=connection).enqueue(1)
        assert not connection.in_transaction

    assert set() == there(store)


def test_a_store_that_is_attached_to_another_file_is_refused(store, send, path, tmp_path):
    """Its commit could come without that of the other file: in WAL mode they are two."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("ATTACH ? AS jobs", [str(path)])
        with pytest.raises(OtherDatabase):
            send.using(connection=connection).enqueue(1)


@pytest.mark.parametrize("name", [":memory:", ""])
def test_a_database_without_a_file_is_refused(send, name):
    with closing(sqlite3.connect(name)) as connection, pytest.raises(OtherDatabase):
        send.using(connection=connection).enqueue(1)


def test_the_file_may_have_another_name(store, send, path, tmp_path):
    (tmp_path / "link.db").symlink_to(path)
    with closing(sqlite3.connect(tmp_path / "link.db")) as connection, connection:
        run = send.using(connection=connection).enqueue(1)

    assert {run.id} == there(store)


def test_what_comes_out_of_a_connection_does_not_matter(store, send, connection):
    connection.row_factory = sqlite3.Row
    with connection:
        joined = send.using(connection=connection, dedupe_key="a")
        assert joined.enqueue(1) == joined.enqueue(2)


def test_a_connection_that_gives_no_texts_is_refused(send, connection):
    connection.text_factory = bytes
    with pytest.raises(StoreUnavailable, match="text_factory"):
        send.using(connection=connection).enqueue(1)


@pytest.mark.parametrize("level", ["DEFERRED", "IMMEDIATE", "EXCLUSIVE"])
def test_a_transaction_begins_as_the_connection_would_have_begun_it(store, send, path, level):
    with closing(sqlite3.connect(path, isolation_level=level)) as connection:
        send.using(connection=connection).enqueue(1)
        assert connection.in_transaction
        connection.rollback()
        run = send.using(connection=connection).enqueue(2)
        connection.commit()

    assert {run.id} == there(store)


def test_in_autocommit_mode_the_run_is_there_at_once_and_heard(store, send, path, ear):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        run = send.using(connection=connection).enqueue(1)
        assert rang(ear)
        with pytest.raises(AlreadyEnqueued):
            send.using(connection=connection, run_id=run.id).enqueue(2)
        assert not connection.in_transaction

    assert {run.id} == there(store)


def test_a_file_that_is_busy_is_for_the_caller_to_try_again(store, send, path):
    with (
        closing(sqlite3.connect(path, timeout=0)) as connection,
        closing(sqlite3.connect(path, isolation_level="IMMEDIATE")) as other,
    ):
        send.using(connection=other).enqueue(1)
        with pytest.raises(StoreUnavailable, match=r"locked.*repeat the whole") as caught:
            send.using(connection=connection).enqueue(1)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


def test_the_commit_of_a_transaction_of_django_is_heard(store, send, path, ear):
    caller = Django(path)
    joined = send.using(connection=caller.connection)
    with caller.transaction():
        joined.enqueue(1)
        assert not rang(ear)
    assert rang(ear)

    with suppress(ZeroDivisionError), caller.transaction():
        joined.enqueue(2)
        1 / 0  # noqa: B018
    assert not rang(ear)
    caller.close()


def test_a_transaction_of_django_that_has_failed_takes_no_run(store, send, path):
    from django.db import transaction

    caller = Django(path)
    with caller.transaction():
        with suppress(ZeroDivisionError), transaction.atomic(caller.alias, savepoint=False):
            1 / 0  # noqa: B018
        with pytest.raises(StoreUnavailable, match="until the end of the 'atomic' block"):
            send.using(connection=caller.connection).enqueue(1)
    caller.close()

    assert set() == there(store)


def test_aenqueue_refuses_a_connection_of_sync_code(send, connection):
    with pytest.raises(BadOption, match=r"call enqueue\(\)"):
        send.using(connection=connection).aenqueue(1)
