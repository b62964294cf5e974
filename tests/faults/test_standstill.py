"""Fault 31: the store takes no logs, the spool reaches its budget, and who writes is paused."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from helpers.pressure import MIB, digest_of_log, digest_of_output
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    certificate,
    ended,
    ended_all,
    is_alive,
    is_free,
    lines_of,
    outcomes,
    running,
    wait_for_lines,
    whole_log,
)
from holdfast.cli.tables import label, what
from holdfast.why import explain
from holdfast.worker import proc

FLOOD = "yes 0123456789abcdef | head -c 150000000"  # through a spool of 32 MiB
BUDGET = {"spool_max_bytes": 32 * MIB}


class Lock:
    """Keep everybody from writing to the log database from `take` until `release`."""

    def __init__(self, path):
        self._connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)

    def take(self):
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self):
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


@pytest.fixture
def away(store):
    """Make the store take no logs: `away.take()`, once the worker is up."""
    lock = Lock(store.log_database.dialect.path)
    with closing(lock._connection):
        yield lock


def flood(tasks, **options):
    return tasks.app.run_command(["sh", "-c", FLOOD], **options)


def paused(run):
    """Wait until a run is paused, and return its record."""
    return wait_until(lambda: run.record if run.record.paused else None, within=PATIENCE)


def state_of(pid):
    """The state of a process as the kernel says it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def written(worker):
    """How many bytes are in the spool."""
    return sum(file.stat().st_size for file in worker.spool_files())


def tree(worker):
    """The processes of all attempts: executors that have something below them, and that."""
    return [
        pid
        for executor in worker.executors()
        if (below := proc.descendants(executor))
        for pid in (executor, *below)
    ]


def test_over_the_budget_who_writes_stands_still_and_loses_nothing(worker, tasks, store, away):
    here = worker(executors=2, **BUDGET)
    away.take()
    run = flood(tasks)
    record = paused(run)
    held = written(here)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.5)

    assert held == written(here)
    assert 32 * MIB < held < 40 * MIB
    assert "of logs that are not stored yet, and 32.0 MiB are allowed" in record.paused
    assert ("paused", record.paused) == (label(record), what(record, 0))
    assert "is paused until there is room" in explain(store, record).sentence
    away.release()

    assert ("succeeded", ["succeeded"]) == (ended(run, within=60).state, outcomes(run))
    assert run.record.paused is None
    assert digest_of_output("sh", "-c", FLOOD) == digest_of_log(store, run)


def test_others_go_on_while_one_stands_still(worker, tasks, away):
    here = worker(executors=2, **BUDGET)
    away.take()
    quiet = tasks.hold.enqueue("quiet", "go")
    running(quiet)
    run = flood(tasks)
    behind = [tasks.add.enqueue(1, number) for number in range(20)]
    paused(run)
    Path("go").touch()

    ended_all([quiet, *behind])

    assert "running" == run.state
    assert {run.id} == {event["run_id"] for event in here.events("AttemptPaused")}


def test_a_standstill_is_said_once_and_so_is_its_end(worker, tasks, store, away):
    here = worker(executors=1, **BUDGET)
    away.take()
    run = tasks.pour_twice.enqueue(150, "go")
    paused(run)
    away.release()
    wait_for_lines("witness")
    wait_until(lambda: here.events("AttemptResumed"), within=PATIENCE)
    wait_until(lambda: run.record.paused is None, within=PATIENCE)
    Path("go").touch()
    ended(run, within=60)

    assert [run.id] == [event["run_id"] for event in here.events("AttemptPaused")]
    assert [run.id] == [event["run_id"] for event in here.events("AttemptResumed")]
    assert here.events("AttemptResumed")[0]["paused_ms"] > 0
    assert 150 * MIB + 1 == digest_of_log(store, run)[0]


def test_the_time_limit_does_not_run_while_an_attempt_stands_still(worker, tasks, away):
    worker(executors=1, **BUDGET)
    away.take()
    began = time.monotonic()
    run = flood(tasks, timeout=4)
    paused(run)
    wait_until(lambda: time.monotonic() - began > 5, within=PATIENCE)
    away.release()

    assert ("succeeded", ["succeeded"]) == (ended(run, within=60).state, outcomes(run))


def test_a_command_that_stands_still_is_cancelled_like_any_other(worker, tasks, store, away):
    worker(executors=1, grace_seconds=PATIENCE, **BUDGET)
    away.take()
    run = flood(tasks)
    paused(run)

    run.cancel(by="ann")
    ended(run)
    away.release()

    told = certificate(run)
    assert ("cancelled(ann)", False) == (told.verdict, told.evidence.needed_kill)
    assert told.evidence.paused_seconds > 0
    assert whole_log(store, run).startswith(b"0123456789abcdef\n" * 1_000_000)


def test_a_function_that_stands_still_is_cancelled_and_cleans_up(worker, tasks, away):
    worker(executors=1, grace_seconds=PATIENCE, **BUDGET)
    away.take()
    run = tasks.pour.enqueue(500)
    paused(run)

    run.cancel(by="ann")

    assert ("cancelled", ["cancelled"]) == (ended(run).state, outcomes(run))
    assert not certificate(run).evidence.needed_kill
    assert ["cleaned"] == lines_of("witness")


def test_a_worker_that_stops_gives_back_what_stands_still(worker, tasks, away):
    here = worker(executors=1, drain_seconds=0.5, **BUDGET)
    away.take()
    run = flood(tasks)
    paused(run)
    stopped = tree(here)

    here.signal(signal.SIGTERM)
    wait_until(lambda: outcomes(run), within=PATIENCE)
    away.release()

    assert 0 == here.process.wait(PATIENCE)
    assert ("queued", ["released"]) == (run.state, outcomes(run))
    assert [] == [pid for pid in stopped if is_alive(pid)]
    assert run.record.paused is None


def test_nothing_that_stood_still_outlives_a_killed_supervisor(worker, tasks, store, away):
    here = worker(executors=1, **BUDGET)
    away.take()
    run = flood(tasks)
    paused(run)
    stopped = tree(here)

    here.kill()
    wait_until(lambda: not any(map(is_alive, stopped)), within=PATIENCE)
    away.release()
    worker(executors=1, **BUDGET)
    ended(run, within=60)

    assert ["lost", "succeeded"] == outcomes(run)
    assert digest_of_output("sh", "-c", FLOOD) == digest_of_log(store, run, attempt=2)
    assert digest_of_log(store, run, attempt=1)[0] > 32 * MIB


def test_an_executor_that_is_killed_while_it_stands_still_is_explained(worker, tasks, away):
    here = worker(executors=1, **BUDGET)
    away.take()
    run = tasks.pour.using(crashes=0).enqueue(500)
    paused(run)

    os.kill(here.executors()[0], signal.SIGKILL)

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    assert "SIGKILL" in certificate(run).sentence
    away.release()


def test_an_async_executor_stands_still_as_a_whole_and_goes_on(worker, tasks, store, away):
    here = worker(executors=1, **BUDGET)
    away.take()
    neighbour = tasks.hold_async.enqueue("neighbour", "go")
    wait_for_lines("witness")
    run = tasks.pour_async.enqueue(100)
    paused(run)
    paused(neighbour)
    other = tasks.add.enqueue(1, 2)
    assert "succeeded" == ended(other).state
    away.release()
    Path("go").touch()

    ended_all([run, neighbour], within=60)

    assert (["succeeded"], ["succeeded"]) == (outcomes(run), outcomes(neighbour))
    assert 100 * MIB == digest_of_log(store, run)[0]
    assert 2 == len(here.executors())


def test_what_a_child_process_of_a_function_writes_counts_too(worker, tasks, store, away):
    worker(executors=1, **BUDGET)
    away.take()
    run = tasks.shell.enqueue(FLOOD)
    paused(run)
    away.release()

    assert ("succeeded", ["succeeded"]) == (ended(run, within=60).state, outcomes(run))
    assert digest_of_output("sh", "-c", FLOOD) == digest_of_log(store, run)


def test_where_the_spool_cannot_be_freed_its_budget_counts_what_is_not_stored(
    worker, tasks, store, disk
):
    here = worker(executors=1, spool=disk(kind="ramfs").path, **BUDGET)
    run = flood(tasks)

    assert "succeeded" == ended(run, within=60).state

    assert digest_of_output("sh", "-c", FLOOD) == digest_of_log(store, run)
    assert here.process.poll() is None


def test_a_process_that_its_task_has_stopped_stays_stopped(worker, tasks, away):
    worker(executors=1, **BUDGET)
    away.take()
    run = tasks.shell.enqueue(
        f"sleep 1000 & echo $! > sleeper; kill -STOP $!; {FLOOD}; touch poured; sleep 1000"
    )
    paused(run)
    sleeper = int(Path("sleeper").read_text())
    away.release()
    wait_until(Path("poured").exists, within=60)

    assert "T" == state_of(sleeper)
    run.cancel()
    assert "cancelled" == ended(run).state
    assert not is_alive(sleeper)


@pytest.mark.parametrize("how", ["print", "fd"])
def test_who_stands_still_keeps_nobody_from_the_store(worker, tasks, store, away, folder, how):
    """It writes within its transactions, and who could make room would wait for their end."""
    worker(executors=1, **BUDGET)
    away.take()
    run = tasks.pour_in_transactions.enqueue(how, "go")
    paused(run)
    for number in range(20):
        assert wait_until(lambda: is_free(store.database.dialect.path), within=PATIENCE)
        tasks.add.using(queue_name="nobody").enqueue(1, number)
    away.release()
    (folder / "go").touch()

    assert ("succeeded", ["succeeded"]) == (ended(run, within=60).state, outcomes(run))


def test_attempts_that_end_just_when_they_are_paused_leave_no_executor_behind(worker, tasks, store):
    worker(executors=2, spool_max_bytes=1)
    runs = [tasks.app.run_command(["head", "-c", "9000000", "/dev/zero"]) for _ in range(30)]
    runs += [tasks.pour.enqueue(9) for _ in range(30)]

    ended_all(runs, within=120)

    assert {("succeeded",)} == {tuple(outcomes(run)) for run in runs}
    assert {9_000_000, 9 * MIB} == {digest_of_log(store, run)[0] for run in runs}
