from __future__ import annotations

import signal

import pytest

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    certificate,
    ended,
    ended_all,
    lines_of,
    outcomes,
    wait_for_lines,
    whole_log,
)
from holdfast.core.models import WorkerState

BROKEN = {
    "no_such_module:app": "no_such_module",
    "broken:app": "ink is dry",
    "empty:app": "holdfast.App",
}


@pytest.mark.parametrize("app", BROKEN)
def test_worker_whose_app_cannot_be_loaded_ends_and_says_why(worker, folder, app):
    (folder / "broken.py").write_text("raise RuntimeError('ink is dry')")
    (folder / "empty.py").write_text("app = 7")

    here = worker(app=app, ready=False)

    assert 1 == here.process.wait(PATIENCE)
    assert BROKEN[app] in here.errors.read_text()
    assert 1 == len(here.events("AppUnusable"))
    assert [] == worker.everything()


def test_idle_worker_stops_at_once_and_leaves_nothing_behind(worker, folder):
    here = worker(executors=2)

    assert 0 == here.stop(within=10)

    assert WorkerState.STOPPED == here.record().state
    assert [] == worker.everything()
    assert [] == list((folder / "spool").iterdir())
    assert [] == list((folder / "holdfast.db.bell").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_attempt_may_finish_and_no_other_begins(worker, tasks, folder, number):
    here = worker(executors=1)
    running, waiting = tasks.hold.enqueue("a", "go"), tasks.add.enqueue(1, 2)
    wait_for_lines("witness")

    here.signal(number)
    wait_until(lambda: here.events("WorkerDraining"), within=PATIENCE)
    (folder / "go").touch()

    assert 0 == here.process.wait(PATIENCE)
    assert ("succeeded", 1) == (running.state, running.record.attempt)
    assert "queued" == waiting.state
    assert "succeeded" not in outcomes(waiting)


def test_attempt_that_does_not_finish_in_time_is_given_back_and_run_by_the_next_worker(
    worker, tasks, folder
):
    here = worker(executors=1, drain_seconds=0.5)
    runs = [tasks.hold.enqueue("sync", "go"), tasks.hold_async.enqueue("async", "go")]
    wait_for_lines("witness", 2)

    assert 0 == here.stop()

    for run in runs:
        assert ("queued", ["released"]) == (run.state, outcomes(run))
        assert ("deploy", "released(deploy)") == (
            certificate(run).evidence.asked.reason,
            certificate(run).verdict,
        )
    (folder / "go").touch()
    worker(executors=1)
    for run in runs:
        assert ("succeeded", 0, 0) == (ended(run).state, run.record.failures, run.record.crashes)


def test_command_beyond_the_drain_time_is_given_back_with_its_log(worker, tasks, store, folder):
    here = worker(executors=1, drain_seconds=0.3)
    run = tasks.app.run_command(["sh", "-c", "echo $HOLDFAST_ATTEMPT; test -e go || sleep 1000"])
    wait_until(lambda: run.log(1), within=PATIENCE)

    assert 0 == here.stop()
    assert (b"1\n", ["released"]) == (whole_log(store, run, 1), outcomes(run))
    assert [] == worker.everything()

    (folder / "go").touch()
    worker(executors=1)
    assert "succeeded" == ended(run).state
    assert b"2\n" == whole_log(store, run, 2)


def test_attempt_that_does_not_heed_the_deploy_is_killed_and_given_back(worker, tasks):
    here = worker(executors=1, drain_seconds=0.2, grace_seconds=0.3)
    run = tasks.swallow.enqueue()
    wait_for_lines("witness")

    assert 0 == here.stop()

    assert ("queued", ["released"], 0) == (run.state, outcomes(run), run.record.crashes)
    assert certificate(run).evidence.needed_kill


def test_second_signal_does_not_wait_for_the_running_attempts(worker, tasks):
    here = worker(executors=1, drain_seconds=1000)
    run = tasks.sleep.enqueue(1000)
    wait_for_lines("witness")

    here.signal(signal.SIGTERM)
    wait_until(lambda: here.events("WorkerDraining"), within=PATIENCE)
    here.signal(signal.SIGTERM)

    assert 0 == here.process.wait(PATIENCE)
    assert ("queued", ["released"]) == (run.state, outcomes(run))


def test_signal_while_it_starts_stops_it(worker):
    here = worker(executors=1, ready=False)
    wait_until(here.executors, within=PATIENCE)

    here.signal(signal.SIGTERM)

    assert here.process.wait(PATIENCE) in (0, -signal.SIGTERM)
    wait_until(lambda: not worker.everything(), within=PATIENCE)


def test_worker_that_drains_says_so(worker, tasks):
    here = worker(executors=1, drain_seconds=1000)
    tasks.sleep.enqueue(1000)
    wait_for_lines("witness")

    here.signal(signal.SIGTERM)

    wait_until(lambda: here.record().state == WorkerState.DRAINING, within=PATIENCE)


def test_log_of_the_last_attempt_is_complete_when_the_worker_has_stopped(worker, tasks, store):
    here = worker(executors=1)
    run = tasks.flood.enqueue(20_000)
    ended(run)

    assert 0 == here.stop()

    assert "".join(f"line {n}\n" for n in range(20_000)).encode() == whole_log(store, run)


def test_deploy_loses_no_run_and_doubles_none(worker, tasks):
    old = worker(executors=2)
    runs = [tasks.stay.enqueue(str(number), 0.01) for number in range(150)]
    wait_for_lines("witness", 20)

    worker(executors=2)
    assert 0 == old.stop()

    assert {"succeeded"} == {record.state for record in ended_all(runs)}
    started = [line.split()[1] for line in lines_of("witness") if line.startswith("start")]
    assert sorted(str(number) for number in range(150)) == sorted(started)
    assert {0} == {run.record.failures + run.record.crashes for run in runs}


def test_several_deploys_in_a_row_lose_no_run_and_double_none(worker, tasks):
    runs = [tasks.stay.enqueue(str(number), 0.01) for number in range(150)]
    count = 0
    last = worker(executors=1)
    for _ in range(3):
        count += 20
        wait_for_lines("witness", count)
        last, old = worker(executors=1), last
        assert 0 == old.stop()

    assert {"succeeded"} == {record.state for record in ended_all(runs)}
    assert 300 == len(set(lines_of("witness"))) == len(lines_of("witness"))
