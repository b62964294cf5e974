from __future__ import annotations

import signal

import pytest

from helpers.workers import certificate, ended, outcomes


@pytest.mark.parametrize("name", ["add", "add_async"])
def test_claim_whose_answer_was_lost_is_given_back_and_carried_out(worker, tasks, store, name):
    here = worker(executors=1, beat_seconds=0.2, lease_seconds=1)
    task = tasks.app.find_task(f"sample_tasks.{name}")

    here.pause()
    run = task.enqueue(1, 2)
    wanted = {task.body.shared: 1}
    _, (claim,) = store.leases.settle_and_claim(here.worker_id, [], wanted, ["*"])
    here.signal(signal.SIGCONT)

    assert run.id == claim.run_id
    assert ("succeeded", ["lost", "succeeded"]) == (ended(run).state, outcomes(run))
    assert "orphan_claim" == certificate(run, 0).verdict
    assert (0, 0) == (run.record.failures, run.record.crashes)
