from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.databases import settings_for
from holdfast.core.clock import FixedClock
from holdfast.core.ids import RunId, new_id
from holdfast.core.models import Lease, Stream
from holdfast.store import open_store
from holdfast.worker.shipper import CHUNK, UNWATCHED_SECONDS, WATCHED_SECONDS, Shipper
from holdfast.worker.spool import ERR, HEADER, OUT, RECORDS, AttemptSpool, folder_of, mark_end


class Bench:
    """One attempt that writes, and shippers that come and go."""

    def __init__(self, folder):
        self.clock = FixedClock()
        self.store = open_store(settings_for(folder), self.clock)
        self.store.prepare()
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.lease = Lease(RunId(new_id()), 1)
        self.attempt = AttemptSpool(self.spool, self.lease)
        self.folder = folder_of(self.spool, self.lease)
        self.shipper = self.new_shipper()

    def new_shipper(self):
        return Shipper(self.store.logs, self.spool, self.clock)

    def append(self, name, data):
        self.folder.mkdir(exist_ok=True)
        with (self.folder / name).open("ab") as file:
            file.write(data)

    def ship(self, after=UNWATCHED_SECONDS):
        self.shipper.run_once()
        self.clock.advance(after)
        self.shipper.run_once()

    def stored(self, stream=None):
        chunks = list(self.store.logs.iterate(self.lease))
        return b"".join(c.data for c in chunks if stream is None or c.stream == stream)

    def end(self):
        mark_end(self.spool, self.lease)
        for _ in range(50):
            self.ship()
            if (end := self.store.logs.end(self.lease)) is not None:
                return end
        raise AssertionError("the log never ended")


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


def test_the_folder_is_gone_once_the_end_is_stored(bench):
    bench.append(OUT, b"x\n")

    bench.end()

    assert not bench.folder.exists()


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
