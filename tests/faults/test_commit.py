"""Fault 10: the supervisor stands still, or dies, in the middle of a commit."""

from __future__ import annotations

import signal

import pytest

from helpers.tracing import injected
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    ended,
    is_free,
    outcomes,
    send,
    wait_for_lines,
)
from holdfast.core.models import WorkerState

QUICK = {"beat_seconds": 0.2, "lease_seconds": 2}
LONG = "7s"  # more than three leases
PAUSES = {"before the sync": "delay_enter", "after the sync": "delay_exit"}
# The call is made or not; either way the process does not come back from it.
DEATHS = {"before the sync": "retval=0:signal=KILL", "after the sync": "signal=KILL"}


def is_committing(store):
    return not is_free(store.database.dialect.path)


@pytest.mark.parametrize("moment", PAUSES)
def test_pause_in_the_middle_of_the_commit_of_an_outcome_ends_in_one_final_state(
    worker, tasks, store, folder, moment
):
    paused = worker(executors=1, **QUICK)
    run = tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")
    other = worker(executors=1, **QUICK)

    with injected(paused.pid, f"fdatasync:{PAUSES[moment]}={LONG}:when=1") as struck:
        (folder / "go").touch()
        wait_until(lambda: is_committing(store), within=PATIENCE)
        assert "running" == run.state  # one may look all the while
        assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
        assert struck()

    assert ["start", "end"] == [line.split()[0] for line in wait_for_lines("witness", 2)]
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    beats = {here: here.record().beat for here in (paused, other)}
    for here, beat in beats.items():
        wait_until(lambda: here.record().beat > beat + 3, within=PATIENCE)  # noqa: B023
        assert WorkerState.UP == here.record().state
        assert [] == here.events("WorkerFenced") + here.events("WorkerDied")


@pytest.mark.parametrize("moment", DEATHS)
@pytest.mark.parametrize("who", ["supervisor", "everybody"])
def test_death_in_the_middle_of_the_commit_of_an_outcome_ends_in_one_final_state(
    worker, tasks, store, folder, moment, who
):
    """When nobody is left, the next one has to find out from the file what was committed."""
    first = worker(executors=1)
    run = tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")
    if who == "everybody":
        store.close()

    with injected(first.pid, f"fdatasync:{DEATHS[moment]}:when=1"):
        (folder / "go").touch()
        assert -signal.SIGKILL == first.process.wait(PATIENCE)
    if who == "everybody":
        send(worker.everything(), signal.SIGKILL)
        wait_until(lambda: not worker.everything(), within=PATIENCE)
    second = worker(executors=1)

    assert "succeeded" == ended(run).state
    *lost, last = outcomes(run)
    assert (["lost"] * len(lost), "succeeded") == (lost, last)
    assert 2 * len(run.attempts) == len(wait_for_lines("witness"))
    assert 1 <= len(run.attempts) <= 2
    assert [] == store.leases.held(second.worker_id)
