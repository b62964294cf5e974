"""Fault 31: the disk of the logs is full, has no inodes left, or can only be read."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from helpers.heavy import heavy
from helpers.pressure import MIB, Watch, digest_of_log, digest_of_output
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    assert_holds_every_line,
    certificate,
    ended,
    ended_all,
    lines_of,
    outcomes,
    running,
    wait_for_lines,
    whole_log,
)
from holdfast.why import explain

WAYS = ["print", "fd", "child", "command"]


@pytest.fixture
def spool(disk):
    """A small disk for the spool of the worker."""
    return disk("32M", inodes=200)


def use_up_inodes(disk):
    """Make empty files until there is no inode left; return them."""
    made = []
    while os.statvfs(disk.path).f_favail:
        made.append(disk.path / f"inode-{len(made)}")
        made[-1].touch()
    return made


def give_back(files):
    for file in files:
        file.unlink()


def a_worker_on(spool, worker, tasks):
    """A worker whose executors are ready, with its spool on that disk."""
    here = worker(executors=2, spool=spool.path)
    ended(tasks.add.enqueue(1, 2))
    return here


def about_to_speak(tasks, way, lines=1000):
    """Begin an attempt that writes lines once the file `speak` is there."""
    if way == "command":
        task = tasks.app.find_task("speak_when")
        run = task.enqueue(until="speak", last=lines - 1)
        running(run)
    else:
        run = tasks.speak_when.enqueue("speak", way, lines)
        wait_for_lines("witness")
    return run


def lines_up_to(count):
    return "".join(f"line {number}\n" for number in range(count)).encode()


@pytest.mark.parametrize("way", WAYS)
def test_an_attempt_on_a_disk_that_others_have_nearly_filled_waits_for_room(
    worker, tasks, store, spool, way
):
    here = a_worker_on(spool, worker, tasks)
    run = about_to_speak(tasks, way, 50_000 if way != "child" else 500)
    ballast = spool.fill(leave=MIB)
    Path("speak").touch()
    wait_until(lambda: run.record.paused, within=PATIENCE)
    assert "too little to write on" in explain(store, run.record).sentence

    ballast.unlink()

    assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
    assert lines_up_to(50_000 if way != "child" else 500) == whole_log(store, run)
    assert here.process.poll() is None


def test_every_line_whose_write_returned_is_kept_when_the_disk_fills_up_meanwhile(
    worker, tasks, store, spool
):
    a_worker_on(spool, worker, tasks)
    run = tasks.app.find_task("count_lines").enqueue(witness="seen", until="go")
    wait_for_lines("seen", 1000)
    ballast = spool.fill(leave=MIB)
    wait_until(lambda: run.record.paused, within=PATIENCE)
    count = len(lines_of("seen"))
    ballast.unlink()
    wait_for_lines("seen", count + 1000)
    Path("go").touch()

    assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
    assert_holds_every_line(whole_log(store, run), lines_of("seen"))


def test_on_a_disk_that_is_quite_full_python_waits_within_its_write(worker, tasks, store, spool):
    a_worker_on(spool, worker, tasks)
    run = about_to_speak(tasks, "print")
    ballast = spool.fill()
    Path("speak").touch()
    assert "running" == run.state

    ballast.unlink()

    assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
    assert lines_up_to(1000) == whole_log(store, run)


@pytest.mark.parametrize("way", WAYS)
def test_without_inodes_an_attempt_waits_and_does_not_crash(worker, tasks, store, spool, way):
    a_worker_on(spool, worker, tasks)
    run = about_to_speak(tasks, way, 10)
    files = use_up_inodes(spool)
    Path("speak").touch()
    wait_until(lambda: explain_worker(store), within=PATIENCE)
    assert "running" == run.state or way == "command"  # its files are open: it needs no inode

    give_back(files)

    assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
    assert lines_up_to(10) == whole_log(store, run)
    assert "succeeded" == ended(tasks.say.enqueue("after")).state


def explain_worker(store):
    return next((w.trouble for w in store.workers.list()), None)


def test_a_worker_without_room_for_logs_begins_nothing_and_says_why(worker, tasks, store, spool):
    here = a_worker_on(spool, worker, tasks)
    ballast = spool.fill(leave=MIB)
    wait_until(lambda: explain_worker(store), within=PATIENCE)
    runs = [tasks.add.enqueue(1, number) for number in range(5)]
    sentence = explain(store, runs[0].record).sentence
    states = [run.state for run in runs]

    ballast.unlink()
    ended_all(runs)

    assert ["queued"] * 5 == states
    assert "takes no new runs: the disk of its worker's logs has" in sentence
    assert 5 == sum(len(outcomes(run)) for run in runs)
    wait_until(lambda: explain_worker(store) is None, within=PATIENCE)
    assert 1 == len(here.events("ClaimingPaused")) == len(here.events("ClaimingResumed"))


def test_an_attempt_that_waits_for_room_can_be_cancelled(worker, tasks, spool):
    a_worker_on(spool, worker, tasks)
    run = about_to_speak(tasks, "print")
    ballast = spool.fill()
    Path("speak").touch()
    run.cancel(by="ann")
    wait_until(lambda: run.record.cancel_by, within=PATIENCE)
    ballast.unlink()

    assert ("cancelled", ["cancelled"]) == (ended(run).state, outcomes(run))


def test_what_a_killed_executor_left_is_kept_when_there_is_room_again(worker, tasks, store, spool):
    here = a_worker_on(spool, worker, tasks)
    run = about_to_speak(tasks, "fd", 10)
    files = use_up_inodes(spool)
    Path("speak").touch()
    wait_until(lambda: run.record.paused, within=PATIENCE)
    for pid in here.executors():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: outcomes(run) == ["crashed"], within=PATIENCE)

    give_back(files)

    assert whole_log(store, run, 1).startswith(b"line 0\n")
    assert "succeeded" == ended(run).state
    assert here.process.poll() is None


def test_logs_wait_in_the_spool_while_the_disk_of_the_store_is_full(
    worker, tasks, store, folder, disk
):
    """The log database lies on a small disk of its own; runs go on and their logs follow."""
    small = disk("8M")
    store.close()
    for name in ("holdfast.logs.db", "holdfast.logs.db-wal", "holdfast.logs.db-shm"):
        if (folder / name).exists():
            shutil.move(folder / name, small.path / name)
    (folder / "holdfast.logs.db").symlink_to(small.path / "holdfast.logs.db")
    here = worker(executors=1)
    ballast = small.fill()

    runs = [tasks.flood.enqueue(20_000) for _ in range(3)]
    for run in runs:
        assert "succeeded" == ended(run).state
    wait_until(lambda: here.events("LogsAway"), within=PATIENCE)
    small.remount("size=64M")
    ballast.unlink()

    for run in runs:
        assert 20_000 == whole_log(store, run).count(b"\n")
    wait_until(lambda: here.events("LogsBack"), within=PATIENCE)


def test_a_worker_that_can_make_no_folder_for_logs_says_so_and_does_not_start(worker, tasks, spool):
    use_up_inodes(spool)
    here = worker(executors=1, spool=spool.path, ready=False)

    assert 1 == here.process.wait(PATIENCE)
    assert "No space left" in here.events("SpoolUnusable")[0]["problem"]


def test_a_disk_that_turns_read_only_pauses_what_writes_and_spares_the_worker(
    worker, tasks, store, folder, disk
):
    """As ext4 does when it meets an error: it is not mended before the worker is gone."""
    broken = disk("64M", kind="ext4")
    here = worker(executors=2, spool=broken.path, grace_seconds=1)
    count = tasks.count_lines.enqueue("print", "seen", "go")
    wait_for_lines("seen", 1000)
    broken.break_down()
    wait_until(lambda: explain_worker(store), within=PATIENCE)
    seen = lines_of("seen")

    count.cancel(by="ann")
    ended(count)
    waiting = tasks.add.enqueue(1, 2)

    assert "can only be read" in explain(store, waiting.record).sentence
    log = b"".join(chunk.data for chunk in count.log_chunks())
    assert log.count(b"\n") <= len(seen) + 1
    assert here.process.poll() is None
    assert here.record().state == 0
    here.stop()
    worker(executors=1, spool=folder / "elsewhere")
    assert "succeeded" == ended(waiting).state


@pytest.mark.parametrize("tries", range(heavy(1, 3)))
def test_a_command_never_meets_a_full_disk_however_fast_it_writes(
    worker, tasks, store, disk, tries
):
    spool = disk("128M")
    worker(executors=2, spool=spool.path)
    script = "head -c 300000000 /dev/zero"
    with Watch(spool) as seen:
        runs = [tasks.app.run_command(["sh", "-c", script]) for _ in range(2)]
        ended_all(runs, within=120)

    assert seen.least > 0
    assert [["succeeded"]] * 2 == [outcomes(run) for run in runs], certificate(runs[0])
    expected = digest_of_output("sh", "-c", script)
    assert [expected] * 2 == [digest_of_log(store, run) for run in runs]


def test_what_a_program_says_of_the_disk_that_it_has_filled_is_kept(worker, tasks, store, spool):
    """It fills it past the spool, which no guard can know. Its last words wait for room."""
    a_worker_on(spool, worker, tasks)
    program = "import os; os.write(1, b'one\\n'); open('big', 'wb').write(bytes(40_000_000))"
    run = tasks.app.run_command([sys.executable, "-c", program], cwd=str(spool.path))
    wait_until(lambda: run.record.paused, within=PATIENCE)
    (spool.path / "big").unlink()

    assert "failed" == ended(run).state
    assert b"one\n" in whole_log(store, run)
    assert whole_log(store, run).endswith(b"No space left on device\n")
