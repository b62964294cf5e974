"""Compaction: an ended log takes less room and says the same, whoever dies or interferes."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import logs
from helpers.databases import again, fresh_store
from helpers.factories import a_new_run, enqueue
from helpers.processes import at_once, compact_all
from helpers.waiting import wait_until
from holdfast.core.errors import StoreUnavailable
from holdfast.core.ids import new_id
from holdfast.core.models import Lease, LogChunk, LogEnd, LogPosition, Stream
from holdfast.store import blocks

TESTS = Path(__file__).parents[1]


@pytest.fixture
def lease():
    return Lease(new_id(), 1)


@pytest.fixture
def small_blocks(monkeypatch):
    """Make blocks so small that a short log needs several."""
    monkeypatch.setattr(blocks, "BYTES", 60)
    monkeypatch.setattr(blocks, "PIECES", 4)


def fill(store, lease, count, size=1 << 16, *, end=True):
    """Store a log of many chunks of numbered lines; return the digest of all its bytes."""
    found, chunks, position = hashlib.sha256(), [], LogPosition()
    for number in range(count):
        data = b"".join(b"%d: line %d of the log\n" % (number, n) for n in range(size // 21 + 1))
        data = data[:size]
        found.update(data)
        start, line, crc = position[:3]
        lines, crc = data.count(b"\n"), zlib.crc32(data, crc)
        stream = Stream.OUT if number % 3 else Stream.ERR
        chunk = LogChunk(start, line, lines, stream, 1, start + size, 1000 * number, crc, data)
        chunks.append(chunk)
        position = LogPosition(start + size, line + lines, crc)
    store.logs.append({lease: chunks}, {lease: LogEnd(*position[:3], None)} if end else {})
    return found.hexdigest()


def compact(store):
    """Take steps until nothing is left to do."""
    while store.upkeep.compact():
        pass


def rows(store, table):
    count = store.log_database.dialect.adapt(f"SELECT COUNT(*) FROM @{table}").text
    with store.log_database.transaction("BEGIN") as tx:
        return tx._connection.execute(count).fetchone()[0]


def digest(store, lease):
    found = hashlib.sha256()
    for chunk in store.logs.iterate(lease):
        found.update(chunk.data)
    return found.hexdigest()


CHUNKS = st.lists(
    st.tuples(
        st.one_of(st.binary(min_size=1, max_size=40), st.just(b"line\n")),
        st.sampled_from(list(Stream)),
        st.integers(0, 10**15),
    ),
    min_size=1,
    max_size=40,
)


@pytest.fixture(scope="module")
def one_store(template, tmp_path_factory):
    """One store for all examples of a property: each uses a log of its own."""
    store = fresh_store(template, tmp_path_factory.mktemp("upkeep"))
    yield store
    store.close()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=CHUNKS, steps=st.integers(0, 12), offset=st.integers(0, 1700))
def test_a_reader_sees_the_same_chunks_before_during_and_after(
    one_store, small_blocks, parts, steps, offset
):
    lease = Lease(new_id(), 1)
    chunks, start, line, crc = [], 0, 0, 0
    for data, stream, at in parts:
        lines, crc = data.count(b"\n"), zlib.crc32(data, crc)
        chunks.append(LogChunk(start, line, lines, stream, int(stream), start, at, crc, data))
        start, line = start + len(data), line + lines
    one_store.logs.append({lease: chunks}, {lease: LogEnd(start, line, crc, None)})
    expected = list(one_store.logs.iterate(lease, offset))
    assert chunks == list(one_store.logs.iterate(lease))

    for _ in range(steps):
        one_store.upkeep.compact()
    assert chunks == list(one_store.logs.iterate(lease))
    assert expected == list(one_store.logs.iterate(lease, offset))

    compact(one_store)
    assert chunks == list(one_store.logs.iterate(lease))
    assert expected == list(one_store.logs.iterate(lease, offset))


def test_many_chunks_become_few_blocks_that_take_less_room(store, lease):
    expected = fill(store, lease, 64)
    compact(store)

    assert (0, 16) == (rows(store, "log_chunk"), rows(store, "log_block"))
    assert expected == digest(store, lease)
    with store.log_database.transaction() as tx:
        total = store.log_database.dialect.adapt("SELECT SUM(LENGTH(data)) FROM @log_block").text
        (stored,) = tx._connection.execute(total).fetchone()
    assert stored < 64 * (1 << 16) / 4


def test_a_log_that_has_not_ended_is_left_alone(store, lease):
    fill(store, lease, 8, end=False)

    assert not store.upkeep.compact()
    assert (8, 0) == (rows(store, "log_chunk"), rows(store, "log_block"))


def test_a_short_log_in_one_chunk_is_left_as_it_is(store, lease):
    logs.append(store, lease, b"hello\n")
    logs.end(store, lease)

    assert not store.upkeep.compact()
    assert 1 == rows(store, "log_chunk")


def test_a_log_of_thousands_of_tiny_chunks_becomes_a_few_blocks(store, lease):
    fill(store, lease, 10_000, size=24)
    compact(store)

    assert (0, 3) == (rows(store, "log_chunk"), rows(store, "log_block"))
    assert 10_000 == len(list(store.logs.iterate(lease)))


def test_a_log_without_output_needs_no_compaction(store, lease):
    logs.end(store, lease)

    assert not store.upkeep.compact()


def test_nothing_is_appended_to_a_log_that_has_ended_not_even_after_its_compaction(store, lease):
    """A shipper that was stopped for long still has the files, and an old idea of the log."""
    expected = fill(store, lease, 8)
    late = [c._replace(data=b"late") for c in list(store.logs.iterate(lease))[4:5]]

    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="ended"):
            store.logs.append({lease: late}, {})
        compact(store)

    assert store.logs.position(lease).ended
    assert expected == digest(store, lease)


def test_a_log_that_is_deleted_in_the_middle_of_its_compaction_is_gone(store, lease, small_blocks):
    fill(store, lease, 8, size=24)
    store.upkeep.compact()
    store.logs.delete([lease.run_id])
    compact(store)
    while store.upkeep.sweep():
        compact(store)

    assert [] == store.logs.read(lease)
    assert (0, 0, 0) == tuple(rows(store, f"log_{name}") for name in ("chunk", "block", "end"))


def test_the_logs_take_less_room_when_one_of_them_is_deleted(store, lease):
    """What is measured must shrink: the retention by size deletes until it has."""
    fill(store, lease, 64)
    before = store.upkeep.room().size
    store.logs.delete([lease.run_id])
    while store.upkeep.sweep():
        pass

    assert store.upkeep.room().size < before - 32 * (1 << 16)


@pytest.mark.only("sqlite")
def test_several_workers_that_compact_at_once_change_nothing_twice(store):
    leases = [Lease(new_id(), 1) for _ in range(4)]
    expected = [fill(store, lease, 24) for lease in leases]

    steps = at_once(3, compact_all, Path(store.log_database.dialect.path).parent)

    assert 0 < min(steps)
    assert expected == [digest(store, lease) for lease in leases]
    assert (0, 4 * 6) == (rows(store, "log_chunk"), rows(store, "log_block"))


@pytest.mark.only("sqlite")
def test_compaction_that_is_killed_again_and_again_loses_nothing_and_comes_to_its_end(store, lease):
    expected = fill(store, lease, 200)
    folder = Path(store.log_database.dialect.path).parent
    kills = 0
    while rows(store, "log_chunk"):
        left = rows(store, "log_chunk")
        process = subprocess.Popen([sys.executable, "-c", COMPACT, str(folder)], cwd=TESTS)
        few = random.randint(1, 40)
        wait_until(lambda: rows(store, "log_chunk") <= max(0, left - few), within=20)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert expected == digest(store, lease)

    compact(store)
    assert kills > 3
    assert 50 == rows(store, "log_block")
    assert expected == digest(store, lease)


COMPACT = """
import sys
from helpers.processes import compact_all

class NobodyElse:
    def wait(self):
        pass

compact_all(NobodyElse(), 0, sys.argv[1])
input()
"""


@pytest.mark.only("sqlite")
def test_the_file_gives_the_room_back_and_keeps_some_for_the_logs_to_come(store, lease):
    file = store.log_database.dialect.path
    expected = fill(store, lease, 1000)
    compact(store)
    while store.upkeep.give_back():
        pass
    assert expected == digest(store, lease)
    store.close()  # the last connection writes everything into the file

    other = again(store)
    assert file.stat().st_size < 1000 * (1 << 16) / 2
    assert expected == digest(other, lease)
    other.close()


def test_memory_does_not_grow_with_the_log(store, lease):
    expected = fill(store, lease, 400)
    tracemalloc.start()
    try:
        compact(store)
        assert expected == digest(store, lease)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 << 20


@pytest.fixture
def no_autovacuum(store):
    """Keep the server's own vacuum, which comes once a minute, out of the table of live runs."""
    off = "ALTER TABLE holdfast.live SET (autovacuum_enabled = off)"
    store.database.write(lambda tx: tx.script([off]))


def leave_dead_rows(store, count=10_500):
    """Have runs come and go; wait until the server has counted them."""
    before = store.upkeep._dead_rows()[0]
    store.runs.insert([a_new_run() for _ in range(count)])
    store.database.write(lambda tx: tx.script(["DELETE FROM holdfast.live"]))
    wait_until(lambda: store.upkeep._dead_rows()[0] >= before + count, within=30)


@pytest.mark.only("postgres")
@pytest.mark.usefixtures("no_autovacuum")
def test_dead_rows_that_claims_would_walk_over_are_taken_away(store):
    assert not store.upkeep.vacuum()
    leave_dead_rows(store)

    assert store.upkeep.vacuum()

    assert 0 == store.upkeep._dead_rows()[0]
    assert not store.upkeep.vacuum()


@pytest.mark.only("postgres")
@pytest.mark.usefixtures("no_autovacuum")
def test_dead_rows_that_a_long_transaction_still_sees_are_not_tried_again_and_again(store):
    with closing(store.database.dialect.connect()) as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        leave_dead_rows(store)
        assert store.upkeep.vacuum()
        assert not store.upkeep.vacuum()
        leave_dead_rows(store)
        assert store.upkeep.vacuum()

    assert store.upkeep._dead_rows()[0] > 20_000
    leave_dead_rows(store)
    assert store.upkeep.vacuum()
    assert 0 == store.upkeep._dead_rows()[0]


@pytest.mark.only("sqlite", "mysql")
def test_a_database_without_dead_rows_is_left_alone(store):
    enqueue(store)
    assert not store.upkeep.vacuum()
