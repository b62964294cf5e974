"""Faults 2, 3 and 24: executors are killed, crash, and are killed by what they carry out."""

from __future__ import annotations

import os
import signal
import time

import pytest

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    assert_holds_every_line,
    certificate,
    ended,
    ended_all,
    is_alive,
    outcomes,
    wait_for_lines,
    whole_log,
)
from holdfast.core.clock import SECOND

TRIES = 4
REPLACED_SECONDS = 1.0  # a killed executor: how soon the next attempt begins


def executor_in(line):
    """The pid in a line of the witness."""
    return int(line.split()[-1])


def test_attempt_of_a_killed_executor_is_run_again_and_the_crash_counted(worker, tasks, folder):
    worker(executors=2)
    run = tasks.hold.enqueue("a", "go")
    victim = executor_in(wait_for_lines("witness")[0])

    os.kill(victim, signal.SIGKILL)
    wait_for_lines("witness", 2)
    (folder / "go").touch()

    assert ("succeeded", 1, 0) == (ended(run).state, run.record.crashes, run.record.failures)
    assert ["crashed", "succeeded"] == outcomes(run)
    judged = certificate(run, 0)
    assert "signal(SIGKILL)" == judged.verdict
    assert (9, victim) == (judged.evidence.signal, judged.evidence.pid)


@pytest.mark.parametrize("executors", [1, 2])
def test_attempt_of_a_killed_executor_begins_again_within_a_second(
    worker, tasks, folder, executors
):
    """The best of a few times counts: other tests take processor time from this one."""
    worker(executors=executors)
    seconds = []
    while len(seconds) < TRIES and min(seconds, default=TRIES) >= REPLACED_SECONDS:
        go = f"go {len(seconds)}"
        run = tasks.hold.enqueue(str(len(seconds)), go)
        victim = executor_in(wait_for_lines("witness", 3 * len(seconds) + 1)[-1])
        killed_at = time.time()
        os.kill(victim, signal.SIGKILL)
        (folder / go).touch()
        ended(run)
        seconds.append(run.attempts[1].started_at / SECOND - killed_at)

    assert min(seconds) < REPLACED_SECONDS, seconds


@pytest.mark.parametrize("how", ["print", "fd"])
def test_output_before_the_death_of_an_executor_is_kept(worker, tasks, store, folder, how):
    here = worker(executors=1)
    run = tasks.count_lines.enqueue(how, "seen", "go")
    wait_for_lines("seen", 1000)

    os.kill(here.executors()[0], signal.SIGKILL)
    wait_until(lambda: outcomes(run), within=PATIENCE)
    (folder / "go").touch()

    assert_holds_every_line(whole_log(store, run, 1), ["999"])


def test_poison_task_is_quarantined_and_released_by_retry(worker, tasks):
    worker(executors=2)

    poison = tasks.kill_itself.enqueue()
    others = [tasks.add.enqueue(number, 1) for number in range(50)]

    assert [n + 1 for n in range(50)] == [run.result(PATIENCE) for run in others]
    assert ("quarantined", 3) == (ended(poison).state, poison.record.crashes)
    assert ["crashed"] * 3 == outcomes(poison)
    assert 3 == len(wait_for_lines("witness"))

    poison.retry()

    wait_for_lines("witness", 4)
    assert ("quarantined", 6) == (ended(poison).state, poison.record.attempt)


def test_segmentation_fault_has_a_certificate_with_its_stack(worker, tasks):
    worker(executors=1)

    run = tasks.crash.using(crashes=0).enqueue()

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    judged = certificate(run)
    assert "crash(SIGSEGV)" == judged.verdict
    assert "Segmentation fault" in judged.evidence.stack
    assert "in crash" in judged.evidence.stack


def test_attempts_of_a_killed_async_executor_run_again_alone_and_count_no_crash(
    worker, tasks, folder
):
    worker(executors=2)
    runs = [tasks.hold_async.enqueue(str(number), "go") for number in range(5)]
    (shared,) = {executor_in(line) for line in wait_for_lines("witness", 5)}

    os.kill(shared, signal.SIGKILL)
    wait_until(lambda: all(outcomes(run) for run in runs), within=PATIENCE)
    (folder / "go").touch()
    ended_all(runs)

    for run in runs:
        assert ("succeeded", 0, 0) == (run.state, run.record.crashes, run.record.failures)
        assert ["lost", "succeeded"] == outcomes(run)
        assert 4 == certificate(run, 0).evidence.neighbours
    starts = [line.split() for line in wait_for_lines("witness", 15)[5:]]
    assert shared not in {int(pid) for _, _, pid in starts}
    for pid in {pid for _, _, pid in starts}:
        words = [word for word, _, other in starts if other == pid]
        assert ["start", "end"] * (len(words) // 2) == words


def test_poison_among_async_attempts_is_found_alone_and_harms_no_other(worker, tasks, folder):
    worker(executors=2)
    runs = [tasks.hold_async.enqueue(str(number), "go") for number in range(3)]
    wait_for_lines("witness", 3)

    poison = tasks.kill_itself_async.enqueue()
    wait_until(lambda: outcomes(poison), within=PATIENCE)
    (folder / "go").touch()

    assert ("quarantined", ["lost", *["crashed"] * 3]) == (ended(poison).state, outcomes(poison))
    for run in runs:
        assert ("succeeded", 0) == (ended(run).state, run.record.crashes)


def test_async_attempt_that_was_alone_in_its_executor_counts_the_crash(worker, tasks, folder):
    worker(executors=1)
    run = tasks.hold_async.enqueue("a", "go")
    victim = executor_in(wait_for_lines("witness")[0])

    os.kill(victim, signal.SIGKILL)
    wait_for_lines("witness", 2)
    (folder / "go").touch()

    assert ("succeeded", 1) == (ended(run).state, run.record.crashes)


def test_processes_that_a_function_leaves_are_ended(worker, tasks):
    here = worker(executors=1)

    assert "done" == tasks.leave_processes.enqueue().result(PATIENCE)

    assert [] == here.leftovers()


def test_processes_below_a_killed_executor_are_ended(worker, tasks):
    here = worker(executors=1)
    run = tasks.with_family.using(crashes=0).enqueue()
    family = [int(pid) for pid in wait_for_lines("pids", 3)]

    os.kill(here.executors()[0], signal.SIGKILL)

    assert "quarantined" == ended(run).state
    assert [] == here.leftovers()
    assert [] == [pid for pid in family if is_alive(pid)]


def test_idle_executor_that_is_killed_is_replaced_and_no_run_suffers(worker, tasks):
    worker(executors=1)
    victim = tasks.pid.enqueue().result(PATIENCE)

    os.kill(victim, signal.SIGKILL)

    run = tasks.pid.enqueue()
    assert victim != run.result(PATIENCE)
    assert "succeeded" == outcomes(run)[-1]


def test_worker_starts_although_its_first_executor_is_killed(worker, tasks):
    here = worker(executors=1, ready=False)
    (first,) = wait_until(here.executors, within=PATIENCE)[:1]

    os.kill(first, signal.SIGKILL)

    here.wait_ready()
    assert first != tasks.pid.enqueue().result(PATIENCE)


def test_queue_goes_on_while_executors_are_killed(worker, tasks):
    here = worker(executors=2)
    stay = tasks.stay.using(crashes=10)  # a run that is hit again and again is no poison
    runs = [stay.enqueue(str(number), 0.02) for number in range(60)]

    for count in range(5, 30, 5):
        wait_for_lines("witness", count)
        for pid in here.executors()[:1]:
            os.kill(pid, signal.SIGKILL)

    assert {"succeeded"} == {record.state for record in ended_all(runs)}
