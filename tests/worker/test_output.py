from __future__ import annotations

import random

import pytest

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


def test_each_attempt_has_a_log_of_its_own(worker, tasks, store):
    worker(executors=1)

    run = tasks.flaky.enqueue(2)
    run.result(PATIENCE)

    assert b"OutOfPaper: attempt 1" in whole_log(store, run, 1)
    assert b"" == run.log(2)
