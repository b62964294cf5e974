from __future__ import annotations

import pytest

from helpers.workers import certificate, ended, is_alive, outcomes, wait_for_lines

MEBIBYTE = 1 << 20
HUNGRY = {
    "sample_tasks.eat": {"args": [200]},
    "sample_tasks.eat_in_children": {"args": [3, 60]},
    "eat": {"kwargs": {"megabytes": 200}},
}


@pytest.mark.parametrize("name", HUNGRY)
def test_attempt_over_its_memory_limit_is_stopped_and_says_so(worker, tasks, folder, name):
    here = worker(executors=2)
    neighbour = tasks.hold.enqueue("neighbour", "go")
    wait_for_lines("witness")

    call = HUNGRY[name]
    task = tasks.app.find_task(name).using(memory="150MiB", crashes=0)
    run = task.enqueue(*call.get("args", ()), **call.get("kwargs", {}))

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    judged = certificate(run)
    assert "oom(limit)" == judged.verdict
    assert 150 * MEBIBYTE == judged.evidence.memory_limit == judged.evidence.asked.limit
    assert 150 * MEBIBYTE < judged.evidence.peak_rss
    assert run.attempts[0].peak_rss == judged.evidence.peak_rss
    assert "Out of memory" in run.record.error
    assert [] == here.leftovers()
    (folder / "go").touch()
    assert ("succeeded", 1) == (ended(neighbour).state, neighbour.record.attempt)


def test_tree_is_measured_as_a_whole(worker, tasks):
    """Each of its processes stays below the limit; together they are above it."""
    worker(executors=1)

    run = tasks.eat_in_children.using(memory="150MiB", crashes=0).enqueue(3, 60)

    assert "oom(limit)" == (ended(run).state and certificate(run).verdict)


def test_attempt_below_its_memory_limit_is_left_alone(worker, tasks, folder):
    worker(executors=1)
    (folder / "go").touch()

    run = tasks.hold.using(memory="150MiB").enqueue("a", "go")

    assert "succeeded" == ended(run).state


def test_peak_memory_of_a_command_is_recorded(worker, tasks):
    worker(executors=1)
    script = "import time; held = bytearray(100 << 20); time.sleep(1.5)"

    run = tasks.app.run_command([tasks.sys.executable, "-c", script])

    assert "succeeded" == ended(run).state
    assert 100 * MEBIBYTE < run.attempts[0].peak_rss < 300 * MEBIBYTE


def test_executor_that_was_stopped_for_memory_is_replaced(worker, tasks):
    worker(executors=1)
    before = tasks.pid.enqueue().result(20)

    ended(tasks.eat.using(memory="100MiB", crashes=0).enqueue(200))

    assert 3 == tasks.add.enqueue(1, 2).result(20)
    assert not is_alive(before)
