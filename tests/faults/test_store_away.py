"""Fault 20: the store is locked, or its disk is full, for a while."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import threading
import time
from contextlib import ExitStack, closing, contextmanager

import pytest

from helpers.databases import settings_for
from helpers.heavy import heavy
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    ended,
    ended_all,
    holdfast,
    outcomes,
    wait_for_lines,
    whole_log,
)
from holdfast import StoreUnavailable
from holdfast.cli import errors
from holdfast.core.models import WorkerState
from holdfast.store import open_store
from holdfast.store.runs import RunFilter

AWAY_SECONDS = heavy(5.0, 60.0)


@contextmanager
def locked(store):
    """Keep everybody else out of both files of the store, as a backup or a big migration does."""
    files = [store.database.dialect.path, store.log_database.dialect.path]
    with ExitStack() as stack:
        for file in files:
            connection = sqlite3.connect(file, timeout=10, isolation_level=None)
            stack.enter_context(closing(connection)).execute("BEGIN EXCLUSIVE")
        yield


def until(moment):
    wait_until(lambda: time.monotonic() >= moment, within=2 * AWAY_SECONDS)


def test_nothing_is_lost_while_the_store_is_locked_for_seconds(worker, tasks, store, folder):
    here = worker(executors=2, beat_seconds=0.2, lease_seconds=3)
    other = worker("--queues", "mail", executors=1, beat_seconds=0.2, lease_seconds=3)
    runs = [tasks.hold.enqueue(str(number), "go") for number in range(2)]
    talker = tasks.app.run_command(["sh", "-c", "seq 20000; test -e go; sleep 1; seq 20000"])
    runs += [tasks.stay.enqueue(str(number), 0.01) for number in range(20)]
    wait_for_lines("witness", 2)
    client = []
    store.database.wait_seconds = 2 * AWAY_SECONDS
    waiting = threading.Thread(target=lambda: client.append(tasks.add.enqueue(1, 2)))

    with locked(store):
        away_until = time.monotonic() + AWAY_SECONDS
        (folder / "go").touch()
        waiting.start()
        wait_until(lambda: here.events("StoreAway"), within=PATIENCE)
        until(away_until)
    waiting.join()

    assert {"succeeded"} == {record.state for record in ended_all([*runs, *client, talker])}
    assert [["succeeded"]] * 22 == [outcomes(run) for run in runs]
    assert 2 * "".join(f"{n}\n" for n in range(1, 20001)) == whole_log(store, talker).decode()
    assert [1, 1] == [len(here.events(name)) for name in ("StoreAway", "StoreBack")]
    for each in (here, other):
        assert WorkerState.UP == each.record().state
        assert [] == each.events("WorkerFenced") + each.events("DutyFailed")


def test_worker_that_starts_while_the_store_is_locked_waits_for_it(worker, tasks, store):
    with locked(store):
        here = worker(executors=1, ready=False)
        until(time.monotonic() + 3)

    here.wait_ready()
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)


def test_enqueue_into_a_store_that_stays_locked_refuses_and_leaves_nothing(worker, tasks, store):
    worker(executors=1)
    store.database.wait_seconds = 1
    cli = worker.start(
        *holdfast("--app", "sample_tasks:app", "enqueue", "sample_tasks.add", "1", "2"),
        env={"HOLDFAST_STORE_WAIT_SECONDS": "1"},
        stderr=subprocess.PIPE,
    )

    with locked(store):
        with pytest.raises(StoreUnavailable, match=r"database is locked\. Try again") as refused:
            tasks.add.enqueue(1, 2)
        _, said = cli.communicate(timeout=PATIENCE)

    assert not refused.value.unknown
    assert (errors.STORE, True) == (cli.returncode, b"database is locked. Try again." in said)
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    assert 1 == len(store.runs.list(RunFilter()))


@pytest.fixture
def small(disk, worker, tasks):
    """A disk of two megabytes with the store of this test on it."""
    small = disk("2M")
    with closing(open_store(settings_for(small.path, wait_seconds=1))) as store:
        store.prepare()
        tasks.app.store = worker.store = small.store = store
        yield small


def is_whole(store):
    with store.database.transaction() as tx:
        return tx._connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_enqueue_on_a_full_disk_refuses_and_what_was_accepted_is_carried_out(small, worker, tasks):
    small.fill(leave=200_000)
    accepted = []

    with pytest.raises(StoreUnavailable, match="database or disk is full") as refused:
        accepted.extend(tasks.add.enqueue(number, 1) for number in itertools.count())
    cli = worker.start(
        *holdfast("--app", "sample_tasks:app", "enqueue", "sample_tasks.add", "1", "2"),
        stderr=subprocess.PIPE,
    )
    _, said = cli.communicate(timeout=PATIENCE)

    assert not refused.value.unknown
    assert (errors.STORE, True) == (cli.returncode, b"disk is full" in said)
    there = small.store.runs.list(RunFilter(limit=10_000))
    assert {run.id for run in accepted} == {record.run_id for record in there}
    (small.path / "ballast").unlink()
    worker(executors=1)
    assert [n + 1 for n in range(len(accepted))] == [r.result(PATIENCE) for r in accepted]
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    assert is_whole(small.store)


def test_full_disk_under_a_running_worker_loses_nothing(small, worker, tasks, folder):
    here = worker(executors=1, spool=folder / "spool")
    runs = [tasks.hold.enqueue("a", "go"), *[tasks.add.enqueue(n, 1) for n in range(20)]]
    wait_for_lines("witness")
    small.fill()

    (folder / "go").touch()
    wait_until(lambda: here.events("StoreAway"), within=PATIENCE)
    (small.path / "ballast").unlink()

    assert {"succeeded"} == {record.state for record in ended_all(runs)}
    assert ["succeeded"] == outcomes(runs[0])
    assert is_whole(small.store)


def test_worker_cannot_start_on_a_full_disk_and_says_so(small, worker, tasks, folder):
    """Nothing of it stays; whoever started it may start it again."""
    small.fill()

    here = worker(executors=1, spool=folder / "spool", ready=False)

    assert errors.STORE == here.process.wait(PATIENCE)
    assert "database or disk is full" in here.errors.read_text()
    assert [] == worker.everything()
    (small.path / "ballast").unlink()
    worker(executors=1, spool=folder / "spool")
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)


def test_full_disk_makes_no_worker_dead_however_long_it_lasts(small, worker, tasks, folder):
    """Nobody can beat then: those that watch the beats must know."""
    quick = {"executors": 1, "beat_seconds": 0.2, "lease_seconds": 2, "spool": folder / "spool"}
    workers = [worker(**quick) for _ in range(3)]
    runs = [tasks.hold.enqueue(str(number), "go") for number in range(3)]
    wait_for_lines("witness", 3)
    small.fill()
    last = [here.record().beat for here in workers]

    until(time.monotonic() + AWAY_SECONDS)
    (folder / "go").touch()
    assert sum(here.record().beat - beat for here, beat in zip(workers, last, strict=True)) <= 3
    (small.path / "ballast").unlink()

    assert [["succeeded"]] * 3 == [ended(run) and outcomes(run) for run in runs]
    for here in workers:
        assert WorkerState.UP == here.record().state
        assert [] == here.events("WorkerFenced") + here.events("WorkerDied")
