"""Logs: every byte, in order, readable from any offset, and continued by one shipper only."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.databases import fresh_store
from holdfast.core.errors import StoreUnavailable
from holdfast.core.ids import new_id
from holdfast.core.models import Lease, LogChunk, LogEnd, LogPosition, Stream

CHUNKS = st.lists(
    st.tuples(st.binary(min_size=1, max_size=40), st.sampled_from([Stream.OUT, Stream.ERR])),
    max_size=40,
)

EMPTY = LogPosition()


@pytest.fixture
def lease():
    return Lease(new_id(), 1)


def chunked(parts, *, position=EMPTY):
    """Consecutive chunks as a shipper makes them, from where the stored log ends."""
    start, line, crc = position.size, position.lines, position.crc
    ends = dict(position.sources)
    chunks = []
    for data, stream in parts:
        crc = zlib.crc32(data, crc)
        ends[int(stream)] = ends.get(int(stream), 0) + len(data)
        lines = data.count(b"\n")
        end = ends[int(stream)]
        chunks.append(LogChunk(start, line, lines, stream, int(stream), end, 7, crc, data))
        start, line = start + len(data), line + lines
    return chunks


def append(store, lease, *parts):
    """Append texts to a log, each as one chunk of standard output."""
    position = store.logs.position(lease)
    chunks = chunked([(data, Stream.OUT) for data in parts], position=position)
    store.logs.append({lease: chunks}, {})


@pytest.fixture(scope="module")
def one_store(template, tmp_path_factory):
    """One store for all examples of a property: each uses a log of its own."""
    store = fresh_store(template, tmp_path_factory.mktemp("logs"))
    yield store
    store.close()


@settings(max_examples=60)
@given(CHUNKS, st.integers(0, 1700))
def test_any_offset_gives_the_right_bytes(one_store, parts, offset):
    lease = Lease(new_id(), 1)
    one_store.logs.append({lease: chunked(parts)}, {})
    whole = b"".join(data for data, _ in parts)

    chunks = list(one_store.logs.iterate(lease, offset))

    assert whole[offset:] == b"".join(chunk.data for chunk in chunks)
    for chunk in chunks:
        before = whole[: chunk.start]
        assert (chunk.start, chunk.line) == (len(before), before.count(b"\n"))
        assert chunk.lines == chunk.data.count(b"\n")
        assert chunk.crc == zlib.crc32(whole[: chunk.start + len(chunk.data)])
        assert chunk.data == whole[chunk.start : chunk.start + len(chunk.data)]


@settings(max_examples=30)
@given(CHUNKS, st.integers(1, 5))
def test_a_log_shipped_in_pieces_is_the_log_shipped_at_once(one_store, parts, size):
    lease = Lease(new_id(), 1)
    for index in range(0, len(parts), size):
        position = one_store.logs.position(lease)
        chunks = chunked(parts[index : index + size], position=position)
        one_store.logs.append({lease: chunks}, {})

    assert chunked(parts) == list(one_store.logs.iterate(lease))


def test_a_log_that_nobody_wrote_is_empty(store, lease):
    assert [] == store.logs.read(lease)
    assert LogPosition() == store.logs.position(lease)
    assert store.logs.end(lease) is None


@pytest.mark.parametrize(
    "data", [b"\0\xff\xfe", "日志".encode("gbk"), b"\r\n\x1b[31m", b"x" * 70_000]
)
def test_bytes_stay_as_they_are(store, lease, data):
    append(store, lease, data)

    assert data == b"".join(chunk.data for chunk in store.logs.iterate(lease))


def test_the_position_says_how_far_the_log_is_stored(store, lease):
    parts = [(b"a\nb\n", Stream.OUT), (b"oops\n", Stream.ERR), (b"c", Stream.OUT)]
    store.logs.append({lease: chunked(parts)}, {})

    position = store.logs.position(lease)

    assert (10, 3, zlib.crc32(b"a\nb\noops\nc")) == position[:3]
    assert ((1, 5), (2, 5)) == position.sources


def test_logs_of_many_attempts_are_kept_apart(store, lease):
    other, next_attempt = Lease(new_id(), 1), lease._replace(attempt=2)
    chunks = {
        lease: chunked([(b"one", Stream.OUT)]),
        other: chunked([(b"two", Stream.OUT)]),
        next_attempt: chunked([(b"three", Stream.OUT)]),
    }
    store.logs.append(chunks, {})

    for key, expected in {lease: b"one", other: b"two", next_attempt: b"three"}.items():
        assert [expected] == [chunk.data for chunk in store.logs.iterate(key)]


def test_reading_is_bounded_by_the_number_of_chunks(store, lease):
    append(store, lease, *[b"x"] * 50)

    assert 16 == len(store.logs.read(lease))
    assert 3 == len(store.logs.read(lease, 10, limit=3))
    assert 50 == len(list(store.logs.iterate(lease)))


def test_a_second_shipper_cannot_continue_at_the_same_place(store, lease):
    append(store, lease, b"first\n")
    behind = chunked([(b"mine\n", Stream.OUT)], position=store.logs.position(lease))
    append(store, lease, b"other\n")

    with pytest.raises(StoreUnavailable):
        store.logs.append({lease: behind}, {})

    assert b"first\nother\n" == b"".join(chunk.data for chunk in store.logs.iterate(lease))


def test_nothing_is_kept_of_a_batch_that_was_refused(store, lease):
    append(store, lease, b"first\n")
    other = Lease(new_id(), 1)
    chunks = {other: chunked([(b"x", Stream.OUT)]), lease: chunked([(b"again", Stream.OUT)])}

    with pytest.raises(StoreUnavailable):
        store.logs.append(chunks, {other: LogEnd(1, 0, 0, None)})

    assert [] == store.logs.read(other)
    assert store.logs.end(other) is None


def test_the_final_record_is_written_with_the_last_bytes_and_once(store, lease):
    parts = [(b"all\n", Stream.OUT)]
    end = LogEnd(4, 1, zlib.crc32(b"all\n"), None)

    store.logs.append({lease: chunked(parts)}, {lease: end})
    store.logs.append({}, {lease: end._replace(missing="something")})

    assert end == store.logs.end(lease)


def test_the_final_record_says_what_is_missing(store, lease):
    end = LogEnd(0, 0, 0, "The host lathe was lost with up to 1 s of output.")
    store.logs.append({}, {lease: end})

    assert end == store.logs.end(lease)


def test_a_run_is_watched_for_a_while(store, lease):
    clock = store.database.clock
    store.logs.watch(lease.run_id)
    clock.advance(14)
    assert {lease.run_id} == store.logs.watched()

    clock.advance(1)
    assert set() == store.logs.watched()


def test_watching_again_prolongs_it(store, lease):
    clock = store.database.clock
    for _ in range(3):
        store.logs.watch(lease.run_id)
        clock.advance(14)

    assert {lease.run_id} == store.logs.watched()


def test_a_deleted_log_is_gone_and_others_stay(store, lease):
    other = Lease(new_id(), 1)
    for key in (lease, lease._replace(attempt=2), other):
        append(store, key, b"x")
        store.logs.append({}, {key: LogEnd(1, 0, 0, None)})

    store.logs.delete([lease.run_id])
    while store.upkeep.sweep():
        pass

    assert [] == store.logs.read(lease) == store.logs.read(lease._replace(attempt=2))
    assert store.logs.end(lease) is None
    assert [b"x"] == [chunk.data for chunk in store.logs.read(other)]
    assert store.logs.end(other)


def test_a_flood_of_output_does_not_hold_up_an_enqueue(store, lease):
    """Logs have a file of their own."""
    with store.log_database.transaction():
        assert [] == store.runs.insert([])
        store.queues.pause("mail", by="anna")
