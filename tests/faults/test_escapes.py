"""Fault 8: grandchildren escape. After the end of an attempt none of its processes lives."""

from __future__ import annotations

import os
import signal

import pytest

from helpers.waiting import wait_until
from helpers.workers import PATIENCE, certificate, ended, is_alive, outcomes, wait_for_lines

FUNCTIONS = ["escape", "escape_async"]
WAYS = ["session", "daemon", "empty environment", "fork", "thread", "multiprocessing"]
ENDS = {
    "return": "succeeded",
    "raise": "failed",
    "cancel": "cancelled",
    "time limit": "timed_out",
    "swallow": "timed_out",
    "memory": "crashed",
    "die": "crashed",
}


def escaped():
    """The pids of the processes that have left the session of their attempt."""
    return [int(pid) for pid in wait_for_lines("escaped")]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_process_outlives_the_attempt_of_a_function(worker, tasks, name, way, end):
    here = worker(executors=1, grace_seconds=0.5)
    limits = {
        "time limit": {"timeout": 1},
        "swallow": {"timeout": 1},
        "memory": {"memory": "150MiB"},
    }

    task = tasks.app.find_task(f"sample_tasks.{name}").using(crashes=0, **limits.get(end, {}))
    run = task.enqueue(way, end)
    pids = escaped()
    if end == "cancel":
        run.cancel()
    ended(run)

    assert ENDS[end] == outcomes(run)[-1]
    assert [] == [pid for pid in pids if is_alive(pid)]
    assert [] == here.leftovers()


@pytest.mark.parametrize("end", ["exit 0", "exit 3", "cancel", "time limit", "kill"])
@pytest.mark.parametrize("way", ["session", "daemon", "empty environment"])
def test_no_process_outlives_the_attempt_of_a_command(worker, tasks, way, end):
    here = worker(executors=1, grace_seconds=0.5)
    then = end if end.startswith("exit") else "sleep 1000"

    run = (
        tasks.app.find_task("escape")
        .using(timeout=1 if end == "time limit" else 60)
        .enqueue(way=way, then=then)
    )
    pids = escaped()
    if end == "cancel":
        run.cancel()
    if end == "kill":
        (shell,) = wait_for_lines("shell")
        os.kill(int(shell), signal.SIGKILL)
    ended(run)

    assert [] == [pid for pid in pids if is_alive(pid)]
    assert [] == here.leftovers()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_success_left_behind_is_counted_and_told(worker, tasks, name):
    here = worker(executors=1)

    run = tasks.app.find_task(f"sample_tasks.{name}").enqueue("session", "return")

    assert "succeeded" == ended(run).state
    (told,) = wait_until(lambda: here.events("ProcessesLeft"), within=PATIENCE)
    assert (run.id, 1) == (told["run_id"], told["count"])


def test_what_a_failure_left_behind_is_counted_in_its_certificate(worker, tasks):
    worker(executors=1)

    run = tasks.escape.enqueue("session", "raise")

    assert "failed" == ended(run).state
    assert 1 == certificate(run).evidence.stopped_processes


@pytest.mark.parametrize("way", ["session", "fork", "multiprocessing"])
def test_processes_of_other_attempts_in_the_executor_are_spared(worker, tasks, folder, way):
    worker(executors=1)
    other = tasks.with_fork_async.enqueue("other", "go")
    wait_for_lines("other")

    run = tasks.escape_async.enqueue(way, "return")
    pids = escaped()

    assert "succeeded" == ended(run).state
    assert [] == [pid for pid in pids if is_alive(pid)]
    (folder / "go").touch()
    assert 0 == other.result(PATIENCE)


def test_processes_end_with_supervisor_and_executor_killed_at_once(worker, tasks):
    """Nobody is left who knows them but their cgroup: they have no parent and no environment."""
    here = worker(executors=1)
    run = tasks.escape.enqueue("empty environment", "wait")
    pids = escaped()

    for pid in (here.pid, *here.executors()):
        os.kill(pid, signal.SIGSTOP)  # so that none can do what it does when another dies
    for pid in (here.sidecar("heartbeat"), here.pid, *here.executors()):
        os.kill(pid, signal.SIGKILL)
    worker(executors=1)
    wait_until(lambda: outcomes(run)[:1] == ["lost"], within=PATIENCE)

    assert [] == [pid for pid in pids if is_alive(pid)]


def test_worker_started_by_a_task_ends_with_its_attempt_and_not_the_other_way_round(
    worker, tasks, folder, store
):
    outer = worker(executors=1)
    run = tasks.start_worker.enqueue(str(folder / "inner.db"))
    inner = [int(pid) for pid in wait_for_lines("inner", 2)]
    supervisor, executor = inner

    os.kill(executor, signal.SIGKILL)  # of the inner one: no concern of the outer
    wait_until(lambda: len(wait_for_lines("inner")) > 2, within=PATIENCE)
    assert "running" == run.state
    assert is_alive(supervisor)

    outer.kill()
    worker(executors=1)

    wait_until(lambda: outcomes(run)[:1] == ["lost"], within=PATIENCE)
    wait_until(lambda: not is_alive(supervisor), within=PATIENCE)
