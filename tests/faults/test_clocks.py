"""Fault 21: the time of day jumps for a worker, an hour back or forth, or ten years ahead."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest

from helpers.clocks import FakedClock
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended, ended_all, holdfast, outcomes, wait_for_lines
from holdfast.core.models import WorkerState
from holdfast.store.runs import RunFilter
from holdfast.why import explain

SCREENS = """
import sys
from typer.testing import CliRunner
from holdfast.cli.main import commands
for line in sys.stdin:
    print(CliRunner().invoke(commands, line.split(), catch_exceptions=False).output)
"""
QUICK = {"beat_seconds": 0.2, "lease_seconds": 2}
JUMPS = {"an hour ahead": "+1h", "an hour back": "-1h", "ten years ahead": "+10y"}
SOON, LATER = "10m", "3h"  # when runs are due: between now and the jump, and after it


@pytest.fixture
def clock(folder):
    """The time of day of one worker; its seconds last as long as everybody's."""
    return FakedClock(folder / "clock", monotonic=False)


def beat_on(workers, beats=14):
    """Wait until all have beaten for longer than a lease."""
    before = {here: here.record().beat for here in workers}
    for here, beat in before.items():
        wait_until(lambda: here.record().beat > beat + beats, within=PATIENCE)  # noqa: B023


def assert_well(workers):
    for here in workers:
        assert WorkerState.UP == here.record().state
        assert [] == here.events("WorkerDied") + here.events("WorkerFenced")
        assert [] == here.events("DutyFailed")


def screens(worker, commands, under):
    """What the command line prints, all by one process on some clock."""
    program = [*under, sys.executable, "-c", SCREENS]
    process = worker.start(*program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process.communicate("\n".join(commands), timeout=60)[0]


def assert_no_negative_times(worker, store, under):
    """Neither in the store nor on any screen, whatever clock that has."""
    runs = store.runs.list(RunFilter(limit=1000))
    for run in runs:
        for attempt in store.runs.attempts(run.run_id):
            assert attempt.started_at <= attempt.finished_at
    commands = ["list", "workers", "queues"]
    commands += [f"{name} {run.run_id}" for run in runs for name in ("show", "why")]
    for clock in ((), under):
        text = screens(worker, commands, clock)
        assert text.count("succeeded") >= 5
        assert [] == re.findall(r"(?<![\w-])-\d[\d.]* (?:ms|s|min|h|d)\b.*", text)


@pytest.mark.parametrize("jump", JUMPS)
def test_jump_of_the_clock_costs_no_attempt_and_no_lease(worker, tasks, store, folder, clock, jump):
    jumped = worker("--queues", "*", executors=2, under=clock.under, **QUICK)
    steady = worker("--queues", "mail", executors=1, **QUICK)
    held = [tasks.hold.enqueue("a", "go"), tasks.hold_async.enqueue("b", "go")]
    held.append(tasks.hold.using(queue_name="mail").enqueue("c", "go"))
    soon, later = (tasks.add.using(run_after=when).enqueue(1, 2) for when in (SOON, LATER))
    wait_for_lines("witness", 3)

    clock.set(JUMPS[jump])
    beat_on([jumped, steady])
    again = tasks.flaky.enqueue(3)  # fails twice, and is due a little later each time
    nap = tasks.nap.enqueue(0.1)
    (folder / "go").touch()

    assert [["succeeded"]] * 3 == [ended(run) and outcomes(run) for run in held]
    assert (3, 2) == (again.result(PATIENCE), nap.result(PATIENCE))
    due = {"an hour ahead": [soon], "an hour back": [], "ten years ahead": [soon, later]}[jump]
    assert [["succeeded"]] * len(due) == [ended(run) and outcomes(run) for run in due]
    waiting = [run for run in (soon, later) if run not in due]
    assert ["scheduled"] * len(waiting) == [run.state for run in waiting]
    for run in waiting:
        assert explain(store, run.record).sentence.startswith("The run is not due before ")
    assert_well([jumped, steady])
    assert_no_negative_times(worker, store, clock.under)

    clock.set("+0")  # it is set right, which is another jump
    beat_on([jumped, steady])
    assert [3] * 20 == [tasks.add.enqueue(1, 2).result(PATIENCE) for _ in range(20)]
    assert ["scheduled"] * len(waiting) == [run.state for run in waiting]
    assert_well([jumped, steady])


def test_run_that_is_due_while_the_clock_is_wrong_is_carried_out_once(worker, tasks, store, clock):
    """Two workers, and only one of them thinks that it is due."""
    clock.set("+1h")
    jumped = worker(executors=1, under=clock.under, **QUICK)
    steady = worker(executors=1, **QUICK)
    runs = [tasks.stay.using(run_after="30m").enqueue(str(n), 0) for n in range(20)]

    ended_all(runs)

    assert [["succeeded"]] * 20 == [outcomes(run) for run in runs]
    assert 40 == len(wait_for_lines("witness", 40))
    assert_well([jumped, steady])


def test_worker_whose_clock_is_ten_years_ahead_deletes_nothing(worker, tasks, store, clock):
    first = worker(executors=1)
    runs = [tasks.add.enqueue(number, 1) for number in range(5)]
    ended_all(runs)
    assert 0 == first.stop()

    clock.set("+10y")
    here = worker(executors=1, under=clock.under)
    after = tasks.add.enqueue(1, 2)
    wait_until(lambda: here.events("ClockAhead"), within=PATIENCE)
    beat = here.record().beat
    wait_until(lambda: here.record().beat > beat, within=PATIENCE)

    assert 3 == after.result(PATIENCE)
    assert ["succeeded"] * 5 == [run.state for run in runs]
    assert "nothing is deleted for its age" in here.events("ClockAhead")[0]["message"]


def test_clients_with_wrong_clocks_get_their_runs_done(worker, tasks, store, clock):
    """Ids begin with the time of the client; the order of the queue bears with it."""
    enqueue = holdfast("--app", "sample_tasks:app", "enqueue", "sample_tasks.add", "1", "2")
    ids = []
    for shift in (*JUMPS.values(), "+0"):
        clock.set(shift)
        ids.append(worker.run(*clock.under, *enqueue).decode().strip())
    worker(executors=1)

    runs = [tasks.app.get_run(run_id) for run_id in ids]
    assert [3] * 4 == [run.result(PATIENCE) for run in runs]
    listed = json.loads(screens(worker, ["list --json"], clock.under))
    assert set(ids) == {run["run_id"] for run in listed}
    assert abs(time.time() - tasks.add.enqueue(1, 2).record.created_at / 1e6) < PATIENCE
