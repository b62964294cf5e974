"""What a task does to its own process hurts no later one, and what it raises is explained."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from helpers import hostile_tasks
from helpers.factories import a_worker, claim_one, enqueue
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    certificate,
    ended,
    ended_all,
    holdfast,
    outcomes,
    running,
    whole_log,
)
from holdfast.cli import errors
from holdfast.worker import proc


@pytest.fixture
def bad(folder, store, monkeypatch):
    """The sample module of bad tasks, bound to the store of this test."""
    path = shutil.copy(hostile_tasks.__file__, folder / "hostile_tasks.py")
    monkeypatch.setenv("HOLDFAST_STORE", store.url)
    spec = spec_from_file_location("hostile_tasks", path)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hostile_tasks", module)
    spec.loader.exec_module(module)
    return module


def limited(files):
    """What a program is started with that may open so many files."""
    return ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"]


@pytest.fixture
def one(worker):
    return worker(app="hostile_tasks:app", executors=1, grace_seconds=1, under=limited(1024))


def test_what_a_task_changes_in_its_process_is_put_back(bad, one, store):
    before = bad.look_around.enqueue().result(PATIENCE)
    ended_all([bad.spoil.enqueue(), bad.replace_environment.enqueue()])
    after = bad.look_around.enqueue().result(PATIENCE)
    command = bad.app.run_command(["env"])

    assert before == after
    assert "succeeded" == ended(command).state
    assert b"/evil" not in whole_log(store, command)
    assert [0] == [run.record.crashes for run in [command]]


def test_files_that_a_task_leaves_open_fail_no_later_one(bad, one, store):
    leaky = [bad.leave_open.enqueue(2000) for _ in range(2)]
    innocent = [bad.say.enqueue(str(number)) for number in range(10)]

    assert ["succeeded"] * 12 == [run.state for run in ended_all(leaky + innocent)]
    assert [b"%d\n" % number for number in range(10)] == [whole_log(store, r) for r in innocent]
    for run in leaky + innocent:
        assert {"succeeded", "released"} >= set(outcomes(run))  # released where none was ready
    assert 1 <= len(one.events("ExecutorLeft")) <= 2
    assert [] == one.events("ExecutorDied")


def test_many_that_leave_a_few_files_open_fail_no_later_one(bad, one):
    runs = [bad.leave_open.enqueue(50) for _ in range(60)]

    assert ["succeeded"] * 60 == [run.state for run in ended_all(runs)]
    assert one.events("ExecutorLeft")


STRANGE = {
    "text": "Raised hostile_tasks.Unnamed: (its text cannot be made: KeyboardInterrupt)",
    "name": "Raised hostile_tasks.NNNN",
    "module": "Raised Unnamed: (its text cannot be made: KeyboardInterrupt)",
    "groups": "Raised ExceptionGroup: group (1 sub-exception)",
    "chain": "Raised ValueError: link",
    "circle": "Raised ValueError: round and round",
    "file": "No space left on ",
    "exit": r"Raised SystemExit: \x1b]0;title\x07",
}


def test_whatever_a_task_raises_is_a_failure_with_a_short_sentence(bad, one):
    runs = {how: bad.raise_strangely.enqueue(how) for how in STRANGE}

    for how, run in runs.items():
        error = ended(run).error
        assert (["failed"], 0) == (outcomes(run), run.record.crashes), how
        assert STRANGE[how] == error[: len(STRANGE[how])]
        assert error.isprintable()
        assert len(error) < 3000
        assert len(run.attempts[-1].certificate) < 60_000


def test_a_task_that_stops_its_process_is_ended_by_its_time_limit(bad, one):
    run = bad.stop_itself.enqueue()
    behind = bad.length.enqueue("abc")

    assert "Timed out after 1 s; needed SIGKILL" in ended(run).error
    assert 3 == behind.result(PATIENCE)


def test_a_task_that_is_held_by_a_debugger_is_ended_by_its_time_limit(bad, one, worker):
    run = bad.wait_for.using(timeout=3).enqueue("never")
    running(run)
    (pid,) = one.executors()[:1]
    tracer = worker.start("strace", "-o", os.devnull, "-p", str(pid), stderr=subprocess.PIPE)
    assert b"attached" in tracer.stderr.readline()

    assert "timed_out" == (ended(run), outcomes(run))[1][0]
    assert 3 == bad.length.enqueue("abc").result(PATIENCE)


def test_a_task_that_speaks_nonsense_to_its_supervisor_ends_alone(bad, one):
    run = bad.speak_false_frames.using(crashes=0).enqueue()
    behind = bad.length.enqueue("abc")

    assert "quarantined" == ended(run).state
    assert "crash(hung up)" == certificate(run).verdict
    assert 3 == behind.result(PATIENCE)
    assert one.process.poll() is None


def test_a_worker_with_few_descriptors_works_or_says_what_is_missing(bad, worker, store):
    small = worker(app="hostile_tasks:app", executors=1, under=limited(64))
    runs = [bad.length.enqueue("漢" * 50_000) for _ in range(3)]
    runs += [bad.app.run_command(["true"]) for _ in range(3)]

    assert ["succeeded"] * 6 == [run.state for run in ended_all(runs)]
    assert 0 == small.stop()

    large = worker(app="hostile_tasks:app", executors=50, under=limited(64), ready=False)

    assert errors.SETTINGS == large.process.wait(PATIENCE)
    assert "executors=50 takes 495 open files, and 64 are allowed" in large.errors.read_text()
    assert "Traceback" not in large.errors.read_text()


def test_a_worker_needs_no_other_place_to_write_to_than_its_store_and_spool(bad, worker, folder):
    lock = (
        f"mount --make-rprivate / && mount --bind {folder} {folder} && mount -o remount,bind,ro /"
    )
    program = f'{lock} && cd / && ! touch /tmp/x 2>/dev/null && exec "$@"'
    alone = ["unshare", "-m", "sh", "-c", program, "sh", "env", f"PYTHONPATH={folder}"]
    worker(app="hostile_tasks:app", executors=1, under=alone)

    fine = [bad.say.enqueue("fine"), bad.app.run_command(["true"], cwd="/")]
    full = bad.raise_strangely.enqueue("full")

    assert ["succeeded"] * 2 == [run.state for run in ended_all(fine)]
    assert "No space left on device" in ended(full).error
    assert ["failed"] == outcomes(full)


def test_files_of_the_working_directory_are_not_taken_for_those_of_python(bad, worker, folder):
    for name in ("json", "select", "logging", "msgspec", "queue", "signal", "sqlite3", "typing"):
        (folder / f"{name}.py").write_text("raise SystemExit('taken from the wrong place')")
    program = [sys.executable, "-P", "-m", "holdfast"]  # as the command `holdfast` does
    here = worker.start(*program, "--app", "hostile_tasks:app", "worker")

    assert 3 == bad.length.enqueue("abc").result(PATIENCE)
    assert b"through\n" == whole_log(bad.app.store, ended_run(bad.say.enqueue("through")))
    assert here.poll() is None


def ended_run(run):
    ended(run)
    return run


def test_a_worker_that_is_stopped_by_its_terminal_goes_on_where_it_was(bad, worker, store):
    program = [*holdfast("--app", "hostile_tasks:app", "worker")]
    worker.start("bash", "-c", 'set -m; "$@" & exec sleep 600', "bash", *program)  # job control
    run = bad.wait_for.enqueue("go")
    running(run)
    pid = store.workers.list()[0].pid
    os.kill(pid, signal.SIGTSTP)
    wait_until(lambda: state_of(pid) == "T", within=PATIENCE)

    Path("go").touch()
    os.kill(pid, signal.SIGCONT)

    assert "succeeded" == ended(run).state
    assert ["succeeded"] == outcomes(run)


def test_a_worker_goes_on_when_its_working_directory_is_deleted(bad, worker, folder, store):
    release = folder / "release"
    release.mkdir()
    inside = ["sh", "-c", f'cd {release} && exec "$@"', "sh", "env", f"PYTHONPATH={folder}"]
    one = worker(app="hostile_tasks:app", executors=1, under=inside)
    assert 3 == bad.length.enqueue("abc").result(PATIENCE)

    release.rmdir()

    runs = [bad.say.enqueue("fine") for _ in range(3)]
    assert ["succeeded"] * 3 == [run.state for run in ended_all(runs)]
    os.kill(one.executors()[0], signal.SIGKILL)
    one.replace_sidecar("shipper")
    later = bad.say.enqueue("still fine")
    assert ("succeeded", b"still fine\n") == (ended(later).state, whole_log(store, later))
    assert [["succeeded"]] * 3 == [outcomes(run) for run in runs]


def test_a_process_that_has_got_the_pid_of_a_dead_worker_is_left_alone(bad, one, store):
    with subprocess.Popen(["sleep", "1000"]) as innocent:
        here = {"host_id": proc.host_id(), "boot_id": proc.boot_id()}
        dead = a_worker(store, tasks=["x"], pid=innocent.pid, pid_start=1, **here)
        run_id = enqueue(store, task="x")
        claim_one(store, dead)

        wait_until(lambda: "lost" in str(store.runs.attempts(run_id)), within=PATIENCE)

        assert innocent.poll() is None
        innocent.kill()
    assert "process gone" in store.workers.get(dead).death
    assert one.process.poll() is None


def state_of(pid):
    """The letter of a process: see proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
