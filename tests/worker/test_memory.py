"""Fault 4: an attempt goes over its memory limit, and nobody else suffers from it."""

from __future__ import annotations

import pytest

from helpers.cgroups import WITHOUT_RIGHTS
from helpers.workers import certificate, ended, is_alive, outcomes, wait_for_lines

MEBIBYTE = 1 << 20
HUNGRY = {
    "sample_tasks.eat": {"args": [200]},
    "sample_tasks.eat_async": {"args": [200]},
    "sample_tasks.eat_in_children": {"args": [3, 60]},
    "sample_tasks.eat_in_forks": {"args": [3, 60]},
    "eat": {"kwargs": {"megabytes": 200}},
    "eat_in_shell": {"kwargs": {"megabytes": 200}},
}


def hungry(tasks, name, **limits):
    """Enqueue a task that takes about 200 MiB."""
    call = HUNGRY[name]
    task = tasks.app.find_task(name).using(**limits)
    return task.enqueue(*call.get("args", ()), **call.get("kwargs", {}))


@pytest.mark.parametrize("name", HUNGRY)
def test_kernel_stops_an_attempt_over_its_memory_limit_and_nobody_else(worker, tasks, folder, name):
    here = worker(executors=2)
    neighbour = tasks.hold.enqueue("neighbour", "go")
    wait_for_lines("witness")

    run = hungry(tasks, name, memory="150MiB", crashes=0)

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    judged = certificate(run)
    assert (
        "Out of memory: limit 150 MiB, peak 150 MiB; killed by the kernel in its own cgroup; "
        "neighbours unharmed."
    ) == judged.sentence
    assert ("oom(cgroup)", "certain") == (judged.verdict, judged.confidence)
    assert 150 * MEBIBYTE == judged.evidence.memory_limit == judged.evidence.oom.limit
    assert judged.evidence.oom.kills >= 1
    assert run.attempts[0].peak_rss == judged.evidence.peak_rss
    assert judged.sentence.rstrip(".") in run.record.error
    assert [] == here.leftovers()
    (folder / "go").touch()
    assert ("succeeded", 1) == (ended(neighbour).state, neighbour.record.attempt)


@pytest.mark.parametrize("name", HUNGRY)
def test_without_cgroups_an_attempt_over_its_memory_limit_is_stopped_by_its_worker(
    worker, tasks, folder, name
):
    here = worker(executors=2, under=WITHOUT_RIGHTS)
    neighbour = tasks.hold.enqueue("neighbour", "go")
    wait_for_lines("witness")

    run = hungry(tasks, name, memory="150MiB", crashes=0)

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    judged = certificate(run)
    assert ("oom(limit)", "certain") == (judged.verdict, judged.confidence)
    assert 150 * MEBIBYTE == judged.evidence.memory_limit == judged.evidence.asked.limit
    assert 150 * MEBIBYTE < judged.evidence.peak_rss
    assert run.attempts[0].peak_rss == judged.evidence.peak_rss
    assert "Out of memory" in run.record.error
    assert [] == here.leftovers()
    (folder / "go").touch()
    assert ("succeeded", 1) == (ended(neighbour).state, neighbour.record.attempt)


@pytest.mark.parametrize("under", [(), WITHOUT_RIGHTS], ids=["cgroup", "sampling"])
def test_memory_that_forked_processes_share_counts_once(worker, tasks, under):
    worker(executors=1, under=under)

    run = tasks.share_with_forks.using(memory="150MiB").enqueue(4, 60, 1.5)

    assert "succeeded" == ended(run).state


@pytest.mark.parametrize("under", [(), WITHOUT_RIGHTS], ids=["cgroup", "sampling"])
def test_limit_is_that_of_one_attempt_and_not_of_those_after_it(worker, tasks, folder, under):
    worker(executors=1, under=under)
    before = tasks.pid.using(memory="100MiB").enqueue().result(20)

    assert 200 * MEBIBYTE == tasks.take.enqueue(200).result(20)
    assert before == tasks.pid.enqueue().result(20)


@pytest.mark.parametrize("under", [(), WITHOUT_RIGHTS], ids=["cgroup", "sampling"])
def test_limit_below_what_the_executor_itself_holds_is_no_riddle(worker, tasks, under):
    worker(executors=1, under=under)

    run = tasks.sleep.using(memory="2MiB", crashes=0).enqueue(5)

    assert "quarantined" == ended(run).state
    assert certificate(run).verdict in ("oom(limit)", "oom(cgroup)")


def test_attempt_ends_with_the_process_that_the_kernel_chose(worker, tasks):
    """Else it depended on chance whether the limit was one."""
    worker(executors=1)

    run = tasks.survive_a_hungry_child.using(memory="150MiB", crashes=0).enqueue(200)

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    assert "oom(cgroup)" == certificate(run).verdict


def test_exception_that_follows_from_a_kernel_kill_is_not_the_cause(worker, tasks):
    worker(executors=1)

    run = tasks.fail_with_a_hungry_child.using(memory="150MiB", crashes=0).enqueue(200)

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    assert "oom(cgroup)" == certificate(run).verdict


def test_peak_memory_of_a_command_is_recorded(worker, tasks):
    worker(executors=1)
    script = "import time; held = bytearray(100 << 20); time.sleep(1.5)"

    run = tasks.app.run_command([tasks.sys.executable, "-c", script])

    assert "succeeded" == ended(run).state
    assert 100 * MEBIBYTE < run.attempts[0].peak_rss < 300 * MEBIBYTE


@pytest.mark.parametrize("under", [(), WITHOUT_RIGHTS], ids=["cgroup", "sampling"])
def test_executor_that_was_stopped_for_memory_is_replaced(worker, tasks, under):
    worker(executors=1, under=under)
    before = tasks.pid.enqueue().result(20)

    ended(tasks.eat.using(memory="100MiB", crashes=0).enqueue(200))

    assert 3 == tasks.add.enqueue(1, 2).result(20)
    assert not is_alive(before)
