from __future__ import annotations

import pytest

from helpers.workers import (
    PATIENCE,
    certificate,
    ended,
    is_alive,
    outcomes,
    wait_for_lines,
)

FAMILIES = ["sample_tasks.with_family", "sample_tasks.with_family_async", "with_family"]


@pytest.mark.parametrize("name", FAMILIES)
def test_cancel_ends_the_whole_family_of_processes(worker, tasks, name):
    here = worker(executors=1, grace_seconds=0.5)
    run = tasks.app.find_task(name).enqueue()
    family = [int(pid) for pid in wait_for_lines("pids", 3)]

    assert "running" == run.cancel(by="ines")

    assert ("cancelled", ["cancelled"]) == (ended(run).state, outcomes(run))
    assert [] == here.leftovers()
    assert [] == [pid for pid in family if is_alive(pid)]
    judged = certificate(run)
    assert ("cancel", "ines") == (judged.evidence.asked.reason, judged.evidence.asked.by)
    assert judged.evidence.stopped_processes or judged.evidence.needed_kill


@pytest.mark.parametrize("name", ["sleep", "sleep_async"])
def test_cancelled_function_stops_at_once(worker, tasks, name):
    worker(executors=1, poll_seconds=10)
    run = tasks.app.find_task(f"sample_tasks.{name}").enqueue(1000)
    wait_for_lines("witness")

    run.cancel(by="ines")

    assert "cancelled" == ended(run, within=5).state  # the bell is heard long before the poll
    assert "stopped when asked" in run.record.error


def test_cancelled_function_that_does_not_stop_is_killed(worker, tasks):
    worker(executors=1, grace_seconds=0.3)
    run = tasks.swallow.enqueue()
    wait_for_lines("witness")

    run.cancel(by="ines")

    assert "cancelled" == ended(run).state
    assert certificate(run).evidence.needed_kill


def test_cancelled_async_attempt_does_not_touch_the_others(worker, tasks, folder):
    worker(executors=1)
    runs = [tasks.hold_async.enqueue(str(number), "go") for number in range(3)]
    wait_for_lines("witness", 3)

    runs[1].cancel(by="ines")

    assert "cancelled" == ended(runs[1]).state
    (folder / "go").touch()
    for run in (runs[0], runs[2]):
        assert ("succeeded", 1) == (ended(run).state, run.record.attempt)


def test_processes_of_other_async_attempts_are_spared(worker, tasks, folder):
    worker(executors=1)
    first, second = (tasks.with_process_async.enqueue(name, "go") for name in ("a", "b"))
    ends, stays = (int(wait_for_lines(name)[0]) for name in ("a", "b"))

    first.cancel(by="ines")

    assert "cancelled" == ended(first).state
    assert (False, True) == (is_alive(ends), is_alive(stays))
    (folder / "go").touch()
    assert 0 == second.result(PATIENCE)


def test_waiting_run_is_cancelled_at_once_and_never_begins(worker, tasks, folder):
    worker(executors=1)
    first = tasks.hold.enqueue("first", "go")
    wait_for_lines("witness")
    second = tasks.add.enqueue(1, 2)

    assert "cancelled" == second.cancel(by="ines")

    (folder / "go").touch()
    assert "succeeded" == ended(first).state
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    assert ("cancelled", []) == (second.state, outcomes(second))


def test_cancelled_run_can_be_retried(worker, tasks, folder):
    worker(executors=1)
    run = tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")
    run.cancel(by="ines")
    ended(run)

    (folder / "go").touch()
    run.retry()

    assert ("succeeded", ["cancelled", "succeeded"]) == (ended(run).state, outcomes(run))
