from __future__ import annotations

import threading
from itertools import islice

import pytest

from helpers import logs
from helpers.databases import again
from helpers.factories import a_run, a_worker, claim_one, enqueue, settle
from holdfast.core.models import LogChunk, LogEnd, Stream
from holdfast.core.states import AttemptOutcome, RunState
from holdfast.follow import Quiet, follow

POLL = 0.002


def read(store, run_id, **options):
    """Follow to the end: for each attempt its bytes, and its final record."""
    data, ends = {}, {}
    for attempt, item in follow(store, run_id, poll=POLL, **options):
        match item:
            case LogChunk():
                assert len(data.get(attempt, b"")) + options.get("offset", 0) == item.start
                data[attempt] = data.get(attempt, b"") + item.data
            case LogEnd():
                ends[attempt] = item
    return data, ends


@pytest.fixture
def worker_id(store):
    return a_worker(store)


@pytest.fixture
def attempt(store, worker_id):
    """Make an attempt: its log, whether that has its end, and what becomes of the run."""

    def make(*pieces, ended=True, outcome=AttemptOutcome.SUCCEEDED, **changes):
        claimed = claim_one(store, worker_id)
        for piece in pieces:
            logs.append(store, claimed.lease, piece)
        if ended and pieces:
            logs.end(store, claimed.lease)
        settle(store, worker_id, claimed, outcome, logged=bool(pieces), **changes)
        return claimed.lease

    return make


def test_chunks_that_arrive_while_following_come_once_and_in_order(store):
    run_id, claimed = a_run(store, "running")
    pieces = [b"%d\n" % number * (number % 7) for number in range(1, 300)]

    def ship(other):
        for piece in pieces:
            if piece:
                logs.append(other, claimed.lease, piece)
        worker_id = other.runs.get(run_id).worker_id
        settle(other, worker_id, claimed, logged=True)
        logs.end(other, claimed.lease)
        other.close()

    shipper = threading.Thread(target=ship, args=(again(store),))
    shipper.start()
    data, ends = read(store, run_id)
    shipper.join()

    assert b"".join(pieces) == data[1]
    assert {1} == set(ends)
    assert len(data[1]) == ends[1].size


def test_following_starts_at_the_byte_that_is_asked_for(store, attempt):
    run_id = enqueue(store)
    attempt(b"hello ", b"world\n")

    data, _ = read(store, run_id, offset=4)

    assert {1: b"o world\n"} == data


def test_an_attempt_that_wrote_nothing_ends_at_once(store, attempt):
    run_id = enqueue(store)
    attempt()

    assert ({}, {1: LogEnd(0, 0, 0, None)}) == read(store, run_id)


def test_a_run_that_never_started_yields_nothing(store):
    run_id = enqueue(store)
    store.runs.cancel(run_id, by="ann")

    assert [] == list(follow(store, run_id, poll=POLL))


def test_attempts_come_one_after_the_other(store, attempt):
    run_id = enqueue(store)
    attempt(b"one\n", outcome=AttemptOutcome.RELEASED)
    attempt(outcome=AttemptOutcome.RELEASED)
    attempt(b"three\n")

    items = list(follow(store, run_id, poll=POLL))

    assert [1, 1, 2, 3, 3] == [number for number, item in items if not isinstance(item, Quiet)]
    assert {1: b"one\n", 3: b"three\n"} == read(store, run_id)[0]


def test_only_the_attempt_that_is_asked_for_is_followed(store, attempt):
    run_id = enqueue(store)
    attempt(b"one\n", outcome=AttemptOutcome.RELEASED)
    attempt(b"two\n")

    assert {2: b"two\n"} == read(store, run_id, attempt=2)[0]
    assert {1: b"one\n"} == read(store, run_id, attempt=1)[0]


def test_an_attempt_that_will_never_be_is_not_waited_for(store, attempt):
    run_id = enqueue(store)
    attempt(b"one\n")

    assert ({}, {}) == read(store, run_id, attempt=7)


def test_a_chunk_stored_between_two_looks_is_not_lost(store, attempt, monkeypatch):
    run_id = enqueue(store)
    lease = attempt(b"early ", ended=False)
    look_for_end = store.logs.end

    def late_shipper(asked):
        if look_for_end(asked) is None:
            logs.append(store, lease, b"late\n")
            logs.end(store, lease)
        return look_for_end(asked)

    monkeypatch.setattr(store.logs, "end", late_shipper)

    assert {1: b"early late\n"} == read(store, run_id)[0]


def test_the_end_of_a_log_is_waited_for_after_the_run_has_ended(store, attempt):
    run_id = enqueue(store)
    lease = attempt(b"first\n", ended=False)
    seen = []

    for _, item in follow(store, run_id, poll=POLL):
        seen.append(item)
        if isinstance(item, Quiet):
            assert AttemptOutcome.SUCCEEDED == item.ended.outcome
            logs.append(store, lease, b"last\n")
            logs.end(store, lease)

    assert b"first\nlast\n" == b"".join(i.data for i in seen if isinstance(i, LogChunk))
    assert isinstance(seen[-1], LogEnd)


def test_a_log_that_is_late_does_not_hold_up_the_next_attempt(store, attempt):
    run_id = enqueue(store)
    first = attempt(b"cut", ended=False, outcome=AttemptOutcome.LOST)
    attempt(b"second\n")
    data, ends = {}, []

    for number, item in follow(store, run_id, poll=POLL, patience=0.02):
        match item:
            case LogChunk():
                data[number] = data.get(number, b"") + item.data
            case LogEnd():
                ends.append(number)
                if number == 2:
                    logs.append(store, first, b" off\n")
                    logs.end(store, first)

    assert {1: b"cut off\n", 2: b"second\n"} == data
    assert [2, 1] == ends


def test_what_is_missing_is_handed_on(store, worker_id):
    run_id = enqueue(store)
    claimed = claim_one(store, worker_id)
    logs.append(store, claimed.lease, b"x")
    logs.end(store, claimed.lease, missing="12 bytes: the disk was full")
    settle(store, worker_id, claimed, logged=True)

    assert "12 bytes: the disk was full" == read(store, run_id)[1][1].missing


def test_a_retry_is_waited_for(store, worker_id, attempt):
    run_id = enqueue(store)
    lease = attempt(b"no\n", outcome=AttemptOutcome.FAILED, state=RunState.QUEUED, failures=1)
    tried_again = False
    data = {}

    for number, item in follow(store, run_id, poll=POLL):
        if isinstance(item, LogChunk):
            data[number] = item.data
        if isinstance(item, Quiet) and not tried_again:
            assert RunState.QUEUED == item.run.state
            attempt(b"yes\n")
            tried_again = True

    assert 1 == lease.attempt
    assert {1: b"no\n", 2: b"yes\n"} == data


def test_following_tells_the_shipper_that_somebody_looks(store):
    run_id, _ = a_run(store, "running")

    list(islice(follow(store, run_id, poll=POLL), 2))

    assert {run_id} == store.logs.watched()


def test_reading_a_complete_log_writes_nothing(store, attempt):
    run_id = enqueue(store)
    attempt(b"all\n")

    read(store, run_id)

    assert set() == store.logs.watched()


def test_the_stream_of_each_chunk_is_kept(store, worker_id):
    run_id = enqueue(store)
    claimed = claim_one(store, worker_id)
    for stream in Stream:
        logs.append(store, claimed.lease, b"x", stream)
    logs.end(store, claimed.lease)
    settle(store, worker_id, claimed, logged=True)

    items = [item for _, item in follow(store, run_id) if isinstance(item, LogChunk)]

    assert list(Stream) == [chunk.stream for chunk in items]
