"""Fault 41: a pooler that gives each transaction to another session, and is restarted."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack, closing

import psycopg
import pytest

from helpers.factories import a_new_run
from helpers.pgbouncer import PgBouncer
from helpers.servers import a_store, server
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended_all, outcomes, running, wait_for_lines, whole_log
from holdfast.core.config import StoreSettings
from holdfast.core.errors import StoreUnavailable
from holdfast.store import open_store
from holdfast.store.inserting import new_row
from holdfast.store.runs import RunFilter

pytestmark = pytest.mark.parametrize("server", ["postgres"], indirect=True)
__all__ = ["server"]

_made = []
LATENCY = 1.0  # seconds until an idle worker begins, on a busy machine; it looks each 0.25 s
LIMITS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


@pytest.fixture
def pooler(server):
    """A pooler in front of the server, in its usual mode for many clients."""
    if not _made:
        _made.append(PgBouncer(server))
    (pooler,) = _made
    if not pooler.is_running:
        pooler.start()
    yield pooler
    pooler.stop(signal.SIGKILL)


@pytest.fixture
def store(server, pooler, folder):
    """A new store whose address is that of the pooler: it is made through it, too."""
    with closing(a_store(server, through=pooler)) as store:
        yield store


def name_of(store):
    return store.url.rpartition("/")[2]


def limits_of(connection):
    return [connection.execute(f"SHOW {name}").fetchone()[0] for name in LIMITS]


def test_many_runs_are_carried_out_once_with_their_logs(worker, tasks, store, folder):
    """Far more statements than a driver needs to have them prepared."""
    workers = [worker(executors=2) for _ in range(2)]
    runs = [tasks.add.enqueue(number, 1) for number in range(100)]
    runs += tasks.app.enqueue_many([tasks.add.call(number, 1) for number in range(100, 300)])
    command = tasks.app.run_command(["sh", "-c", "seq 100000"])

    assert [number + 1 for number in range(300)] == [run.result(PATIENCE) for run in runs]
    assert {("succeeded",)} == {tuple(outcomes(run)) for run in runs}
    ended_all([command])
    assert "".join(f"{n}\n" for n in range(1, 100_001)).encode() == whole_log(store, command)
    for here in workers:
        assert [] == here.events("StoreAway") + here.events("DutyFailed")
        assert 0 == here.stop()


def test_idle_worker_begins_soon_though_no_hint_reaches_it(worker, tasks, pooler, store):
    worker(executors=1, poll_seconds=60, beat_seconds=20, lease_seconds=60)
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)

    for number in range(5):
        asked_at = time.monotonic()
        assert number == tasks.add.enqueue(number, 0).result(PATIENCE)
        assert time.monotonic() - asked_at < LATENCY
    with ExitStack() as everyone:
        for _ in range(int(pooler.settings["default_pool_size"])):  # each with another session
            client = everyone.enter_context(closing(psycopg.connect(pooler.url(name_of(store)))))
            assert [] == client.execute("SELECT pg_listening_channels()").fetchall()


def test_worker_beside_the_pooler_hears_who_enqueues_through_it(worker, tasks, server, store):
    """Programs by way of the pooler, workers without: as many run them."""
    with closing(open_store(StoreSettings(url=server.url(name_of(store))))) as direct:
        worker.store = direct
        worker(executors=1, poll_seconds=60, beat_seconds=20, lease_seconds=60)
        assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)

        asked_at = time.monotonic()
        assert 7 == tasks.add.enqueue(3, 4).result(PATIENCE)
        assert time.monotonic() - asked_at < LATENCY


def test_restart_of_the_pooler_costs_no_run(worker, tasks, store, pooler, folder):
    here = worker(executors=2)
    held = tasks.hold.enqueue("a", "go")
    counted = tasks.app.find_task("count_lines").enqueue(witness="seen", until="go")
    running(held)
    wait_for_lines("seen", 100)
    client = []
    waiting = threading.Thread(
        target=lambda: client.extend(tasks.add.enqueue(n, 1) for n in range(200))
    )

    waiting.start()
    for _ in range(3):
        pooler.stop(signal.SIGKILL)
        pooler.start()
    pooler.stop(signal.SIGKILL)
    (folder / "go").touch()
    wait_until(lambda: here.events("StoreAway"), within=PATIENCE)
    pooler.start()
    assert 3 == tasks.add.enqueue(1, 2).result(5)
    waiting.join(PATIENCE)

    ended_all([held, counted, *client])
    assert [["succeeded"]] * 2 == [outcomes(held), outcomes(counted)]
    assert [n + 1 for n in range(200)] == [run.result() for run in client]
    assert whole_log(store, counted).count(b"\n") == len(wait_for_lines("seen"))
    assert here.process.poll() is None


def test_server_restarted_behind_the_pooler_costs_no_run(worker, tasks, server, store):
    worker(executors=2)
    runs = []
    for number in range(2):
        runs += [tasks.add.enqueue(number, n) for n in range(50)]
        server.stop(signal.SIGKILL)
        server.start()
        runs += [tasks.add.enqueue(number, n) for n in range(50)]

    assert {"succeeded"} == {record.state for record in ended_all(runs)}
    assert 200 == len({run.id for run in runs})


def test_server_killed_within_a_copy_is_away_and_no_more(server, store):
    """The pooler says so twice: that it has lost the server, and farewell."""
    store.database.wait_seconds = 0

    class Killing(dict):
        def __getitem__(self, name):
            if server.is_running:
                server.stop(signal.SIGKILL)
            return super().__getitem__(name)

    rows = [Killing(new_row(a_new_run(), 0)) for _ in range(100)]
    with pytest.raises(StoreUnavailable):
        store.database.write(lambda tx: tx.many("copy_run", rows))

    server.start()
    store.database.wait_seconds = PATIENCE
    assert [] == store.runs.list(RunFilter())


def test_no_transaction_is_without_limits_and_no_session_keeps_them(server, pooler, store):
    """What is set for a session stays there for whoever is given it next."""
    with store.database.transaction() as tx:
        assert ["10s", "30s", "30s"] == limits_of(tx._connection)
    with psycopg.connect(store.url, autocommit=True, prepare_threshold=None) as connection:
        assert ["0", "0", "0"] == limits_of(connection)
    name = store.url.rpartition("/")[2]
    direct = open_store(StoreSettings(url=server.url(name)))
    with closing(direct), direct.database.transaction() as tx:
        assert not direct.database.dialect.limits  # its session has them
        assert ["10s", "30s", "30s"] == limits_of(tx._connection)


@pytest.fixture
def keeping(server):
    """A pooler that gives each client a session for as long as it stays."""
    pooler = PgBouncer(server, pool_mode="session", default_pool_size="50").start()
    yield pooler
    pooler.stop()


def test_pooler_that_keeps_sessions_is_as_good(keeping, server, store, tasks, worker):
    """Nothing has to be known of its mode."""
    name = store.url.rpartition("/")[2]
    with closing(open_store(StoreSettings(url=keeping.url(name)))) as kept:
        tasks.app.store = worker.store = kept
        worker(executors=1)
        runs = [tasks.add.enqueue(number, 1) for number in range(50)]
        assert [number + 1 for number in range(50)] == [run.result(PATIENCE) for run in runs]
    worker.store = store
