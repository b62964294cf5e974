from __future__ import annotations

import os
import resource
import shutil
from hashlib import sha256 as _sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.shipping import Bench
from holdfast.core.ids import RunId, new_id
from holdfast.core.masking import Mask
from holdfast.core.models import Hole, Lease, Stream
from holdfast.worker.lastlines import last_lines
from holdfast.worker.shipper import (
    BATCH,
    CHUNK,
    MOST_TAILS,
    UNWATCHED_SECONDS,
    WATCHED_SECONDS,
)
from holdfast.worker.spool import (
    ERR,
    HEADER,
    OUT,
    RECORDS,
    SHIPPED,
    AttemptSpool,
    mark_end,
)
from holdfast.worker.tail import FREE_STEP, Tail


def sha256(data):
    return _sha256(data).hexdigest()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.shipper.forget()
    bench.store.close()


def test_output_waits_a_second_when_nobody_looks_and_a_tenth_when_somebody_does(bench):
    bench.append(OUT, b"first\n")
    bench.ship(after=UNWATCHED_SECONDS - 0.01)
    assert b"" == bench.stored()
    bench.ship(after=0.01)
    assert b"first\n" == bench.stored()

    bench.store.logs.watch(bench.lease.run_id)
    bench.clock.advance(1)
    bench.append(OUT, b"second\n")
    bench.ship(after=WATCHED_SECONDS)

    assert b"first\nsecond\n" == bench.stored()


def test_a_full_chunk_does_not_wait(bench):
    bench.append(OUT, b"x" * 99 + b"\n")
    bench.append(OUT, (b"y" * 99 + b"\n") * (CHUNK // 100))

    bench.shipper.run_once()

    assert len(bench.stored()) > CHUNK - 100


def test_an_unfinished_line_is_shipped_when_it_has_waited_too(bench):
    bench.append(OUT, b"done\nstill going")
    bench.ship()
    assert b"done\n" == bench.stored()

    bench.ship()

    assert b"done\nstill going" == bench.stored()


def test_two_streams_do_not_meet_within_a_line(bench):
    bench.append(OUT, b"out 1\nout ")
    bench.append(ERR, b"err 1\nerr ")
    bench.ship(after=UNWATCHED_SECONDS)

    assert b"out 1\nerr 1\n" == bench.stored()


def test_a_record_whose_writer_was_killed_within_it_is_shipped_as_far_as_it_goes(bench):
    bench.attempt.write(Stream.OUT, b"whole\n")
    bench.append(RECORDS, HEADER.pack(b"\xf5\xfa", Stream.OUT, 100, 0) + b"half a rec")

    end = bench.end()

    assert b"whole\nhalf a rec" == bench.stored()
    assert (16, None) == (end.size, end.missing)


def test_a_header_without_text_ends_the_log_too(bench):
    bench.attempt.write(Stream.OUT, b"whole\n")
    bench.append(RECORDS, HEADER.pack(b"\xf5\xfa", Stream.OUT, 100, 0)[:7])

    assert 6 == bench.end().size


def test_damaged_records_are_skipped_and_the_log_says_how_many_bytes_are_missing(bench):
    bench.attempt.write(Stream.OUT, b"before\n")
    bench.append(RECORDS, b"\0" * 4096)
    bench.attempt.write(Stream.OUT, b"after\n")

    end = bench.end()

    assert b"before\nafter\n" == bench.stored()
    assert "4096 bytes" in end.missing


def test_each_hole_is_told_with_its_place_and_size_and_once(bench):
    bench.attempt.write(Stream.OUT, b"before\n")
    bench.append(RECORDS, b"\0" * 4096)
    bench.attempt.write(Stream.OUT, b"between\n" * 10_000)
    bench.append(RECORDS, b"x" * 10)
    for _ in range(3):
        bench.shipper.run_once()
        bench.shipper.forget()  # a new one finds the same holes
    bench.attempt.write(Stream.LOG, b"after\n")

    end = bench.end()

    assert (Hole(7, 4096), Hole(80_007, 10)) == end.holes
    assert end == bench.store.logs.end(bench.lease)
    assert "4106 bytes" in end.missing


def test_the_folder_is_gone_once_the_end_is_stored(bench):
    bench.append(OUT, b"x\n")

    bench.end()

    assert not bench.folder.exists()


LINE = b"x" * 99 + b"\n"
STEPS = 8 * FREE_STEP // len(LINE)


def test_what_is_stored_is_freed_while_the_attempt_still_writes(bench):
    bench.append(OUT, LINE * STEPS)
    for _ in range(STEPS):
        bench.attempt.write(Stream.OUT, LINE)
    while bench.shipper.run_once():
        bench.clock.advance(1)

    assert bench.on_disk() < 4 * FREE_STEP
    bench.append(OUT, b"the end\n")
    assert bench.end().size == 2 * STEPS * len(LINE) + 8
    chunks = list(bench.store.logs.iterate(bench.lease))
    for source, size in ((0, STEPS), (1, STEPS)):
        own = b"".join(chunk.data for chunk in chunks if chunk.source == source)
        assert sha256(LINE * size + b"the end\n" * source) == sha256(own)


def test_the_last_lines_are_there_after_all_was_freed(bench):
    bench.append(OUT, LINE * STEPS + b"one\ntwo\n")
    while bench.shipper.run_once():
        bench.clock.advance(1)

    assert ["one", "two"] == last_lines(bench.spool, bench.lease, Mask(), 2)


def test_where_nothing_can_be_freed_the_folder_says_how_much_is_stored(tmp_path, disk):
    bench = Bench(tmp_path, spool=disk(kind="ramfs").path)
    bench.append(OUT, LINE * STEPS)
    bench.shipper.run_once()
    bench.shipper.run_once()

    noted = int((bench.folder / SHIPPED).read_text())

    assert FREE_STEP < noted <= len(bench.stored())
    assert STEPS * len(LINE) == bench.end().size
    assert not bench.folder.exists()
    bench.store.close()


def test_a_log_that_cannot_be_deleted_is_stored_and_keeps_no_other_waiting(tmp_path, disk, caplog):
    small = disk()
    bench = Bench(tmp_path, spool=small.path)
    bench.append(OUT, b"x\n")
    mark_end(bench.spool, bench.lease)
    small.remount("ro")
    for _ in range(3):
        bench.ship(after=2)
    assert 2 == bench.store.logs.end(bench.lease).size
    assert bench.folder.exists()
    assert 1 == sum("cannot be shipped" in text for text in caplog.messages)

    small.remount("rw")
    bench.ship(after=2)

    assert not bench.folder.exists()
    bench.store.close()


def test_more_logs_than_one_look_takes_are_all_stored_with_few_descriptors(bench):
    leases = [Lease(RunId(new_id()), 1) for _ in range(MOST_TAILS + 100)]
    for lease in leases:
        attempt = AttemptSpool(bench.spool, lease)
        attempt.write(Stream.OUT, b"x\n")
        attempt.close()
        mark_end(bench.spool, lease)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 16, hard))
    try:
        first = bench.shipper.run_once()
        while bench.shipper.run_once():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert first <= BATCH + CHUNK
    assert all(bench.store.logs.end(lease) for lease in leases)
    assert [] == os.listdir(bench.spool)


def test_quiet_logs_do_not_keep_others_from_being_shipped(bench):
    for _ in range(MOST_TAILS + 100):
        lease = Lease(RunId(new_id()), 1)
        os.close(AttemptSpool(bench.spool, lease).begin())
    bench.shipper.run_once()
    bench.append(OUT, b"x\n")

    while not bench.store.logs.end(bench.lease):
        mark_end(bench.spool, bench.lease)
        bench.ship()

    assert b"x\n" == bench.stored()


def test_a_folder_left_by_a_shipper_that_died_after_the_end_was_stored_is_removed(bench):
    bench.append(OUT, b"one\n" * 2000)
    copy = bench.folder.with_name("copy")
    bench.shipper.run_once()
    shutil.copytree(bench.folder, copy)
    before = bench.end()
    copy.rename(bench.folder)
    while bench.store.upkeep.compact():
        pass

    bench.new_shipper().run_once()

    assert not bench.folder.exists()
    assert (before, b"one\n" * 2000) == (bench.store.logs.end(bench.lease), bench.stored())


@pytest.mark.parametrize("moment", ["_measure", "missing"])
def test_a_log_that_is_taken_over_at_that_moment_is_not_ended(bench, monkeypatch, moment):
    """Of a folder that is gone all files seem empty, and nothing seems to be missing."""
    elsewhere = bench.folder.with_name("elsewhere")
    bench.append(OUT, b"one\n")
    if moment == "missing":
        bench.ship()
    mark_end(bench.spool, bench.lease)
    real = getattr(Tail, moment)

    def late(*arguments):
        if bench.folder.exists():
            bench.folder.rename(elsewhere)
        return real(*arguments)

    monkeypatch.setattr(Tail, moment, late)
    bench.ship()
    assert elsewhere.exists()
    assert bench.store.logs.end(bench.lease) is None

    monkeypatch.undo()
    elsewhere.rename(bench.folder)
    assert (4, None) == (bench.end().size, bench.store.logs.end(bench.lease).missing)
    assert b"one\n" == bench.stored()


def test_a_shipper_that_another_one_has_overtaken_adds_nothing_twice(bench):
    bench.append(OUT, b"one\n")
    bench.ship()
    other = bench.new_shipper()
    other.run_once()
    bench.append(OUT, b"two\n")
    bench.ship()
    bench.append(OUT, b"three\n")
    other.run_once()
    bench.clock.advance(1)
    with pytest.raises(Exception, match="UNIQUE"):
        other.run_once()  # it continues where the log ended for it
    other.forget()

    other.run_once()
    bench.clock.advance(1)
    other.run_once()
    other.forget()

    assert b"one\ntwo\nthree\n" == bench.stored()


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["out", "err", "print", "log", "kill", "wait"]),
        st.one_of(
            st.binary(min_size=1, max_size=200),
            st.integers(1, 200_000).map(lambda size: b"z" * size),
            st.just(b"\xf5\xfa" * 40),
            st.just(b"line\n" * 300),
        ),
    ),
    max_size=25,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(writes=WRITES)
def test_every_byte_is_stored_once_and_in_order_however_often_the_shipper_dies(
    tmp_path_factory, writes
):
    bench = Bench(tmp_path_factory.mktemp("bench"))
    expected = {Stream.OUT: b"", Stream.ERR: b"", Stream.LOG: b""}
    records = {Stream.OUT: b"", Stream.LOG: b""}
    for kind, data in writes:
        if kind == "kill":
            bench.shipper.forget()
            bench.shipper = bench.new_shipper()
        elif kind == "wait":
            bench.ship()
        elif kind in ("out", "err"):
            stream = Stream.OUT if kind == "out" else Stream.ERR
            bench.append(OUT if kind == "out" else ERR, data)
            expected[stream] += data
        else:
            stream = Stream.OUT if kind == "print" else Stream.LOG
            bench.attempt.write(stream, data)
            records[stream] += data
        bench.shipper.run_once()
    bench.attempt.close()
    bench.folder.mkdir(exist_ok=True)

    end = bench.end()
    chunks = list(bench.store.logs.iterate(bench.lease))

    for stream, data in expected.items():
        assert data == b"".join(c.data for c in chunks if c.stream == stream and c.source)
    for stream, data in records.items():
        assert data == b"".join(c.data for c in chunks if c.stream == stream and not c.source)
    assert (end.size, None) == (sum(len(c.data) for c in chunks), end.missing)
    assert end.lines == bench.stored().count(b"\n")
    bench.shipper.forget()
    bench.store.close()
