"""Fault 6: the supervisor dies without a word, with all kinds of work in hand."""

from __future__ import annotations

import signal
import time

import pytest

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    assert_holds_every_line,
    certificate,
    end_of,
    ended,
    ended_all,
    is_alive,
    lines_of,
    outcomes,
    send,
    wait_for_lines,
    whole_log,
)
from holdfast.core.clock import SECOND
from holdfast.core.models import WorkerState
from holdfast.worker import proc
from holdfast.worker.output import SAVE_SECONDS

TRIES = 4
RESTART = 2  # times the start of a worker with nothing to take up, until attempts run again
WAYS = ["print", "fd", "command", "async"]


def counting(tasks, how, witness="seen"):
    """Enqueue a run that writes numbered lines until there is a file `go`."""
    if how == "command":
        return tasks.app.find_task("count_lines").enqueue(witness=witness, until="go")
    if how == "async":
        return tasks.count_lines_async.enqueue(witness, "go")
    return tasks.count_lines.enqueue(how, witness, "go")


def test_attempts_of_a_killed_supervisor_are_lost_and_run_again(worker, tasks, folder):
    first = worker(executors=2)
    runs = [tasks.hold.enqueue("a", "go"), tasks.hold_async.enqueue("b", "go")]
    runs += [tasks.app.run_command(["sh", "-c", "echo start >> witness; test -e go || sleep 99"])]
    wait_for_lines("witness", 3)

    first.kill()
    (folder / "go").touch()
    worker(executors=2)
    ended_all(runs)

    for run in runs:
        assert ["lost", "succeeded"] == outcomes(run)
        assert (0, 0) == (run.record.failures, run.record.crashes)
        assert "worker_died(supervisor killed)" == certificate(run, 0).verdict
    assert WorkerState.DEAD == first.record().state


def test_attempts_of_a_killed_supervisor_run_again_soon_after_its_restart(worker, tasks, folder):
    """As soon as a start lets any run begin, or nearly: nobody waits for a lease to end.

    The best of a few times counts: other tests take processor time from this one.
    """

    def start_and_wait(run, attempt):
        started_at = time.time()
        here = worker(executors=2)
        ended(run)
        return here, run.attempts[attempt].started_at / SECOND - started_at

    here, fresh = start_and_wait(tasks.add.enqueue(1, 2), 0)
    seconds = []
    while len(seconds) < TRIES and min(seconds, default=TRIES * fresh) >= RESTART * fresh:
        go = f"go {len(seconds)}"
        run = tasks.hold.enqueue(str(len(seconds)), go)
        wait_for_lines("witness", 3 * len(seconds) + 1)  # start; killed; start, end
        here.kill()
        (folder / go).touch()
        here, again = start_and_wait(run, 1)
        seconds.append(again)

    assert min(seconds) < RESTART * fresh, (fresh, seconds)


@pytest.mark.parametrize("how", WAYS)
def test_every_byte_written_before_the_kill_is_in_the_log(worker, tasks, store, folder, how):
    first = worker(executors=1)
    run = counting(tasks, how)
    wait_for_lines("seen", 2000)

    first.kill()
    wait_until(lambda: not proc.marked(first.worker_id), within=PATIENCE)
    written = wait_for_lines("seen")
    (folder / "go").touch()
    worker(executors=1)

    assert "succeeded" == ended(run).state
    assert_holds_every_line(whole_log(store, run, 1), written)


def test_an_executor_that_notices_late_has_the_time_to_save_what_was_written(worker, tasks, store):
    first = worker(executors=1)
    run = counting(tasks, "fd")
    wait_for_lines("seen", 1000)
    executors = first.executors()

    first.pause()  # what is written from now on stays in the pipe
    send(executors, signal.SIGSTOP)
    first.kill()
    late, written = time.monotonic() + SAVE_SECONDS / 2, lines_of("seen")
    second = worker(executors=1)
    wait_until(lambda: time.monotonic() > late)
    send(executors, signal.SIGCONT)
    wait_until(lambda: outcomes(run), within=PATIENCE)

    assert_holds_every_line(whole_log(store, run, 1), written)
    assert [] == second.events("DutyFailed")
    run.cancel()


def test_whole_family_of_processes_ends_with_the_supervisor(worker, tasks):
    first = worker(executors=2)
    tasks.with_family.enqueue()
    tasks.app.find_task("with_family").enqueue()
    family = [int(pid) for pid in wait_for_lines("pids", 6)]

    first.kill()

    wait_until(lambda: not worker.everything(), within=PATIENCE)
    assert [] == [pid for pid in family if is_alive(pid)]


@pytest.mark.parametrize("name", ["stuck_in_c", "stuck_in_c_async"])
def test_code_that_is_stuck_in_c_ends_with_the_supervisor(worker, tasks, name):
    first = worker(executors=1)
    tasks.app.find_task(f"sample_tasks.{name}").enqueue()
    wait_for_lines("witness")

    first.kill()

    wait_until(lambda: not worker.everything(), within=PATIENCE)


def test_another_worker_of_the_host_takes_over_without_waiting_for_the_lease(
    worker, tasks, store, folder
):
    first = worker("--queues", "mail", executors=1, lease_seconds=1000, beat_seconds=100)
    task = tasks.app.find_task("count_lines").using(queue_name="mail")
    run = task.enqueue(witness="seen", until="go")
    wait_for_lines("seen", 1000)
    worker(executors=1)

    killed_at = time.time()
    first.kill()
    wait_until(lambda: outcomes(run), within=PATIENCE)
    written = wait_for_lines("seen")
    (folder / "go").touch()

    assert ("succeeded", ["lost", "succeeded"]) == (ended(run).state, outcomes(run))
    assert run.attempts[1].started_at / SECOND - killed_at < 10
    assert "worker_died(supervisor killed)" == certificate(run, 0).verdict
    log = whole_log(store, run, 1)
    assert_holds_every_line(log, [str(log.count(b"\n") - 1)])
    assert int(written[0]) == 0


def test_everything_killed_at_once_is_taken_up_by_the_next_worker(worker, tasks, store, folder):
    kinds = ("print", "command", "async")
    worker(executors=2)
    runs = [counting(tasks, how, how) for how in kinds]
    for how in kinds:
        wait_for_lines(how, 500)

    send(worker.everything(), signal.SIGSTOP)  # at one stroke: none acts on the death of another
    while pids := worker.everything():
        send(pids, signal.SIGKILL)
    written = [wait_for_lines(how) for how in kinds]
    (folder / "go").touch()
    worker(executors=2)

    for how, run, seen in zip(kinds, runs, written, strict=True):
        assert ("succeeded", ["lost", "succeeded"]) == (ended(run).state, outcomes(run))
        if how == "async":  # it has no pipes
            assert_holds_every_line(whole_log(store, run, 1), seen)
        else:  # what was in its pipes is gone, if anything was, and its log says so
            assert "may be missing" in end_of(store, run, 1).missing
            assert_holds_every_line(run.log(1), ["0"] if how == "command" else seen)


def test_command_that_outlived_its_whole_worker_is_ended_before_it_begins_again(
    worker, tasks, folder
):
    first = worker(executors=1)
    script = "echo $$ >> pids; test -e go || exec sleep 1000"
    run = tasks.app.run_command(["sh", "-c", script])
    (child,) = map(int, wait_for_lines("pids"))

    for number in (signal.SIGSTOP, signal.SIGKILL):
        send([pid for pid in worker.everything() if pid != child], number)
    wait_until(lambda: worker.everything() == [child], within=PATIENCE)  # nobody looks after it
    (folder / "go").touch()
    second = worker(executors=1)
    wait_until(lambda: outcomes(run), within=PATIENCE)

    assert not is_alive(child)
    assert [] == proc.marked(first.worker_id)
    assert ("succeeded", ["lost", "succeeded"]) == (ended(run).state, outcomes(run))
    assert second.worker_id == run.attempts[1].worker_id


def test_supervisor_that_dies_again_and_again_loses_no_run(worker, tasks):
    runs = [tasks.stay.enqueue(str(number), 0.02) for number in range(60)]
    for count in (10, 40, 70):
        here = worker(executors=2)
        wait_for_lines("witness", count)
        here.kill()

    worker(executors=2)

    assert {"succeeded"} == {record.state for record in ended_all(runs)}
    assert {0} == {run.record.crashes + run.record.failures for run in runs}
