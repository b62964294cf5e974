"""Faults 11, 12 and 16: the server is killed, or away for long; connections are cut."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

from helpers.heavy import heavy
from helpers.servers import server, store
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    certificate,
    ended,
    ended_all,
    lines_of,
    outcomes,
    running,
    wait_for_lines,
    whole_log,
)
from holdfast.core.models import WorkerState
from holdfast.store.runs import RunFilter

__all__ = ["server", "store"]

AWAY_SECONDS = heavy(2.0, 60.0)
CUTS = heavy(3, 30)  # one each second
BACK_SECONDS = 5.0  # in which everything goes on after the return of the server
QUICK = {"beat_seconds": 0.3, "lease_seconds": 3}


def test_a_command_and_its_log_are_kept_as_on_the_embedded_store(worker, tasks, store):
    worker(executors=2)
    script = "seq 200000; echo oops >&2; exit 3"
    run = tasks.app.run_command(["sh", "-c", script])

    assert "failed" == ended(run).state
    assert "".join(f"{n}\n" for n in range(1, 200_001)).encode() in whole_log(store, run)
    assert b"oops\n" in whole_log(store, run)
    assert 3 == certificate(run).evidence.exit_code


def test_two_workers_share_the_runs_and_carry_out_each_once(worker, tasks):
    workers = [worker(executors=2), worker(executors=2)]
    more = tasks.app.enqueue_many([tasks.add.call(1, n) for n in range(500)])

    assert [1 + n for n in range(500)] == [run.result(PATIENCE) for run in more]
    assert {("succeeded",)} == {tuple(outcomes(run)) for run in more}
    assert {w.worker_id for w in workers} >= {run.attempts[0].worker_id for run in more}


def test_runs_of_a_killed_worker_are_taken_over_by_another(worker, tasks, folder):
    first = worker(executors=1)
    run = tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")
    worker(executors=1)

    first.kill()
    (folder / "go").touch()

    assert ("succeeded", ["lost", "succeeded"]) == (ended(run).state, outcomes(run))
    assert "worker_died(supervisor killed)" == certificate(run, 0).verdict


def test_a_server_that_is_killed_costs_no_run_and_no_attempt(worker, tasks, store, server, folder):
    here = worker(executors=2)
    held = tasks.hold.enqueue("a", "go")
    counted = tasks.app.find_task("count_lines").enqueue(witness="seen", until="go")
    running(held)
    wait_for_lines("seen", 100)

    server.stop(signal.SIGKILL)
    seen = len(lines_of("seen"))
    wait_for_lines("seen", seen + 1000)  # running attempts go on
    (folder / "go").touch()
    wait_until(lambda: here.events("StoreAway"), within=PATIENCE)
    server.start()

    ended_all([held, counted])
    assert [["succeeded"], ["succeeded"]] == [outcomes(held), outcomes(counted)]
    log = whole_log(store, counted)
    assert "".join(f"line {n}\n" for n in range(log.count(b"\n"))).encode() == log
    assert log.count(b"\n") == len(lines_of("seen"))
    assert here.process.poll() is None
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)


@pytest.mark.parametrize("server", ["mysql"], indirect=True)
def test_a_server_that_drops_what_is_idle_for_a_second_costs_no_run(worker, tasks, server):
    server.execute("SET GLOBAL wait_timeout = 1")
    try:
        here = worker(executors=1, beat_seconds=2)
        for number in range(3):
            assert number + 1 == tasks.add.enqueue(number, 1).result(PATIENCE)
            beat = here.record().beat
            wait_until(lambda: here.record().beat > beat, within=PATIENCE)  # noqa: B023
    finally:
        server.execute("SET GLOBAL wait_timeout = 28800")

    assert [] == here.events("StoreAway")
    assert here.process.poll() is None


def test_connections_that_are_cut_again_and_again_cost_no_run(worker, tasks, server):
    worker(executors=2)
    runs = []
    for number in range(20):
        runs += tasks.app.enqueue_many([tasks.add.call(number, n) for n in range(50)])
        server.cut()

    for place, run in enumerate(runs):
        assert place // 50 + place % 50 == run.result(PATIENCE)
    assert {("succeeded",)} == {tuple(outcomes(run)) for run in runs}


def test_a_server_that_is_away_costs_no_run_and_all_go_on_when_it_is_back(
    worker, tasks, store, server, folder
):
    workers = [worker(executors=2, **QUICK) for _ in range(2)]
    held = [tasks.hold.enqueue(str(number), "go") for number in range(3)]
    counted = tasks.app.find_task("count_lines").enqueue(witness="seen", until="go")
    more = [tasks.stay.enqueue(f"more{number}", 0.01) for number in range(20)]
    wait_for_lines("witness", 3)
    wait_for_lines("seen", 100)
    store.database.wait_seconds = 2 * AWAY_SECONDS + PATIENCE
    client = []
    waiting = threading.Thread(target=lambda: client.append(tasks.add.enqueue(1, 2)))

    server.stop()
    away_until = time.monotonic() + AWAY_SECONDS
    waiting.start()
    for here in workers:
        wait_until(lambda: here.events("StoreAway"), within=PATIENCE)  # noqa: B023
    (folder / "go").touch()  # they end while nobody can be told
    wait_until(lambda: time.monotonic() > away_until, within=2 * AWAY_SECONDS)
    server.start()
    back_at = time.monotonic()
    assert 7 == tasks.add.enqueue(3, 4).result(BACK_SECONDS)
    waiting.join(BACK_SECONDS)
    ended_all([*held, *client], within=BACK_SECONDS)
    assert time.monotonic() < back_at + BACK_SECONDS

    ended_all([*more, counted])
    everything = [*held, *more, *client, counted]
    assert [["succeeded"]] * 25 == [outcomes(run) for run in everything]
    log = whole_log(store, counted)
    assert "".join(f"line {n}\n" for n in range(log.count(b"\n"))).encode() == log
    assert log.count(b"\n") == len(lines_of("seen"))
    for here in workers:
        assert here.process.poll() is None
        assert WorkerState.UP == here.record().state
        assert [] == here.events("WorkerFenced") + here.events("DutyFailed")


def test_one_connection_cut_each_second_costs_no_run(worker, tasks, store, server):
    """Whoever had it: supervisor, heartbeat, shipper, the ear of a worker, or a client."""
    workers = [worker(executors=2, **QUICK) for _ in range(2)]
    runs, began_at = [], time.monotonic()
    for cut in range(CUTS):
        server.cut([random.choice(server.clients())])
        for number in range(40):
            runs.append(tasks.stay.enqueue(f"{cut} {number}", 0.01))
            next_at = began_at + cut + number / 40
            wait_until(lambda: time.monotonic() > next_at)  # noqa: B023

    assert {"succeeded"} == {record.state for record in ended_all(runs, within=60)}
    assert {("succeeded",)} == {tuple(outcomes(run)) for run in runs}
    assert {run.id for run in runs} == {r.run_id for r in store.runs.list(RunFilter(limit=10_000))}
    started = [line for line in lines_of("witness") if line.startswith("start")]
    assert len(runs) == len(started)
    for here in workers:
        assert WorkerState.UP == here.record().state
        assert [] == here.events("WorkerFenced") + here.events("DutyFailed")


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
def test_one_backend_killed_by_force_costs_no_run(worker, tasks, server):
    """The server then ends all others, and begins anew with what was committed."""
    worker(executors=2)
    runs = []
    for number in range(3):
        runs += tasks.app.enqueue_many([tasks.add.call(number, n) for n in range(50)])
        (backend, *_) = server.clients()
        os.kill(backend, signal.SIGKILL)
        wait_until(server.answers, within=PATIENCE)

    assert {"succeeded"} == {record.state for record in ended_all(runs)}
    assert {"succeeded"} == {outcomes(run)[-1] for run in runs}
