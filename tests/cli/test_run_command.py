from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager

import msgspec
import pytest

from helpers import logs
from helpers.databases import again
from helpers.factories import a_run, a_worker, claim, settle
from helpers.waiting import wait_until
from holdfast.cli import errors, following
from holdfast.cli.following import exit_code_of
from holdfast.core.models import COMMAND_TASK, Stream
from holdfast.core.states import AttemptOutcome, RunState
from holdfast.core.verdict import Asked, Evidence, judge


@contextmanager
def working(store, work):
    """Be a worker in a thread: claim one run, and do `work(store, claim)` with it."""
    caught = []

    def carry_out():
        mine = again(store)
        try:
            worker_id = a_worker(mine, tasks=[COMMAND_TASK])
            (claimed,) = wait_until(lambda: claim(mine, worker_id))
            changes = work(mine, claimed)
            settle(mine, worker_id, claimed, logged=True, **changes)
            logs.end(mine, claimed.lease)
        except Exception as error:  # noqa: BLE001 - whatever it was, the test must hear of it
            caught.append(error)
            for _ in range(2):  # the command line shall not wait for a run that nobody ends
                os.kill(os.getpid(), signal.SIGINT)
        finally:
            mine.close()

    thread = threading.Thread(target=carry_out)
    thread.start()
    yield
    thread.join()
    assert [] == caught


def ended(outcome=AttemptOutcome.FAILED, **evidence):
    """How the attempt of a command ended."""
    if not evidence:
        return {}
    paper = msgspec.json.encode(judge(Evidence(of="command", **evidence))).decode()
    return {"outcome": outcome, "certificate": paper}


def test_what_the_command_writes_comes_out_where_it_was_written(live, holdfast):
    def work(store, claimed):
        logs.append(store, claimed.lease, b"out \xff\x00", Stream.OUT)
        logs.append(store, claimed.lease, b"err\n", Stream.ERR)
        logs.append(store, claimed.lease, b"put\r\n", Stream.OUT)
        return ended(exit_code=3)

    with working(live, work):
        done = holdfast("run", "--", "sh", "-c", "…")

    assert b"out \xff\x00put\r\n" == done.stdout_bytes
    assert b"err\n" == done.stderr_bytes
    assert 3 == done.exit_code


def test_a_command_that_succeeds_ends_with_0(live, holdfast):
    with working(live, lambda _store, _claimed: ended()):
        done = holdfast("run", "true")

    assert (errors.OK, "") == (done.exit_code, done.output)


def test_an_end_that_the_command_did_not_choose_is_explained(live, holdfast):
    with working(live, lambda _store, _claimed: ended(signal=9)):
        done = holdfast("run", "--", "true")

    assert 137 == done.exit_code
    assert "killed by SIGKILL" in done.stderr


def test_the_command_is_stored_as_it_was_given(live, folder, holdfast):
    done = holdfast("run", "--detach", "--queue", "slow", "--", "ls", "--all", "--", "a b")

    run = live.runs.get(done.stdout.strip())
    arguments = msgspec.json.decode(run.arguments)
    assert ["ls", "--all", "--", "a b"] == arguments["args"]
    assert {"cwd": str(folder)} == arguments["kwargs"]
    assert "slow" == run.queue


def test_the_folder_can_be_left_to_the_worker(live, holdfast):
    done = holdfast("run", "--detach", "--no-cwd", "true")

    assert {} == msgspec.json.decode(live.runs.get(done.stdout.strip()).arguments)["kwargs"]


def test_a_run_makes_the_store_when_there_is_none(folder, holdfast):
    assert errors.OK == holdfast("run", "--detach", "true").exit_code
    assert (folder / ".holdfast" / "holdfast.db").exists()


def test_a_command_that_nobody_serves_says_why_it_waits(live, holdfast, monkeypatch):
    monkeypatch.setattr(following, "_UNSERVED_SECONDS", 0.0)

    def leave():
        wait_until(live.logs.watched)  # a look at the log has found nothing
        os.kill(os.getpid(), signal.SIGINT)

    impatient = threading.Thread(target=leave)
    impatient.start()

    done = holdfast("run", "true")

    impatient.join()
    assert 1 == done.stderr.count("no worker is up")


def test_ctrl_c_cancels_the_run_and_goes_on_following(live, holdfast):
    def work(store, claimed):
        logs.append(store, claimed.lease, b"begun\n")
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: store.runs.get(claimed.run_id).cancel_by)
        logs.append(store, claimed.lease, b"last words\n")
        return ended(AttemptOutcome.CANCELLED, signal=15, asked=Asked("cancel", by="ann"))

    with working(live, work):
        done = holdfast("run", "true")

    assert b"begun\nlast words\n" == done.stdout_bytes
    assert errors.INTERRUPTED == done.exit_code


def test_a_second_ctrl_c_leaves_the_run_to_its_worker(live, holdfast):
    left = threading.Event()

    def work(store, claimed):
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: store.runs.get(claimed.run_id).cancel_by)
        os.kill(os.getpid(), signal.SIGINT)
        assert left.wait(5)
        return ended(AttemptOutcome.CANCELLED, signal=15)

    with working(live, work):
        done = holdfast("run", "true")
        left.set()

    assert errors.INTERRUPTED == done.exit_code


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (ended(exit_code=3), 3),
        (ended(exit_code=0), errors.FAILED),
        (ended(signal=15), 143),
        (ended(AttemptOutcome.TIMED_OUT, signal=9), errors.TIMED_OUT),
        (ended(AttemptOutcome.CANCELLED, signal=15), errors.INTERRUPTED),
        (ended(AttemptOutcome.CRASHED, asked=Asked("memory"), signal=9), 137),
        (ended(start_failed="no such program"), errors.FAILED),
        ({"outcome": AttemptOutcome.FAILED}, errors.FAILED),
        ({}, errors.OK),
    ],
)
def test_the_exit_code_tells_how_the_command_ended(changes, expected, store):
    run_id, claimed = a_run(store, "running")
    settle(store, store.runs.get(run_id).worker_id, claimed, **changes)

    assert expected == exit_code_of(store.runs.get(run_id), store.runs.attempts(run_id))


def test_a_run_cancelled_before_it_started_was_interrupted(store):
    run_id, _ = a_run(store, "queued")
    store.runs.cancel(run_id, by="ann")

    assert RunState.CANCELLED == store.runs.get(run_id).state
    assert errors.INTERRUPTED == exit_code_of(store.runs.get(run_id), [])
