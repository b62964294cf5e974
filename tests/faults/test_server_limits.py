"""Faults 18 and 19: a server without room, deadlocks, and transactions that stand still."""

from __future__ import annotations

import signal
import subprocess
import threading
from contextlib import closing

import psycopg
import pytest

from helpers.callers import a_caller
from helpers.servers import Crowd, server, store
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended, ended_all, outcomes, running, send
from holdfast import StoreUnavailable
from holdfast.core.models import WorkerState
from holdfast.store.runs import RunFilter

__all__ = ["server", "store"]

DRIVERS = {"postgres": "psycopg", "mysql": "pymysql"}
QUICK = {"beat_seconds": 0.3, "lease_seconds": 3}


def there(store):
    """The ids of all runs."""
    return {record.run_id for record in store.runs.list(RunFilter(limit=10_000))}


def in_thread(work):
    """Do something in a thread; what it returns or raises stands in the list."""
    answers = []

    def do():
        try:
            answers.append(work())
        except StoreUnavailable as error:
            answers.append(error)

    thread = threading.Thread(target=do)
    thread.start()
    return thread, answers


@pytest.fixture
def crowd(server, store):
    """Others, who may take all connections of the server."""
    crowd = Crowd(server)
    yield crowd
    crowd.leave()


def test_client_of_a_full_server_is_refused_clearly_or_waits_for_room(tasks, store, crowd):
    store.close()
    crowd.come()
    store.database.wait_seconds = 0.5
    with pytest.raises(StoreUnavailable, match=r"(?i)too many.*Try again") as refused:
        tasks.add.enqueue(1, 2)
    assert not refused.value.unknown

    store.database.wait_seconds = PATIENCE
    thread, answers = in_thread(lambda: tasks.add.enqueue(1, 2))
    thread.join(0.5)
    assert thread.is_alive()
    crowd.leave()
    thread.join(PATIENCE)

    assert [{run.id for run in answers}] == [there(store)]


def test_worker_that_starts_on_a_full_server_waits_for_room(worker, tasks, store, crowd):
    run = tasks.add.enqueue(1, 2)
    store.close()
    crowd.come()
    here = worker(executors=1, ready=False)
    with pytest.raises(subprocess.TimeoutExpired):
        here.process.wait(2)

    crowd.leave()
    here.wait_ready()
    assert 3 == run.result(PATIENCE)


def test_worker_that_lost_its_place_on_a_full_server_goes_on_when_there_is_room(
    worker, tasks, store, crowd, folder
):
    here = worker(executors=1, **QUICK)
    run = tasks.hold.enqueue("a", "go")
    running(run)
    store.close()

    def is_outside():
        crowd.push_out()
        return here.events("StoreAway")

    crowd.come()
    (folder / "go").touch()
    wait_until(is_outside, within=PATIENCE)
    crowd.leave()

    assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    assert WorkerState.UP == here.record().state
    assert [] == here.events("WorkerFenced") + here.events("DutyFailed")


@pytest.fixture
def caller(server, store):
    with closing(a_caller(DRIVERS[server.kind], store)) as caller:
        caller.make_table()
        yield caller


@pytest.mark.parametrize("victim", ["Holdfast", "the caller"])
def test_deadlock_of_an_enqueue_and_the_transaction_of_a_caller_costs_neither_a_run(
    tasks, store, server, caller, victim
):
    """Of the two the server gives up who waited last (PostgreSQL), or has done less (MariaDB)."""
    if server.kind == "postgres":
        patience = "10s" if victim == "Holdfast" else "10ms"
        with caller.transaction():
            caller.execute(f"SET deadlock_timeout = '{patience}'")
    before = server.deadlocks()
    others = [tasks.add.using(dedupe_key=f"more{n}").call(0, n) for n in range(200)]
    ours = [tasks.add.using(dedupe_key=key).call(1, 1) for key in ("a", "b")]
    theirs = tasks.add.using(connection=caller.connection)
    calls = [*others, *ours] if victim == "the caller" else ours

    def cross():
        with caller.transaction():
            for number in range(1000 if victim == "Holdfast" else 1):
                caller.add_order(number)
            b = theirs.using(dedupe_key="b").enqueue(2, 2)
            started.append(in_thread(lambda: tasks.app.enqueue_many(calls)[-2:]))
            wait_until(server.waits_for_lock, within=PATIENCE)
            return [theirs.using(dedupe_key="a").enqueue(2, 2), b]

    started = []
    if victim == "the caller":
        with pytest.raises(StoreUnavailable, match=r"(?is)deadlock.*repeat the whole of it"):
            cross()
        (thread, answers) = started[0]
        thread.join(PATIENCE)
        with caller.transaction():
            runs = [theirs.using(dedupe_key=key).enqueue(2, 2) for key in ("a", "b")]
    else:
        runs = cross()
        (thread, answers) = started[0]
        thread.join(PATIENCE)

    caller.close()  # only then PostgreSQL counts what it has seen
    assert [runs] == answers
    wait_until(lambda: server.deadlocks() > before, within=PATIENCE)
    count = len(calls) if victim == "the caller" else 2
    assert count == len(there(store))


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
def test_caller_who_stood_still_in_his_transaction_has_enqueued_nothing(
    tasks, store, server, caller
):
    with caller.transaction():
        caller.execute("SET idle_in_transaction_session_timeout = '300ms'")
    theirs = tasks.add.using(connection=caller.connection)
    theirs.enqueue(1, 2)
    number = caller.connection.info.backend_pid
    wait_until(
        lambda: not server.execute(f"SELECT 1 FROM pg_stat_activity WHERE pid = {number}"),
        within=PATIENCE,
    )

    with pytest.raises(StoreUnavailable, match="repeat the whole of it"):
        theirs.enqueue(1, 2)
    with pytest.raises(psycopg.OperationalError):
        caller.connection.commit()
    assert set() == there(store)


def test_worker_that_stands_still_in_a_transaction_keeps_nobody_from_its_runs_for_long(
    worker, tasks, store, server
):
    """The server ends the transaction, and with it the locks: others need not wait for SIGCONT."""
    paused = worker(executors=2, **QUICK)
    runs = tasks.app.enqueue_many([tasks.add.call(n, 1) for n in range(20_000)])

    def stands_within():
        send(worker.everything(), signal.SIGSTOP)
        if server.stands_in_transaction():
            return True
        send(worker.everything(), signal.SIGCONT)
        return False

    wait_until(stands_within, within=PATIENCE)
    other = worker(executors=2, **QUICK)

    assert {"succeeded"} == {record.state for record in ended_all(runs, within=120)}
    assert WorkerState.DEAD == paused.record().state
    assert WorkerState.UP == other.record().state
    paused.signal(signal.SIGCONT)
    wait_until(lambda: paused.events("WorkerFenced"), within=PATIENCE)
