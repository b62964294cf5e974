"""Parts of a log: by byte, line, time and from the end, found without reading the whole log."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.chunks import chunked
from helpers.databases import fresh_store
from holdfast.core.errors import BadOption
from holdfast.core.ids import new_id
from holdfast.core.models import Lease, LogEnd, Stream
from holdfast.logs import LogPart, part_of
from holdfast.store import blocks

SECOND = 1_000_000
PARTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\n\n"]), min_size=1, max_size=6).map(
            b"".join
        ),
        st.sampled_from([Stream.OUT, Stream.ERR]),
    ),
    max_size=24,
)


@pytest.fixture(scope="module")
def one_store(template, tmp_path_factory):
    """One store for all examples of a property: each uses a log of its own."""
    store = fresh_store(template, tmp_path_factory.mktemp("parts"))
    yield store
    store.close()


@pytest.fixture
def small_blocks(monkeypatch):
    """Make blocks so small that a short log needs several."""
    monkeypatch.setattr(blocks, "BYTES", 12)
    monkeypatch.setattr(blocks, "PIECES", 3)


def store_log(store, parts, *, compact=0):
    """Store a log, the first blocks of it compacted."""
    lease = Lease(new_id(), 1)
    chunks = chunked(parts, at=SECOND)
    size = sum(len(chunk.data) for chunk in chunks)
    lines = sum(chunk.lines for chunk in chunks)
    crc = chunks[-1].crc if chunks else 0
    store.logs.append({lease: chunks}, {lease: LogEnd(size, lines, crc, None)})
    for _ in range(compact):
        store.upkeep.compact()
    return lease


def read(store, lease, **options):
    part = part_of(options)
    return b"".join(chunk.data for chunk in part.chunks(store.logs, lease))


def split(data):
    """Lines with their newlines; the last one may have none."""
    return data.splitlines(keepends=True)


half_compacted = settings(
    max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@half_compacted
@given(PARTS, st.integers(0, 9), st.integers(1, 40), st.integers(0, 40))
def test_lines_are_those_of_the_whole_log(one_store, small_blocks, parts, steps, first, more):
    lease = store_log(one_store, parts, compact=steps)
    lines = split(b"".join(data for data, _ in parts))

    found = read(one_store, lease, lines=(first, first + more))
    assert b"".join(lines[first - 1 : first + more]) == found
    assert b"".join(lines[first - 1 :]) == read(one_store, lease, lines=(first, None))
    assert b"".join(lines[: first + more]) == read(one_store, lease, lines=(None, first + more))


@half_compacted
@given(PARTS, st.integers(0, 9), st.integers(1, 40))
def test_a_tail_is_the_last_lines_of_the_log_or_of_a_stream(
    one_store, small_blocks, parts, steps, count
):
    lease = store_log(one_store, parts, compact=steps)
    whole = b"".join(data for data, _ in parts)
    errors = b"".join(data for data, stream in parts if stream == Stream.ERR)

    assert b"".join(split(whole)[-count:]) == read(one_store, lease, tail=count)
    assert b"".join(split(errors)[-count:]) == read(one_store, lease, tail=count, stream="err")


@half_compacted
@given(PARTS, st.integers(0, 9), st.integers(0, 26), st.integers(0, 26))
def test_times_are_those_of_chunks(one_store, small_blocks, parts, steps, since, until):
    lease = store_log(one_store, parts, compact=steps)
    pieces = [data for data, _ in parts]  # the first one ends at second 1
    part = LogPart(since=since * SECOND, until=until * SECOND)

    found = b"".join(chunk.data for chunk in part.chunks(one_store.logs, lease))

    assert b"".join(pieces[max(0, since - 1) : max(1, until)]) == found


@half_compacted
@given(PARTS, st.integers(0, 9))
def test_chunks_backwards_are_those_forwards(one_store, small_blocks, parts, steps):
    lease = store_log(one_store, parts, compact=steps)

    assert chunked(parts, at=SECOND) == list(one_store.logs.backwards(lease))[::-1]


@half_compacted
@given(PARTS, st.integers(0, 90), st.integers(1, 30), st.integers(1, 30))
def test_all_that_is_asked_for_counts(one_store, small_blocks, parts, offset, last, tail):
    lease = store_log(one_store, parts)
    whole = b"".join(data for data, _ in parts)
    end = len(b"".join(split(whole)[:last]))
    begin = max(offset, len(whole) - len(b"".join(split(whole)[-tail:])))

    found = read(one_store, lease, offset=offset, lines=(None, last), tail=tail)

    assert whole[begin : max(begin, end)] == found


@pytest.mark.only("sqlite")
def test_a_line_in_a_long_log_is_found_in_few_steps(store):
    lease, steps = Lease(new_id(), 1), []
    parts = [b"line\n" * 100] * 20_000
    chunks = chunked(parts)
    crc = zlib.crc32(b"".join(parts))
    store.logs.append({lease: chunks}, {lease: LogEnd(10_000_000, 2_000_000, crc, None)})
    with store.log_database.transaction("BEGIN") as tx:
        tx._connection.set_trace_callback(steps.append)
    try:
        assert b"line\n" * 2 == read(store, lease, lines=(1_234_567, 1_234_568))
        assert b"line\n" * 3 == read(store, lease, tail=3)
    finally:
        with store.log_database.transaction("BEGIN") as tx:
            tx._connection.set_trace_callback(None)

    assert len([step for step in steps if "SELECT" in step]) < 120


def test_a_part_that_is_not_there_yet_is_empty(store):
    lease = store_log(store, [b"one\n", b"two"])

    assert b"" == read(store, lease, lines=(4, None))
    assert b"" == read(store, lease, since="2126-01-01")
    assert b"" == read(store, lease, offset=100)
    assert b"" == read(store, Lease(new_id(), 1), tail=5, lines=(3, 5), since="1h", until="1h")


@pytest.mark.parametrize(
    "options",
    [
        {"lines": (0, 5)},
        {"lines": (5, 4)},
        {"lines": (-1, None)},
        {"tail": 0},
        {"tail": True},
        {"offset": -1},
        {"stream": "both"},
        {"stream": 7},
        {"since": "yesterday"},
    ],
)
def test_a_part_that_cannot_be_is_refused(options):
    with pytest.raises(BadOption):
        part_of(options)
