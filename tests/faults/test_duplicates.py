"""Fault 23: the same run is enqueued many times at once, and again after an unknown outcome."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from helpers.heavy import heavy
from helpers.tracing import inject
from helpers.workers import PATIENCE, ended, holdfast, outcomes, wait_for_lines
from holdfast import AlreadyEnqueued, new_id
from holdfast.store.runs import RunFilter

CLIENTS = heavy(50, 200)
# Fresh processes take long to start; children of one that has the app already are as separate.
AT_ONCE = f"""
import os, sys
import sample_tasks

task = sample_tasks.stay.using(**eval(sys.argv[1]))
ready, start = os.pipe(), os.pipe()
children = []
for _ in range({CLIENTS}):
    if child := os.fork():
        children.append(child)
        continue
    os.close(start[1])
    os.write(ready[1], b"!")
    os.read(start[0], 1)  # until the parent closes its end
    os.write(1, task.enqueue("a", 0.2).id.encode() + b"\\n")
    os._exit(0)
for _ in children:
    os.read(ready[0], 1)
os.close(start[1])
for child in children:
    os.waitpid(child, 0)
"""
ONCE = """
import sys
import sample_tasks
sample_tasks.stay.using(**eval(sys.argv[1])).enqueue("a", 0)
"""
# The client dies in the middle of its commit: before it is on disk, and when it is.
DEATHS = {"before the sync": "retval=0:signal=KILL", "after the sync": "signal=KILL"}


def options(kind, run_id):
    """How the runs of these clients are the same."""
    return {"run_id": run_id} if kind == "run_id" else {"dedupe_key": "order 7"}


def runs_in(store):
    return [record.run_id for record in store.runs.list(RunFilter())]


@pytest.mark.parametrize("kind", ["run_id", "dedupe_key"])
def test_many_processes_that_enqueue_the_same_at_once_make_one_run(worker, tasks, store, kind):
    wanted = options(kind, new_id())

    answers = worker.run(sys.executable, "-c", AT_ONCE, repr(wanted)).decode().split()

    assert CLIENTS == len(answers)
    (run_id,) = set(answers)
    assert [run_id] == runs_in(store)
    here = worker(executors=2)
    run = tasks.app.get_run(run_id)
    assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
    assert 2 == len(wait_for_lines("witness", 2))
    assert [] == store.leases.held(here.worker_id)


@pytest.mark.parametrize("moment", DEATHS)
@pytest.mark.parametrize("kind", ["run_id", "dedupe_key"])
def test_what_is_enqueued_again_after_an_unknown_outcome_is_one_run(
    worker, tasks, store, kind, moment
):
    wanted = options(kind, new_id())
    store.close()  # so that what the dead client left is found by those that come after it

    first = worker.start(
        *inject(f"fdatasync:{DEATHS[moment]}:when=1"), sys.executable, "-c", ONCE, repr(wanted)
    )
    assert -signal.SIGKILL == first.wait(PATIENCE)
    for _ in range(2):
        worker.run(sys.executable, "-c", ONCE, repr(wanted))

    (run_id,) = runs_in(store)
    assert kind == "dedupe_key" or run_id == wanted["run_id"]
    worker(executors=1)
    run = tasks.app.get_run(run_id)
    assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
    assert 2 == len(wait_for_lines("witness", 2))


def test_the_same_key_on_the_command_line_gives_the_same_run(worker, tasks, store):
    enqueue = holdfast("--app", "sample_tasks:app", "enqueue", "--dedupe-key", "k")
    clients = [
        worker.start(*enqueue, "sample_tasks.add", "1", "2", stdout=subprocess.PIPE)
        for _ in range(4)
    ]

    answers = {client.communicate(timeout=60)[0].strip().decode() for client in clients}

    assert [*answers] == runs_in(store)


def test_the_id_of_another_run_is_refused(worker, tasks, store):
    run = tasks.add.enqueue(1, 2)

    with pytest.raises(AlreadyEnqueued, match="with other content"):
        tasks.add.using(run_id=run.id).enqueue(1, 3)

    assert [run.id] == runs_in(store)
