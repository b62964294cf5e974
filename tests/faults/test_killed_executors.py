"""Faults 2, 3 and 24: executors are killed from outside, crash, and are killed by poison tasks."""

from __future__ import annotations

import os
import signal
import time

import pytest

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    certificate,
    ended,
    ended_all,
    outcomes,
    wait_for_lines,
    whole_log,
)
from holdfast.why import explain

CRASHES = ["SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT"]
OTHERS = 100
POISONED = 3  # poison tasks among them


def pids_of(lines):
    """The pids at the ends of lines of the witness."""
    return [int(line.split()[-1]) for line in lines]


# Fault 2: kill -9


@pytest.mark.parametrize("name", ["hold", "hold_async", "hold_stuck"])
def test_killed_executor_costs_one_attempt_and_the_next_one_is_numbered_on(
    worker, tasks, store, folder, name
):
    worker(executors=2)
    run = tasks.app.find_task(f"sample_tasks.{name}").enqueue("a", "go")
    (victim,) = pids_of(wait_for_lines("witness"))

    os.kill(victim, signal.SIGKILL)
    wait_for_lines("witness", 2)
    (folder / "go").touch()

    assert ("succeeded", 2, 1) == (ended(run).state, run.record.attempt, run.record.crashes)
    assert [(1, "crashed"), (2, "succeeded")] == [(a.attempt, a.outcome) for a in run.attempts]
    told = certificate(run, 0)
    assert ("signal(SIGKILL)", "certain", victim) == (
        told.verdict,
        told.confidence,
        told.evidence.pid,
    )
    line = next(line for line in explain(store, run.record).evidence if "attempt 1 crashed" in line)
    assert "killed by SIGKILL, not for lack of memory; Linux does not tell who sent it" in line
    assert "; peak memory " in line


def test_command_of_a_killed_executor_ends_with_it_and_what_it_wrote_is_kept(
    worker, tasks, store, folder
):
    here = worker(executors=1)
    run = tasks.app.find_task("count_lines").enqueue(witness="seen", until="go")
    wait_for_lines("seen", 1000)

    os.kill(here.executors()[0], signal.SIGKILL)
    wait_until(lambda: outcomes(run), within=PATIENCE)
    seen = len(wait_for_lines("seen"))
    (folder / "go").touch()

    assert ["crashed", "succeeded"] == (ended(run).state and outcomes(run))
    assert whole_log(store, run, 1).count(b"\n") >= 1000
    assert seen >= 1000


# Fault 3: crashes


@pytest.mark.parametrize("how", ["main thread", "other thread", "coroutine"])
@pytest.mark.parametrize("name", CRASHES)
def test_crash_is_named_with_the_stack_of_python(worker, tasks, name, how):
    worker(executors=1)
    task = "crash_by_async" if how == "coroutine" else "crash_by"

    run = tasks.app.find_task(f"sample_tasks.{task}").using(crashes=0).enqueue(name, how)

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    told = certificate(run)
    assert (f"crash({name})", "certain") == (told.verdict, told.confidence)
    assert f"Its executor crashed with {name}" in run.record.error
    assert "Fatal Python error: " in told.evidence.stack
    assert "in _crash" in told.evidence.stack


@pytest.mark.parametrize("name", CRASHES)
def test_crash_of_a_command_is_named(worker, tasks, name):
    worker(executors=1)

    run = tasks.app.run_command(["sh", "-c", f"ulimit -c 0; kill -{name[3:]} $$"])

    assert "failed" == ended(run).state
    assert f"Its command crashed with {name}." == run.record.error


# Fault 24: poison


def test_poison_is_tried_as_often_as_its_budget_says_and_costs_others_nothing(worker, tasks, store):
    worker(executors=2)
    alone = time_of(tasks, OTHERS)

    poison = [tasks.kill_itself.enqueue() for _ in range(POISONED)]
    beside = time_of(tasks, OTHERS)
    ended_all(poison, within=3 * PATIENCE)

    for run in poison:
        tried = [outcome for outcome in outcomes(run) if outcome != "released"]  # it never began
        assert ("quarantined", ["crashed"] * 3) == (run.state, tried)
        assert "Quarantined after 3 crashes; attempt" in explain(store, run.record).sentence
    assert 3 * POISONED == len(wait_for_lines("witness"))
    assert beside < alone + PATIENCE, (alone, beside)


def time_of(tasks, count):
    """How long runs of no harm take; none of them may fail or crash."""
    began = time.monotonic()
    runs = [tasks.add.enqueue(number, 1) for number in range(count)]
    assert [number + 1 for number in range(count)] == [run.result(3 * PATIENCE) for run in runs]
    assert {(0, 0)} == {(run.record.failures, run.record.crashes) for run in runs}
    return time.monotonic() - began


def test_poison_is_released_with_more_memory_by_the_command_that_why_names(worker, tasks, store):
    worker(executors=1)
    run = tasks.take.using(memory="100MiB", crashes=0).enqueue(150)
    assert "quarantined" == ended(run).state

    step = explain(store, run.record).evidence[0]
    assert f"to release it: holdfast retry {run.id} --memory 200MiB" == step
    worker.run(
        *step.partition(": ")[2].replace("holdfast", f"{tasks.sys.executable} -m holdfast").split()
    )

    assert 150 << 20 == run.result(PATIENCE)
    assert ["crashed", "succeeded"] == outcomes(run)
