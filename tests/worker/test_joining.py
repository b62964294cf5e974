"""A worker carries out what was enqueued in a caller's transaction: after the commit, at once."""

from __future__ import annotations

from contextlib import closing

import pytest

from helpers.callers import CALLERS_OF, a_caller
from helpers.mysql import FAST, MysqlServer
from helpers.postgres import PostgresServer
from helpers.workers import PATIENCE, folder, tasks, worker
from holdfast.core.config import StoreSettings
from holdfast.store import open_store

__all__ = ["folder", "tasks", "worker"]
LATE = 60  # seconds between two looks of the worker: what is quicker was told to it
PAIRS = [(kind, caller) for kind, callers in CALLERS_OF.items() for caller in callers]


@pytest.fixture(scope="module")
def postgres():
    server = PostgresServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def mysql():
    server = MysqlServer(**FAST).start()
    yield server
    server.stop()


@pytest.fixture
def url(request, folder):
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/holdfast.db"
        return
    server = request.getfixturevalue(request.param)
    server.execute("CREATE DATABASE shop")
    yield server.url("shop")
    server.execute("DROP DATABASE shop" + " WITH (FORCE)" * (request.param == "postgres"))


@pytest.fixture
def store(url):
    """A new store on the real clock."""
    with closing(open_store(StoreSettings(url=url))) as store:
        store.prepare()
        yield store


@pytest.fixture
def caller(request, store):
    caller = a_caller(request.param, store)
    yield caller
    caller.close()


@pytest.mark.parametrize(("url", "caller"), PAIRS, indirect=True)
def test_a_run_is_carried_out_only_after_the_commit(worker, tasks, caller):
    worker(executors=1)
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    with caller.transaction():
        run = tasks.add.using(connection=caller.connection).enqueue(3, 4)

    assert 7 == run.result(PATIENCE)
    assert 1 == len(run.attempts)


@pytest.mark.parametrize(
    ("url", "caller"), [p for p in PAIRS if p[0] != "sqlite" or "django" in p], indirect=True
)
def test_the_commit_wakes_a_worker_where_somebody_tells_of_it(worker, tasks, caller):
    worker(executors=1, poll_seconds=LATE)
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    with caller.transaction():
        run = tasks.add.using(connection=caller.connection).enqueue(3, 4)

    assert 7 == run.result(PATIENCE)


@pytest.mark.parametrize(
    ("url", "caller"), [("postgres", "psycopg"), ("mysql", "pymysql")], indirect=True
)
def test_a_worker_goes_on_while_a_transaction_with_a_run_is_open(worker, tasks, caller):
    worker(executors=1)
    with caller.transaction():
        joined = tasks.add.using(connection=caller.connection, priority=100).enqueue(3, 4)
        for number in range(20):
            assert number == tasks.add.enqueue(number, 0).result(PATIENCE)

    assert 7 == joined.result(PATIENCE)
