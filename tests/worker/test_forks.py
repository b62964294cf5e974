from __future__ import annotations

import pytest

from helpers.workers import PATIENCE, command_line, ended_all, lines_of, outcomes, whole_log
from holdfast.store.runs import RunFilter

ENDS = {"return": 0, "raise": 1, "exit": 3, "at once": 3}


@pytest.mark.parametrize("how", ENDS)
def test_forked_child_does_not_speak_for_its_parent(worker, tasks, store, how):
    worker(executors=1)

    forks = [tasks.fork.enqueue(how) for _ in range(3)]
    others = [tasks.add.enqueue(number, 1) for number in range(20)]

    assert [ENDS[how]] * 3 == [run.result(PATIENCE) for run in forks]
    assert [n + 1 for n in range(20)] == [run.result(PATIENCE) for run in others]
    for run in forks:
        assert ["succeeded"] == outcomes(run)
        assert f"child {how}\n".encode() in whole_log(store, run)
    assert [f"child {how}"] * 3 == lines_of("witness")
    pids = {tasks.pid.enqueue().result(PATIENCE) for _ in range(5)}
    assert 1 == len(pids)


@pytest.mark.parametrize("how", ["return", "exit"])
def test_child_forked_in_an_async_task_does_not_speak_for_its_parent(worker, tasks, how):
    worker(executors=1)

    forks = [tasks.fork_async.enqueue(how) for _ in range(3)]
    others = [tasks.add_async.enqueue(number, 1) for number in range(20)]

    assert [ENDS[how]] * 3 == [run.result(PATIENCE) for run in forks]
    assert [n + 1 for n in range(20)] == [run.result(PATIENCE) for run in others]
    assert [f"child {how}"] * 3 == lines_of("witness")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_pool_works_inside_a_task(worker, tasks, method):
    here = worker(executors=1)

    run = tasks.map_in_processes.enqueue(method, 20)

    assert [2 * n for n in range(20)] == run.result(PATIENCE)
    assert tasks.pid.enqueue().result(PATIENCE)
    left = [" ".join(command_line(pid)) for pid in here.leftovers()]
    assert [] == [line for line in left if "resource_tracker" not in line]


def test_app_may_be_used_in_a_forked_child_and_in_its_parent(worker, tasks, store):
    worker(executors=1)

    run = tasks.enqueue_in_child.enqueue()
    assert tasks.app.get_run(run.result(PATIENCE)).result(PATIENCE) == 7

    runs = [tasks.app.get_run(record.run_id) for record in store.runs.list(RunFilter())]
    assert ["succeeded"] * 3 == [record.state for record in ended_all(runs)]
