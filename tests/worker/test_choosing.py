from __future__ import annotations

import itertools
import os
import signal
from datetime import timedelta

import pytest

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    ended,
    ended_all,
    lines_of,
    most_at_once,
    outcomes,
    wait_for_lines,
)
from holdfast.core.clock import SECOND


@pytest.mark.parametrize("limit", [1, 2])
def test_runs_of_a_concurrency_key_never_exceed_its_limit(worker, tasks, limit):
    worker(executors=2)
    worker(executors=2)
    keyed = tasks.stay.using(concurrency_key="printer", concurrency_limit=limit)

    runs = [keyed.enqueue(str(number), 0.02) for number in range(25)]
    free = [tasks.add.enqueue(number, 1) for number in range(25)]
    ended_all([*runs, *free])

    lines = wait_for_lines("witness", 50)
    assert limit == most_at_once(lines)
    assert [1] * 25 == [run.record.attempt for run in runs]


def test_async_attempts_of_a_concurrency_key_never_exceed_its_limit(worker, tasks):
    worker(executors=1)
    keyed = tasks.stay_async.using(concurrency_key="printer", concurrency_limit=3)

    ended_all([keyed.enqueue(str(number), 0.02) for number in range(30)])

    assert 3 == most_at_once(wait_for_lines("witness", 60))


def test_busy_key_lets_other_runs_pass(worker, tasks, folder):
    worker(executors=2)
    keyed = tasks.hold.using(concurrency_key="printer", priority=10)
    first, second = keyed.enqueue("first", "go"), keyed.enqueue("second", "go")
    wait_for_lines("witness")

    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)

    assert "queued" in {first.state, second.state}
    (folder / "go").touch()
    assert ["succeeded"] * 2 == [r.state for r in ended_all([first, second])]


def test_key_is_free_again_after_a_failure_a_crash_and_a_cancel(worker, tasks):
    worker(executors=2)
    key = {"concurrency_key": "printer"}

    runs = [
        tasks.boom.using(**key).enqueue("no"),
        tasks.kill_itself.using(crashes=0, **key).enqueue(),
        tasks.sleep.using(timeout=0.2, **key).enqueue(1000),
        tasks.add.using(**key).enqueue(1, 2),
    ]

    states = [record.state for record in ended_all(runs)]
    assert ["failed", "quarantined", "failed", "succeeded"] == states


def test_paused_queue_waits_and_goes_on_when_resumed(worker, tasks, store):
    worker(executors=1)
    store.queues.pause("mail", by="ines", reason="maintenance")
    waiting = tasks.add.using(queue_name="mail").enqueue(1, 2)

    assert 7 == tasks.add.enqueue(3, 4).result(PATIENCE)
    assert ("queued", 0) == (waiting.state, waiting.record.attempt)

    store.queues.resume("mail")
    assert 3 == waiting.result(PATIENCE)


def test_worker_serves_only_its_queues(worker, tasks):
    worker("--queues", "mail,reports", executors=1)
    other = tasks.add.enqueue(1, 2)

    for name in ("mail", "reports"):
        assert 3 == tasks.add.using(queue_name=name).enqueue(1, 2).result(PATIENCE)

    assert "queued" == other.state


def test_higher_priority_comes_first_and_then_the_older_run(worker, tasks, store):
    worker(executors=1)
    store.queues.pause("default", by="ines")
    names = {f"{priority}-{n}": priority for n in range(3) for priority in (0, 100, -100, 5)}
    runs = [tasks.stay.using(priority=p).enqueue(name, 0) for name, p in names.items()]

    store.queues.resume("default")
    ended_all(runs)

    lines = wait_for_lines("witness", 2 * len(names))
    started = [line.split()[1] for line in lines if line.startswith("start")]
    assert [f"{p}-{n}" for p in (100, 5, 0, -100) for n in range(3)] == started


def test_run_starts_not_before_its_time_and_soon_after(worker, tasks):
    worker(executors=1)

    run = tasks.add.using(run_after=timedelta(seconds=1)).enqueue(1, 2)

    assert "scheduled" == run.state
    assert 3 == run.result(PATIENCE)
    late = run.attempts[0].started_at - run.record.due_at
    assert 0 <= late < 1 * SECOND


def test_dedupe_key_gives_the_same_run_while_it_waits_or_runs(worker, tasks, folder):
    worker(executors=1)
    once = tasks.hold.using(dedupe_key="r7")
    first = once.enqueue("a", "go")
    wait_for_lines("witness")

    assert first == once.enqueue("a", "go")

    (folder / "go").touch()
    ended(first)
    later = once.enqueue("a", "go")
    assert first != later
    assert "succeeded" == ended(later).state
    assert 4 == len(lines_of("witness"))


def test_run_of_a_task_that_no_worker_knows_waits_for_one_that_does(worker, tasks, folder):
    (folder / "other_tasks.py").write_text("from holdfast import App\napp = App()\n")
    worker(executors=1, app="other_tasks:app")

    run = tasks.add.enqueue(1, 2)
    command = tasks.app.run_command(["true"])

    assert "succeeded" == ended(command).state
    assert ("queued", []) == (run.state, outcomes(run))
    worker(executors=1)
    assert 3 == run.result(PATIENCE)
    assert 1 == run.record.attempt


def test_long_task_does_not_hold_up_short_ones_behind_it(worker, tasks, folder):
    worker(executors=2)
    ended_all([tasks.add.enqueue(n, 1) for n in range(100)])  # short ones are taken ahead by now

    long = tasks.hold.enqueue("long", "go")
    short = [tasks.add.enqueue(number, 1) for number in range(200)]

    assert [n + 1 for n in range(200)] == [run.result(PATIENCE) for run in short]
    assert "running" == long.state
    (folder / "go").touch()
    assert ("succeeded", 1) == (ended(long).state, long.record.attempt)


def test_several_long_tasks_among_short_ones_spread_over_the_executors(worker, tasks):
    worker(executors=2)
    ended_all([tasks.add.enqueue(n, 1) for n in range(100)])

    mixed = [(tasks.stay.enqueue("x", 0.3), tasks.add.enqueue(n, 1)) for n in range(8)]
    ended_all(itertools.chain(*mixed))

    assert 2 == most_at_once(wait_for_lines("witness", 16))


@pytest.mark.parametrize("name", ["add", "add_async"])
def test_idle_worker_starts_a_new_run_at_once(worker, tasks, name):
    worker(executors=1, poll_seconds=30)
    task = tasks.app.find_task(f"sample_tasks.{name}")
    task.enqueue(1, 2).result(PATIENCE)

    run = task.enqueue(1, 2)

    wait_until(lambda: run.is_finished, within=5)  # the bell, and not the poll
    assert run.attempts[0].started_at - run.record.created_at < 1 * SECOND


@pytest.mark.parametrize("name", ["pid", "pid_async"])
def test_executor_that_has_just_become_ready_looks_for_work_at_once(worker, tasks, name):
    worker(executors=1, poll_seconds=1000)
    task = tasks.app.find_task(f"sample_tasks.{name}")

    victim = task.enqueue().result(PATIENCE)
    os.kill(victim, signal.SIGKILL)

    assert victim != task.enqueue().result(PATIENCE)
