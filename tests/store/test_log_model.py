"""The logs of a store against plain bytes: whoever ships, compacts or fails, none is lost (S9).

Several shippers go on with one log, each from where it last saw it end, as it happens when a
worker is held for dead and wakes up again.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from helpers.databases import IN_MEMORY, fresh_store
from helpers.faulty import DONE_THEN_ERROR, FAULTS, OWNERSHIP_LOST, Faults
from helpers.logs import next_chunk
from holdfast.core.errors import StoreUnavailable
from holdfast.core.ids import RunId, new_id
from holdfast.core.models import Lease, LogEnd, Stream
from holdfast.store import queries

LOGS = 2
STREAMS = st.sampled_from([Stream.OUT, Stream.ERR, Stream.LOG])
WHATEVER = st.sampled_from([None] * 6 + [fault for fault in FAULTS if fault != OWNERSHIP_LOST])
GENTLE = {"deadline": None, "suppress_health_check": list(HealthCheck)}


class LogMachine(RuleBasedStateMachine):
    """Ship, compact and read in any order, and compare the logs with what was accepted."""

    template = None
    spoil = None  # a function that takes a guard away from the store
    struck = None  # a Counter of the faults that there were

    positions = Bundle("positions")  # what a shipper knows: whose log, and where it ends

    @initialize()
    def open(self):
        self.folder = tempfile.mkdtemp(prefix="holdfast-logs-", dir=IN_MEMORY)
        self.store = fresh_store(self.template, self.folder)
        if self.spoil:
            self.spoil(self.store)
        self.faults = Faults(self.store.log_database, self.struck)
        self.logs = {Lease(RunId(new_id()), number): b"" for number in range(LOGS)}
        self.ended = set()

    def teardown(self):
        try:
            while self.store.upkeep.compact():
                pass
            self.logs_are_whole()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(target=positions, number=st.integers(0, LOGS - 1))
    def look(self, number):
        lease = [*self.logs][number]
        position = self.store.logs.position(lease)
        log = self.logs[lease]
        assert (len(log), log.count(b"\n")) == (position.size, position.lines)
        assert zlib.crc32(log) == position.crc
        assert (lease in self.ended) == position.ended
        return lease, position

    @rule(
        known=positions,
        data=st.binary(max_size=5) | st.just(b"a line\n"),
        stream=STREAMS,
        last=st.sampled_from([False, False, False, True]),
        fault=WHATEVER,
    )
    def ship(self, known, data, stream, last, fault):
        """Go on from a position that may be old by now."""
        lease, position = known
        chunks = {lease: [next_chunk(position, data, 0, stream)]} if data else {}
        log = self.logs[lease] + data
        ends = {lease: LogEnd(len(log), log.count(b"\n"), zlib.crc32(log), None)} if last else {}
        is_old = position.size != len(self.logs[lease]) or lease in self.ended
        if not data or (last and is_old):
            return  # nothing to say; who writes an end has just read the position
        done = self.append(chunks, ends, fault)
        assert not (done and is_old), "two shippers wrote the same place"
        assert done or is_old or fault, "the only shipper was refused"
        if done:
            self.logs[lease] = log
            self.ended |= set(ends)

    def append(self, chunks, ends, fault):
        """Tell whether it is there: who does not know looks, as a shipper does."""
        with self.faults.next(fault):
            try:
                self.store.logs.append(chunks, ends)
            except StoreUnavailable as error:
                unknown = error.unknown
            else:
                return True
        assert unknown <= (fault == DONE_THEN_ERROR), "it says what it knows"
        return unknown

    @rule(fault=WHATEVER)
    def compact(self, fault):
        with self.faults.next(fault):
            try:
                self.store.upkeep.compact()
            except StoreUnavailable:
                assert fault

    @rule(number=st.integers(0, LOGS - 1), share=st.floats(0, 1))
    def read_from(self, number, share):
        lease = [*self.logs][number]
        log = self.logs[lease]
        offset = int(share * len(log))
        assert log[offset:] == b"".join(c.data for c in self.store.logs.iterate(lease, offset))

    @rule()
    def logs_are_whole(self):
        for lease, log in self.logs.items():
            chunks = list(self.store.logs.iterate(lease))
            assert log == b"".join(chunk.data for chunk in chunks), "S9"
            lines = 0
            for chunk in chunks:
                assert lines == chunk.line
                lines += chunk.lines
            end = self.store.logs.end(lease)
            assert (lease in self.ended) == (end is not None)
            if end is not None:
                assert (len(log), log.count(b"\n"), zlib.crc32(log)) == end[:3]


def run_machine(template, spoil=None, **options):
    """Run the machine on copies of an empty store."""
    own = {"template": template, "spoil": staticmethod(spoil), "struck": Counter()}
    machine = type("Machine", (LogMachine,), own)
    run_state_machine_as_test(machine, settings=settings(**GENTLE, **options))
    return machine


def test_no_line_is_lost_or_doubled(template):
    machine = run_machine(template, max_examples=200, stateful_step_count=40)

    assert set(FAULTS) - {OWNERSHIP_LOST} == set(machine.struck)


def two_at_one_place(store):
    with store.log_database.transaction() as tx:
        tx.script(["DROP INDEX log_chunk_start_idx"])


def on_after_the_end(store):
    sql = queries.load(store.log_database.dialect.name)["append_chunk"]
    guard = (
        "WHERE NOT EXISTS (SELECT 1 FROM @log_end WHERE run_id = :run_id AND attempt = :attempt)"
    )
    assert guard in sql
    changed = store.log_database.dialect.adapt(sql.replace(guard, ""))
    store.log_database._queries = {**store.log_database._queries, "append_chunk": changed}


def done_is_not_done(store):
    store.log_database.dialect.is_half_done = lambda _: False


@pytest.mark.parametrize("spoil", [on_after_the_end, done_is_not_done])
def test_the_machine_finds_a_missing_guard(template, spoil):
    assert_found(template, spoil)


@pytest.mark.only("sqlite", "postgres")  # on MySQL that index is the table itself
def test_the_machine_finds_two_chunks_at_one_place(template):
    assert_found(template, two_at_one_place)


def assert_found(template, spoil):
    """The machine must tell of what is spoilt, however it does."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever tells of it
        run_machine(
            template,
            spoil,
            max_examples=300,
            stateful_step_count=40,
            phases=[Phase.generate],
            derandomize=True,
            print_blob=False,
            report_multiple_bugs=False,
        )

    assert not isinstance(caught.value, KeyboardInterrupt)
