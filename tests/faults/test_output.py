"""Fault 7: who moves output from the pipes to the spool is killed, by itself and with others."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import stat
import subprocess
import sys
import threading

import pytest

from helpers.heavy import heavy
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    assert_holds_every_line,
    end_of,
    ended,
    lines_of,
    outcomes,
    send,
    wait_for_lines,
    whole_log,
)
from holdfast.core.ids import new_id
from holdfast.core.models import Lease
from holdfast.worker.output import CAPACITY, Busy, Output
from holdfast.worker.plain import is_folder
from holdfast.worker.spool import folder_of

KILLS = heavy(40, 400)
WRITES = """
import os
number = 0
while not os.path.exists("stop"):
    os.write(1, b"line %d\\n" % number)
    number += 1
os.write(2, b"%d" % number)
"""


@pytest.fixture
def output():
    output = Output.make()
    output.belong_to(Lease(new_id(), 1))
    yield output
    if not output.closed:
        output.close()


def pour_for_ever(output, spool):
    while True:
        with output.moving():
            output.pour(spool, 1)


def text_of(output, spool, name="1.out"):
    return (folder_of(spool, output.owner) / name).read_bytes()


def test_no_byte_is_lost_or_doubled_however_often_who_moves_it_is_killed(output, tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITES],
        stdout=output.write_end(1),
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    for _ in range(KILLS):
        mover = multiprocessing.get_context("fork").Process(
            target=pour_for_ever, args=(output, tmp_path)
        )
        mover.start()
        mover.join(random.uniform(0.001, 0.03))
        os.kill(mover.pid, signal.SIGKILL)
        mover.join()
    (tmp_path / "stop").touch()

    def move():
        with output.moving():
            output.pour_all(tmp_path)
        return writer.poll() is not None and output.is_blank()

    wait_until(move)
    count = int(writer.communicate()[1])
    expected = b"".join(b"line %d\n" % number for number in range(count))
    assert expected == text_of(output, tmp_path)


def test_only_one_moves_at_a_time_and_the_next_can_when_it_is_killed(output, tmp_path):
    ready, tell = os.pipe()

    def hold():
        with output.moving():
            os.write(tell, b".")
            signal.pause()

    holder = multiprocessing.get_context("fork").Process(target=hold)
    holder.start()
    os.read(ready, 1)
    with pytest.raises(Busy), output.moving(within=0.0):
        pass
    holder.kill()
    holder.join()

    with output.moving(within=0.0):
        pass


def test_a_thread_that_comes_too_late_finds_nothing_to_move_and_nobody_to_hold_back(output):
    output.close()

    output.hold_back(yes=True)
    with pytest.raises(Busy), output.moving(within=0.0):
        pass


def test_output_is_blank_until_something_is_written_and_again_when_all_was_moved(output, tmp_path):
    assert output.is_blank()
    os.write(output.write_end(2), b"oops\n")
    assert not output.is_blank()
    with output.moving():
        assert 5 == output.pour(tmp_path, 2)
    assert not output.is_blank()  # it was used: whose it is must not change unseen

    with output.moving():
        output.pour_all(tmp_path)

    assert output.is_blank()
    assert b"oops\n" == text_of(output, tmp_path, "2.err")


def test_what_nobody_owns_stays_in_the_pipe(output, tmp_path):
    owner = output.owner
    output.belong_to(None)
    os.write(output.write_end(1), b"late\n")
    with output.moving():
        output.pour_all(tmp_path)
    assert not is_folder(folder_of(tmp_path, owner))

    output.belong_to(owner)
    with output.moving():
        output.pour_all(tmp_path)

    assert b"late\n" == text_of(output, tmp_path)


def test_a_full_disk_leaves_everything_in_the_pipe_until_there_is_room(output, disk):
    small = disk("1M")
    folder_of(small.path, output.owner).mkdir()
    ballast = small.fill()
    text = os.urandom(CAPACITY)
    os.write(output.write_end(1), text)
    with pytest.raises(OSError, match="No space left"), output.moving():
        output.pour_all(small.path)

    ballast.unlink()
    with output.moving():
        output.pour_all(small.path)

    assert text == text_of(output, small.path)


def test_a_writer_waits_while_nobody_moves(output, tmp_path):
    text = os.urandom(5 * CAPACITY)
    thread = threading.Thread(target=os.write, args=(output.write_end(1), text), daemon=True)
    thread.start()
    wait_until(lambda: not output.is_blank())

    def move():
        with output.moving():
            output.pour_all(tmp_path)
        return not thread.is_alive() and output.is_blank()

    wait_until(move)
    assert text == text_of(output, tmp_path)


def counting(tasks, way, witness):
    """Enqueue a run that writes numbered lines until there is a file `go`."""
    if way != "command":
        return tasks.count_lines.enqueue(way, witness, "go")
    return tasks.app.find_task("count_lines").enqueue(witness=witness, until="go")


@pytest.mark.parametrize("way", ["print", "fd", "command"])
def test_a_log_whose_worker_and_executor_were_killed_at_once_says_that_its_end_may_be_missing(
    worker, tasks, store, way
):
    here = worker(executors=1)
    run = counting(tasks, way, "seen")
    wait_for_lines("seen", 1000)
    wait_until(lambda: run.log(1), within=PATIENCE)  # a part of it is out of the pipe
    for pid in (here.pid, *here.executors()):
        os.kill(pid, signal.SIGSTOP)  # none of them sees the others die
    for pid in (*here.executors(), here.pid):
        os.kill(pid, signal.SIGKILL)
    here.process.wait(PATIENCE)
    seen = int(lines_of("seen")[-1])
    worker(executors=1)
    wait_until(lambda: outcomes(run), within=PATIENCE)
    end = end_of(store, run, 1)
    log = b"".join(chunk.data for chunk in run.log_chunks(1))

    assert "killed in one moment" in end.missing
    written = "".join(f"line {number}\n" for number in range(seen + 1)).encode()
    assert len(written) - len(log) <= 2 * CAPACITY
    assert written.startswith(log[: len(written)])
    run.cancel()


@pytest.mark.parametrize("way", ["fd", "command"])
def test_a_log_whose_supervisor_alone_was_killed_is_whole_and_says_so(worker, tasks, store, way):
    here = worker(executors=1)
    for number in range(heavy(3, 20)):
        witness = f"seen {number}"
        run = counting(tasks, way, witness)
        wait_for_lines(witness, 1000)
        os.kill(here.pid, signal.SIGKILL)
        here.process.wait(PATIENCE)
        run.cancel()
        here = worker(executors=1)
        wait_until(lambda run=run: outcomes(run), within=PATIENCE)

        assert_holds_every_line(whole_log(store, run, 1), lines_of(witness))
        ended(run)


def test_a_forked_child_that_is_stopped_says_nothing_of_the_log(worker, tasks, store):
    """Only an executor that ends has saved everything; here it goes on."""
    here = worker(executors=1)
    run = tasks.stop_a_child.enqueue("seen", "go")
    wait_for_lines("seen", 1)
    wait_until(lambda: run.log(1), within=PATIENCE)

    send([here.pid, *here.executors()], signal.SIGSTOP)  # none of them sees the others die
    send([*here.executors(), here.pid], signal.SIGKILL)
    here.process.wait(PATIENCE)
    worker(executors=1)
    wait_until(lambda: outcomes(run), within=PATIENCE)

    assert "killed in one moment" in end_of(store, run, 1).missing
    run.cancel()


def test_a_log_that_had_ended_is_whole_though_nobody_heard_of_its_end(worker, tasks, store, folder):
    here = worker(executors=1)
    run = tasks.app.run_command(
        ["sh", "-c", "echo one; touch begun; until test -e go; do sleep 0.02; done; echo two"]
    )
    wait_until((folder / "begun").exists, within=PATIENCE)
    wait_until(lambda: run.log(1), within=PATIENCE)

    here.pause()
    (folder / "go").touch()
    log = folder_of(folder / "spool" / here.worker_id, Lease(run.id, 1))
    wait_until(lambda: log.stat().st_mode & stat.S_ISGID, within=PATIENCE)
    send([here.pid, *here.executors()], signal.SIGSTOP)  # none of them sees the others die
    send([*here.executors(), here.pid], signal.SIGKILL)
    here.process.wait(PATIENCE)
    worker(executors=1)
    wait_until(lambda: outcomes(run), within=PATIENCE)

    assert b"one\ntwo\n" == whole_log(store, run, 1)
