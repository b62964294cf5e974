"""Fault 25: user code forks, and both sides use a store on a server."""

from __future__ import annotations

from helpers.heavy import heavy
from helpers.servers import server, store
from helpers.workers import PATIENCE, ended_all, outcomes
from holdfast.store.runs import RunFilter

__all__ = ["server", "store"]

CHILDREN = heavy(8, 100)


def test_fork_beside_a_thread_that_enqueues_shares_no_connection(worker, forking, store):
    worker(app="forking_tasks:app", executors=1)
    run = forking.fork_beside_a_thread_that_enqueues.enqueue(CHILDREN)

    of_parent, of_children = run.result(3 * PATIENCE)

    there = {record.run_id for record in store.runs.list(RunFilter(limit=100_000))}
    assert {run.id, *of_parent, *of_children} == there
    assert CHILDREN == len(set(of_children))
    runs = [forking.app.get_run(run_id) for run_id in there]
    assert {"succeeded"} == {record.state for record in ended_all(runs, within=60)}
    assert {("succeeded",)} == {tuple(outcomes(run)) for run in runs}


def test_processes_of_multiprocessing_use_the_app(worker, forking):
    worker(app="forking_tasks:app", executors=1)
    run = forking.start_processes.enqueue("fork", 3)

    assert [3] * 3 == run.result(3 * PATIENCE)
    assert 3 == forking.add.enqueue(1, 2).result(PATIENCE)
