from __future__ import annotations

import pytest

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    certificate,
    ended,
    ended_all,
    most_at_once,
    outcomes,
    running,
    wait_for_lines,
    whole_log,
)
from holdfast import Retry, RunNotSucceeded
from holdfast.core.clock import SECOND

VALUES = [None, 0, -1.5, "", "漢字 \U0001f600 \0", [1, [2, {"a": None}]], {"k": [True, False]}]


def test_result_is_what_the_function_returned(worker, tasks):
    worker(executors=1)

    runs = [tasks.give_back.enqueue(value) for value in VALUES]

    assert VALUES == [run.result(PATIENCE) for run in runs]


def test_sync_and_async_functions_give_results_and_one_attempt_each(worker, tasks):
    worker()

    runs = [tasks.add.enqueue(1, b=2), tasks.add_async.enqueue(1, b=2)]

    assert [3, 3] == [run.result(PATIENCE) for run in runs]
    assert [["succeeded"], ["succeeded"]] == [outcomes(run) for run in runs]
    assert [None, None] == [run.attempts[0].certificate for run in runs]


def test_fifty_async_attempts_run_at_once_in_one_process(worker, tasks):
    worker()

    runs = [tasks.meet.enqueue(50) for _ in range(50)]

    assert 1 == len({run.result(PATIENCE) for run in runs})


def test_one_executor_carries_out_one_sync_attempt_at_a_time(worker, tasks):
    worker(executors=2)

    runs = [tasks.stay.enqueue(str(number), 0.01) for number in range(40)]
    ended_all(runs)

    lines = wait_for_lines("witness", 80)
    for pid in {line.split()[2] for line in lines}:
        assert 1 == most_at_once([line for line in lines if line.endswith(f" {pid}")])
    assert 2 == most_at_once(lines)


def test_async_task_with_a_memory_limit_has_an_executor_to_itself(worker, tasks):
    worker(executors=2)

    alone = tasks.hold_async.using(memory="1GiB").enqueue("alone", "go")
    shared = tasks.hold_async.enqueue("shared", "go")
    lines = wait_for_lines("witness", 2)
    (tasks.Path.cwd() / "go").touch()

    assert ["succeeded", "succeeded"] == [r.state for r in ended_all([alone, shared])]
    assert 2 == len({line.split()[2] for line in lines})


def test_exception_fails_the_run_and_is_in_certificate_and_log(worker, tasks, store):
    worker(executors=1)

    run = tasks.boom.enqueue("tray 2 is empty")
    record = ended(run)

    assert ("failed", 1) == (record.state, record.failures)
    raised = certificate(run).evidence.raised
    assert ("sample_tasks.OutOfPaper", "tray 2 is empty") == (raised.type, raised.message)
    assert "raise OutOfPaper(text)" in raised.traceback
    assert "holdfast/worker" not in raised.traceback
    assert raised.traceback.encode() == whole_log(store, run)
    with pytest.raises(RunNotSucceeded, match="tray 2 is empty"):
        run.result()


def test_failed_run_is_tried_again_until_it_succeeds(worker, tasks):
    worker(executors=1)

    run = tasks.flaky.enqueue(3)

    assert 3 == run.result(PATIENCE)
    assert ["failed", "failed", "succeeded"] == outcomes(run)
    assert 2 == run.record.failures


def test_retries_end_at_their_limit(worker, tasks):
    worker(executors=1)

    run = tasks.boom.using(retries=Retry(2, backoff="fixed", delay=0.01)).enqueue("no")

    assert ("failed", 3) == (ended(run).state, run.record.attempt)
    assert ["failed", "failed", "failed"] == outcomes(run)


def test_waits_between_attempts_grow_as_the_policy_says(worker, tasks):
    worker(executors=1)
    policy = Retry(3, backoff="exponential", delay=0.2, jitter=0)

    run = tasks.boom.using(retries=policy).enqueue("no")
    ended(run)

    attempts = run.attempts
    for delay, before, after in zip((0.2, 0.4, 0.8), attempts, attempts[1:], strict=False):
        assert delay * SECOND <= after.started_at - before.finished_at
    assert 4 == len(attempts)


def test_snooze_runs_again_later_and_counts_as_no_failure(worker, tasks):
    worker(executors=1)

    run = tasks.nap.enqueue(0.5)

    assert 2 == run.result(PATIENCE)
    first, second = run.attempts
    assert ["snoozed", "succeeded"] == outcomes(run)
    assert 0.5 * SECOND <= second.started_at - first.finished_at
    assert 0 == run.record.failures


def test_system_exit_in_a_function_fails_the_run_and_spares_the_executor(worker, tasks):
    worker(executors=1)
    before = tasks.pid.enqueue().result(PATIENCE)

    run = tasks.leave.enqueue(3)

    assert "failed" == ended(run).state
    assert "SystemExit" == certificate(run).evidence.raised.type
    assert before == tasks.pid.enqueue().result(PATIENCE)


def test_result_that_is_not_json_fails_the_run_with_its_path(worker, tasks):
    worker(executors=1)

    run = tasks.not_json.enqueue()

    assert "failed" == ended(run).state
    assert "result.when" in run.record.error


def test_context_log_writes_lines(worker, tasks, store, folder):
    worker(executors=1)
    (folder / "go").touch()

    run = tasks.tell.enqueue("go")
    ended(run)

    assert b"page 3 of 7\n50% done\n" == whole_log(store, run)


def test_progress_is_seen_while_it_runs(worker, tasks, folder):
    worker()

    sync, asynchronous = tasks.tell.enqueue("go"), tasks.tell_async.enqueue("go")
    wait_until(lambda: sync.progress, within=PATIENCE)
    wait_until(lambda: asynchronous.progress, within=PATIENCE)

    assert ((1, 4, "first"), (0.5, None, "half")) == tuple(
        (p.done, p.total, p.text) for p in (sync.progress, asynchronous.progress)
    )


def test_is_cancelled_is_seen_by_a_thread_of_the_task(worker, tasks):
    worker(executors=1)
    run = tasks.look_in_thread.enqueue()
    wait_for_lines("witness")

    run.cancel(by="tester")

    assert "cancelled" == ended(run).state
    assert ["start", "seen True"] == wait_for_lines("witness", 2)


def test_arguments_and_results_of_900_kilobytes_pass(worker, tasks):
    worker(executors=1)
    text = "漢" * 300_000

    assert 300_000 == tasks.length.enqueue(text).result(PATIENCE)
    assert text == tasks.give_back.enqueue(text).result(PATIENCE)


def test_task_sees_the_run_as_running_with_its_worker(worker, tasks):
    here = worker(executors=1)
    run = tasks.hold.enqueue("a", "never")

    assert here.worker_id == running(run).worker_id
