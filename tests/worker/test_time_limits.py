from __future__ import annotations

import pytest

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    certificate,
    ended,
    is_alive,
    lines_of,
    outcomes,
    wait_for_lines,
    whole_log,
)
from holdfast import Retry
from holdfast.why import explain

FAMILIES = ["sample_tasks.with_family", "sample_tasks.with_family_async", "with_family"]
STUCK = ["stuck_in_c", "stuck_in_c_async"]


@pytest.mark.parametrize("name", FAMILIES)
def test_time_limit_ends_the_whole_family_of_processes(worker, tasks, name):
    here = worker(executors=1, grace_seconds=0.5)

    run = tasks.app.find_task(name).using(timeout=1).enqueue()
    family = [int(pid) for pid in wait_for_lines("pids", 3)]

    assert ("failed", ["timed_out"]) == (ended(run).state, outcomes(run))
    assert [] == here.leftovers()
    assert [] == [pid for pid in family if is_alive(pid)]
    judged = certificate(run)
    assert ("timeout", 1) == (judged.evidence.asked.reason, judged.evidence.asked.limit)
    assert judged.evidence.stopped_processes or judged.evidence.needed_kill


@pytest.mark.parametrize("name", ["sample_tasks.sleep", "sample_tasks.sleep_async"])
def test_function_over_its_time_limit_stops_when_asked(worker, tasks, name):
    worker(executors=1)

    run = tasks.app.find_task(name).using(timeout=0.3).enqueue(1000)

    assert "failed" == ended(run).state
    assert "timeout(soft)" == certificate(run).verdict
    assert "sleep(seconds)" in certificate(run).evidence.stack
    assert "Timed out after 300 ms" in run.record.error


def test_command_over_its_time_limit_stops_when_asked(worker, tasks):
    worker(executors=1)

    run = tasks.app.run_command(["sleep", "1000"], timeout=0.3)

    assert "failed" == ended(run).state
    assert "timeout(soft)" == certificate(run).verdict


def test_time_limit_counts_as_a_failure_and_is_tried_again(worker, tasks):
    worker(executors=1)

    run = tasks.sleep.using(timeout=0.2, retries=Retry(1, delay=0.01)).enqueue(1000)

    assert ("failed", 2, 0) == (ended(run).state, run.record.failures, run.record.crashes)
    assert ["timed_out", "timed_out"] == outcomes(run)


def test_function_has_the_grace_to_clean_up(worker, tasks, store):
    worker(executors=1)

    run = tasks.clean_up.using(timeout=0.3).enqueue()

    assert "failed" == ended(run).state
    assert ["start", "cleaned"] == lines_of("witness")
    assert b"cleaned\n" in whole_log(store, run)


def test_function_that_swallows_the_stop_is_killed_after_the_grace(worker, tasks, store):
    worker(executors=1, grace_seconds=0.5)

    run = tasks.swallow.using(timeout=0.3).enqueue()

    assert "failed" == ended(run).state
    assert "timeout(hard)" == certificate(run).verdict
    assert "needed SIGKILL" in run.record.error
    assert "in swallow" in certificate(run).evidence.stack
    assert b"no, I stay\n" in whole_log(store, run)


@pytest.mark.parametrize("name", STUCK)
def test_function_stuck_in_c_code_is_killed_and_the_certificate_says_where(worker, tasks, name):
    worker(executors=1, grace_seconds=0.5)

    run = tasks.app.find_task(f"sample_tasks.{name}").using(timeout=0.3).enqueue()

    assert "failed" == ended(run).state
    assert "timeout(hard)" == certificate(run).verdict
    assert f"in {name}" in certificate(run).evidence.stack


def test_stack_of_a_hang_names_the_task_and_no_frame_of_its_executor(worker, tasks):
    worker(executors=1)

    run = tasks.wait_in_thread.using(timeout=0.3).enqueue()

    assert "failed" == ended(run).state
    stack = certificate(run).evidence.stack
    assert stack.startswith("Thread MainThread (most recent call last):")
    assert "in wait_in_thread" in stack.splitlines()[1]
    assert "Thread the-one-that-hangs (most recent call last):" in stack
    assert "in _hang" in stack
    assert "holdfast-watcher" not in stack
    assert "worker/executor.py" not in stack


@pytest.mark.parametrize("memory", [None, "1GiB"], ids=["shared executor", "executor of its own"])
def test_stack_of_a_hanging_coroutine_goes_down_to_what_it_awaits(worker, tasks, memory):
    worker(executors=1)

    run = tasks.wait_deep_async.using(timeout=0.3, memory=memory).enqueue(3)

    assert "failed" == ended(run).state
    stack = certificate(run).evidence.stack
    assert stack.startswith("Coroutine (most recent call last):")
    assert 4 == stack.count("in wait_deep_async") + stack.count("in _deeper")
    assert "await asyncio.sleep(1000)" in stack


def test_stack_is_shown_by_why_and_show(worker, tasks, store):
    worker(executors=1)

    run = tasks.wait_deep_async.using(timeout=0.3).enqueue(1)
    ended(run)

    lines = explain(store, run.record).evidence
    assert "  Coroutine (most recent call last):" in lines[lines.index("stack:") :]


def test_endless_regular_expression_is_stopped(worker, tasks):
    worker(executors=1, grace_seconds=0.5)

    run = tasks.search.using(timeout=0.3).enqueue("(a+)+$", "a" * 50 + "b")

    assert "failed" == ended(run).state
    assert "in search" in certificate(run).evidence.stack


def test_neighbours_of_a_stuck_async_attempt_run_again_unharmed(worker, tasks, folder):
    worker(executors=1, grace_seconds=0.5)
    neighbours = [tasks.hold_async.enqueue(str(number), "go") for number in range(3)]
    wait_for_lines("witness", 3)

    stuck = tasks.stuck_in_c_async.using(timeout=0.3).enqueue()
    wait_until(lambda: outcomes(stuck), within=PATIENCE)
    (folder / "go").touch()

    assert ("failed", "timed_out") == (ended(stuck).state, outcomes(stuck)[-1])
    for run in neighbours:
        assert "succeeded" == ended(run).state
        assert (0, 0) == (run.record.failures, run.record.crashes)
        assert "released(neighbour)" == certificate(run, 0).verdict


def test_executor_is_used_again_after_a_stop_and_replaced_after_a_kill(worker, tasks):
    worker(executors=1, grace_seconds=0.3)
    first = tasks.pid.enqueue().result(PATIENCE)

    ended(tasks.sleep.using(timeout=0.2).enqueue(1000))
    assert first == tasks.pid.enqueue().result(PATIENCE)

    ended(tasks.swallow.using(timeout=0.2).enqueue())
    assert first != tasks.pid.enqueue().result(PATIENCE)
    assert not is_alive(first)


def test_attempt_within_its_time_limit_is_left_alone(worker, tasks):
    worker(executors=1)

    run = tasks.stay.using(timeout=30).enqueue("a", 0.5)

    assert "succeeded" == ended(run).state
