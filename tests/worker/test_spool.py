from __future__ import annotations

import os
import signal
import threading
from contextlib import closing

import pytest

from helpers.waiting import wait_until
from holdfast.core.ids import RunId, new_id
from holdfast.core.models import Lease, Stream
from holdfast.worker.lastlines import _texts as texts
from holdfast.worker.spool import (
    RECORDS,
    AttemptSpool,
    SpoolClosed,
    has_end,
    mark_end,
)


class Interrupt(BaseException):
    """Come from outside, as the request to stop does."""


@pytest.fixture
def full(disk):
    """A disk with an attempt on it that has written one line, and no room for another."""
    made = disk("1M", inodes=30)
    made.attempt = AttemptSpool(made.path, Lease(RunId(new_id()), 1))
    made.attempt.write(Stream.OUT, b"first\n")
    made.ballast = made.fill()
    yield made
    made.attempt.close()


def written(attempt):
    """The texts of the whole records that are in the record file."""
    return list(texts((attempt.folder / RECORDS).read_bytes()))


def in_thread(work, *arguments):
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def test_a_write_on_a_full_disk_waits_until_there_is_room(full):
    page = b"x" * 5000
    thread = in_thread(full.attempt.write, Stream.OUT, page)
    wait_until(lambda: full.attempt._waiting)
    assert [b"first\n"] == [text for text in written(full.attempt) if text != page[: len(text)]]

    full.ballast.unlink()
    thread.join(5)

    assert [b"first\n", page] == written(full.attempt)


def test_lines_of_many_threads_that_met_a_full_disk_are_whole_and_in_order(full):
    def count(name):
        for number in range(50):
            full.attempt.write(Stream.OUT, f"{name} {number} ".encode().ljust(3000, b".") + b"\n")

    threads = [in_thread(count, name) for name in "abcd"]
    wait_until(lambda: full.attempt._waiting)
    full.ballast.unlink()
    for thread in threads:
        thread.join(10)

    lines = [text.split(b" ")[:2] for text in written(full.attempt)[1:]]
    for name in (b"a", b"b", b"c", b"d"):
        assert [b"%d" % n for n in range(50)] == [n for who, n in lines if who == name]


def test_a_write_that_is_broken_off_on_a_full_disk_leaves_nothing_of_itself(full):
    def interrupt(_number, _frame):
        raise Interrupt

    before = signal.signal(signal.SIGUSR2, interrupt)
    os.truncate(full.ballast, full.ballast.stat().st_size - 8192)
    main = threading.main_thread().ident
    in_thread(lambda: wait_until(lambda: full.attempt._waiting) and signal.pthread_kill(main, 12))
    with pytest.raises(Interrupt):
        full.attempt.write(Stream.OUT, b"y" * 30_000)
    signal.signal(signal.SIGUSR2, before)
    full.ballast.unlink()

    full.attempt.write(Stream.OUT, b"second\n")

    assert [b"first\n", b"second\n"] == written(full.attempt)


def test_a_thread_that_waits_for_room_learns_that_its_attempt_has_ended(full):
    caught = []

    def write():
        try:
            full.attempt.write(Stream.OUT, b"x" * 5000)
        except SpoolClosed as error:
            caught.append(error)

    thread = in_thread(write)
    wait_until(lambda: full.attempt._waiting)
    full.attempt.close()
    thread.join(5)

    assert caught


def test_the_first_write_waits_for_an_inode(disk):
    small = disk("1M", inodes=2)
    (small.path / "the last one").touch()
    with closing(AttemptSpool(small.path, Lease(RunId(new_id()), 1))) as attempt:
        thread = in_thread(attempt.write, Stream.OUT, b"late\n")
        assert not attempt.folder.exists()

        small.remount("nr_inodes=10")
        thread.join(5)

        assert [b"late\n"] == written(attempt)


def test_the_end_is_marked_on_a_disk_with_no_block_and_no_inode_left(full):
    for number in range(40):
        try:
            (full.path / str(number)).touch()
        except OSError:
            break
    assert not has_end(full.attempt.folder)

    assert mark_end(full.path, full.attempt.lease)

    assert has_end(full.attempt.folder)
