from __future__ import annotations

import os
import shutil
import signal
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from helpers import hostile_tasks
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, certificate, ended, ended_all, outcomes, running, whole_log
from holdfast.core.clock import SECOND

LONG_AGO = time.time() - 3600


@pytest.fixture
def hostile(folder, store, monkeypatch):
    """The sample module of bad tasks in the folder of the test, bound to its store."""
    path = shutil.copy(hostile_tasks.__file__, folder / "hostile_tasks.py")
    monkeypatch.setenv("HOLDFAST_STORE", store.url)
    spec = spec_from_file_location("hostile_tasks", path)
    module = module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "hostile_tasks", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def one(worker):
    return worker(app="hostile_tasks:app", executors=1, grace_seconds=1)


@pytest.mark.parametrize("kind", hostile_tasks.WRONG)
def test_progress_that_is_no_number_fails_the_task_alone(hostile, one, kind):
    run = hostile.progress.enqueue(kind)

    assert "BadOption: done=" in ended(run).error
    assert 3 == hostile.length.enqueue("abc").result(PATIENCE)
    assert one.process.poll() is None


@pytest.mark.parametrize("seconds", [1e300, -5.0, float("inf")])
def test_a_snooze_for_an_impossible_time_fails_the_task_alone(hostile, one, seconds):
    run = hostile.snooze.enqueue(seconds) if abs(seconds) < 1e301 else hostile.snooze.enqueue(1e308)

    assert "BadOption: delay=" in ended(run).error
    assert one.process.poll() is None


@pytest.mark.parametrize("count", [40_000, 50_000, 70_000, 300_000])
def test_long_arguments_of_any_alphabet_arrive(hostile, one, count):
    assert count == hostile.length.enqueue("漢" * count).result(PATIENCE)


def test_long_arguments_are_taken_back_whole_from_behind_a_long_attempt(hostile, one):
    ended_all([hostile.noop.enqueue() for _ in range(100)])  # the worker takes short ones ahead
    blocker = hostile.wait_for.enqueue("go")
    runs = [hostile.length.enqueue("漢" * 50_000) for _ in range(5)]
    running(blocker)

    Path("go").touch()

    assert [50_000] * 5 == [run.result(PATIENCE) for run in runs]
    assert one.process.poll() is None


def test_an_exception_text_that_is_no_unicode_is_kept_readable(hostile, one):
    run = hostile.fail_on.enqueue("?.txt")

    assert r"Raised ValueError: file \udcff.txt" == ended(run).error
    assert ["failed"] == outcomes(run)


def test_output_below_python_stays_with_its_own_attempt(hostile, one, store):
    first = hostile.say_below.enqueue("of the first\n")
    ended(first)
    second = hostile.say_below.enqueue("of the second\n")
    ended(second)

    assert b"of the first\n" * 2 == whole_log(store, first)
    assert b"of the second\n" * 2 == whole_log(store, second)


def test_what_a_task_changes_in_its_process_is_undone_for_the_next(hostile, one, store):
    ended(hostile.spoil.enqueue())

    heard = hostile.say.enqueue("still heard")
    ended(heard)
    waiting = hostile.wait_for.enqueue("never")
    running(waiting)
    waiting.cancel(by="the test")

    assert b"still heard\n" == whole_log(store, heard)
    assert "stopped when asked" in ended(waiting).error


def test_a_task_that_closes_standard_output_harms_nobody(hostile, one, store):
    closed = hostile.close_standard_output.enqueue()
    heard = hostile.say_below.enqueue("still heard\n")

    assert ["succeeded", "succeeded"] == [r.state for r in ended_all([closed, heard])]
    assert b"still heard\n" * 2 == whole_log(store, heard)


def test_a_task_that_closes_the_line_to_its_supervisor_is_told_so(hostile, one):
    run = hostile.close_everything.using(crashes=0).enqueue()

    assert "closed the descriptors" in ended(run).error
    assert "crash(hung up)" == certificate(run).verdict


def test_what_a_thread_logs_after_its_attempt_is_refused(hostile, one, store, folder):
    run = hostile.speak_later.enqueue()
    ended(run)
    assert whole_log(store, run).endswith(b"in time\n")

    (folder / "late").touch()
    wait_until((folder / "refused").exists, within=PATIENCE)

    assert 0 == one.stop()
    assert [] == [path for path in (folder / "spool").rglob("*") if path.is_dir()]


def test_attempts_beside_one_that_blocks_the_loop_run_again_alone_unharmed(hostile, one, folder):
    culprit = hostile.block_the_loop.enqueue()
    wait_until((folder / "blocking").exists, within=PATIENCE)
    victims = [hostile.victim.enqueue() for _ in range(3)]

    assert ["unharmed"] * 3 == [run.result(PATIENCE) for run in victims]
    assert 0 == sum(run.record.failures for run in victims)
    (folder / "go").touch()
    assert "succeeded" == ended(culprit).state


def test_short_runs_behind_a_long_one_are_left_to_other_workers(hostile, one, worker):
    ended_all([hostile.noop.enqueue() for _ in range(200)])
    long = hostile.wait_for.enqueue("go")
    running(long)
    short = [hostile.noop.enqueue() for _ in range(20)]

    worker(app="hostile_tasks:app", executors=1)

    assert ["succeeded"] * 20 == [run.state for run in ended_all(short)]
    Path("go").touch()
    ended(long)


def test_a_run_taken_ahead_behind_a_long_one_can_be_cancelled(hostile, one):
    ended_all([hostile.noop.enqueue() for _ in range(200)])
    long = hostile.wait_for.enqueue("go")
    behind = hostile.noop.enqueue()
    running(long)

    behind.cancel(by="the test")

    assert "cancelled" == ended(behind).state
    Path("go").touch()
    ended(long)


def test_a_worker_that_was_declared_dead_claims_no_more_and_comes_back(hostile, one, store):
    heart = wait_until(lambda: one.sidecar("heartbeat"), within=PATIENCE)
    os.kill(heart, signal.SIGSTOP)  # so that it cannot learn it from its heartbeat
    store.database.write(
        lambda tx: tx.execute("set_worker_state", worker_id=one.worker_id, state=3)
    )

    run = hostile.length.enqueue("abc")

    assert 3 == run.result(PATIENCE)
    assert run.attempts[-1].worker_id != one.worker_id
    assert 0 == run.record.crashes


def test_what_is_no_workers_folder_is_left_alone_in_the_spool(hostile, worker, folder):
    foreign = folder / "spool" / "precious"
    foreign.mkdir(parents=True)
    (foreign / "data").write_text("mine")
    os.utime(foreign, (LONG_AGO, LONG_AGO))
    here = worker(app="hostile_tasks:app", executors=1)
    run = hostile.noop.enqueue()

    ended(run)
    looked = wait_until(lambda: here.record().seen_at - run.record.created_at > 0, within=PATIENCE)

    assert looked
    assert run.record.finished_at / SECOND > LONG_AGO
    assert 0 == here.stop()
    assert "mine" == (foreign / "data").read_text()
