from __future__ import annotations

import hashlib
import random

import pytest

from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended, ended_all, whole_log
from holdfast.core.models import Lease, Stream

WAYS = ("print", "part", "record", "buffer", "stderr", "fd1", "fd2", "puts")


def texts(log, *words):
    """The lines of a log that hold all the words, without what logging puts before them."""
    lines = [line.decode() for line in log.splitlines()]
    return [line[line.index(words[0]) :] for line in lines if all(w in line for w in words)]


def test_output_of_every_kind_is_in_the_log_of_its_attempt_in_order(worker, tasks, store):
    worker(executors=1)
    names = ["ash", "birch", "cedar"]

    runs = [tasks.say_in_every_way.enqueue(name) for name in names]
    ended_all(runs)

    for name, run in zip(names, runs, strict=True):
        log = whole_log(store, run)
        for way in WAYS:
            assert [f"{name} {way} {n}" for n in range(20)] == texts(log, name, f" {way} ")
        assert [f"{name} child {n}" for n in range(3)] == texts(log, name, " child ")
        assert [f"{name} thread 0"] == texts(log, name, " thread ")
        assert 20 * len(WAYS) + 4 == log.count(b"\n")


def test_outputs_of_async_attempts_in_one_executor_are_not_mixed(worker, tasks, store):
    worker(executors=1)
    names = [f"tree-{number}." for number in range(10)]

    runs = [tasks.say_slowly.enqueue(name, 30) for name in names]
    ended_all(runs)

    for name, run in zip(names, runs, strict=True):
        log = whole_log(store, run)
        for way in ("print", "record"):
            assert [f"{name} {way} {n}" for n in range(30)] == texts(log, f"{name} {way} ")
        assert 61 == log.count(b"\n") == log.count(f"{name} ".encode())


def test_a_silent_attempt_has_no_log_and_the_next_one_only_its_own(worker, tasks, store):
    worker(executors=1)

    first, silent, last = tasks.say.enqueue("a"), tasks.add.enqueue(1, 2), tasks.say.enqueue("b")
    ended_all([first, silent, last])

    assert (b"a\n", b"b\n") == (whole_log(store, first), whole_log(store, last))
    assert b"" == silent.log()
    assert [True, False, True] == [r.attempts[0].logged for r in (first, silent, last)]


def test_bytes_that_are_no_text_are_kept_as_they_are(worker, tasks, store):
    worker(executors=1)
    data = [*b"\xff\xfe\0\x80\r\n\x1b[31m", *random.randbytes(500), 10]

    run = tasks.write_bytes.enqueue(data)
    ended(run)

    assert bytes(data) * 2 == whole_log(store, run)


def test_text_with_an_undecodable_byte_is_printed_as_that_byte(worker, tasks, store):
    worker(executors=1)

    run = tasks.say_surrogate.enqueue()
    ended(run)

    assert b"\xff\n" == whole_log(store, run)


@pytest.mark.parametrize("how", ["print", "fd"])
def test_a_line_of_five_megabytes_is_kept(worker, tasks, store, how):
    worker(executors=1)

    run = tasks.long_line.enqueue(how, 5_000_000)
    ended(run)

    assert whole_log(store, run) == b"x" * 5_000_000 + b"\n"


def test_two_streams_do_not_meet_within_a_line(worker, tasks, store):
    worker(executors=1)
    script = "for i in $(seq 3000); do echo out $i; echo err $i >&2; done"

    run = tasks.app.run_command(["sh", "-c", script])
    ended(run)

    lines = whole_log(store, run).decode().splitlines()
    for stream in ("out", "err"):
        own = [line for line in lines if line.startswith(stream)]
        assert [f"{stream} {n}" for n in range(1, 3001)] == own
    assert 6000 == len(lines)


def test_standard_error_is_told_from_standard_output(worker, tasks, store):
    worker(executors=1)

    run = tasks.app.run_command(["sh", "-c", "echo out; echo err >&2"])
    ended(run)
    whole_log(store, run)

    chunks = {chunk.stream: chunk.data for chunk in run.log_chunks()}
    assert {Stream.OUT: b"out\n", Stream.ERR: b"err\n"} == chunks


ANEW = """
for i in $(seq 300); do
  echo out $i
  echo err $i > /dev/stderr
  echo again $i >> /dev/stdout
  echo once more $i > /proc/self/fd/1
done
"""


@pytest.mark.parametrize("how", ["function", "command", "other user"])
def test_a_script_that_opens_its_streams_anew_empties_nothing(worker, tasks, store, how):
    worker(executors=1)
    if how == "function":
        run = tasks.shell.enqueue(ANEW)
    else:
        other = ["setpriv", "--reuid=65534", "--clear-groups"] if how == "other user" else []
        run = tasks.app.run_command([*other, "sh", "-c", ANEW])

    assert "succeeded" == ended(run).state
    lines = whole_log(store, run).decode().splitlines()
    for word in ("out", "err", "again", "once more"):
        assert [f"{word} {n}" for n in range(1, 301)] == [x for x in lines if x.startswith(word)]


@pytest.mark.parametrize("how", ["print", "command"])
def test_a_flood_is_kept_byte_for_byte(worker, tasks, store, how):
    worker(executors=1)
    count = 100_000

    if how == "print":
        run = tasks.flood.enqueue(count)
    else:
        run = tasks.app.run_command(["seq", "-f", "line %.0f", "0", str(count - 1)])
    ended(run, within=60)

    log = whole_log(store, run)
    assert "".join(f"line {n}\n" for n in range(count)).encode() == log
    assert count == store.logs.end(Lease(run.id, 1)).lines


def test_a_worker_compacts_what_has_ended_and_the_log_stays_the_same(worker, tasks, store):
    worker(executors=1)
    run = tasks.flood.enqueue(100_000)
    ended(run, within=60)
    before = whole_log(store, run)

    wait_until(lambda: not store.log_database.read(loose), within=PATIENCE)

    with store.log_database.transaction("BEGIN") as tx:
        (chunks,) = tx._connection.execute("SELECT COUNT(*) FROM log_chunk").fetchone()
        (size,) = tx._connection.execute("SELECT SUM(LENGTH(data)) FROM log_block").fetchone()
    assert (0, True) == (chunks, size < len(before) / 3)
    assert hashlib.sha256(before).digest() == hashlib.sha256(run.log()).digest()


def loose(tx):
    """The ended logs that are not compacted yet."""
    return tx.rows("loose_logs", limit=10)


def test_each_attempt_has_a_log_of_its_own(worker, tasks, store):
    worker(executors=1)

    run = tasks.flaky.enqueue(2)
    run.result(PATIENCE)

    assert b"OutOfPaper: attempt 1" in whole_log(store, run, 1)
    assert b"" == run.log(2)
