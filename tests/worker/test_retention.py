"""Retention: what is too old or too much goes, the oldest first, and says that it went."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from helpers import logs
from helpers.databases import settings_for
from helpers.factories import a_worker, claim_one, enqueue, settle
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended, whole_log
from holdfast import App, LogDeleted
from holdfast.core.clock import FixedClock
from holdfast.core.config import RetentionSettings
from holdfast.core.models import Lease, LogEnd
from holdfast.follow import follow
from holdfast.store import open_store
from holdfast.worker.janitor import Janitor
from holdfast.worker.keeper import Keeper
from holdfast.worker.retention import BATCH, PAUSE

DAY = 86_400
TESTS = Path(__file__).parents[1]


@pytest.fixture
def kept(tmp_path):
    """A store whose clock stands still."""
    with closing(open_store(settings_for(tmp_path), FixedClock())) as store:
        store.prepare()
        yield store


@pytest.fixture
def worker_id(kept):
    return a_worker(kept)


def a_log(store, worker_id, *pieces, outcome="succeeded"):
    """A run that has written something in one attempt and, unless it was released, has ended."""
    enqueue(store)
    claimed = claim_one(store, worker_id)
    for piece in pieces:
        logs.append(store, claimed.lease, piece)
    logs.end(store, claimed.lease)
    settle(store, worker_id, claimed, outcome, logged=True)
    return claimed.lease


def noise(size=1 << 16):
    """Bytes that no compression makes smaller."""
    return random.randbytes(size)


def keep(store, steps=10_000, **settings):
    """Let a keeper work until nothing is left to do; return how many steps that took."""
    keeper = Keeper(store, RetentionSettings(**settings), store.database.clock)
    for step in range(steps):
        if not keeper.run_once(busy=False):
            return step
    return steps


def size_of(store, lease):
    return sum(len(chunk.data) for chunk in store.logs.iterate(lease))


def rows(store, table):
    with store.log_database.transaction("BEGIN") as tx:
        return tx._connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]


def test_a_log_that_is_too_old_goes_and_its_record_stays(kept, worker_id):
    old = a_log(kept, worker_id, b"one\ntwo\n", noise())
    end = kept.logs.end(old)
    kept.database.clock.advance(2 * DAY)
    young = a_log(kept, worker_id, b"three\n")
    kept.database.clock.advance(DAY)

    keep(kept, log_days=1.5)

    assert (0, 6) == (size_of(kept, old), size_of(kept, young))
    assert end._replace(deleted_at=kept.database.clock.now()) == kept.logs.end(old)
    assert kept.logs.end(young).deleted_at is None
    assert 0 == rows(kept, "log_block") == rows(kept, "log_deletion")


def test_when_there_are_too_many_bytes_the_oldest_go_first(kept, worker_id):
    leases = []
    for _ in range(20):
        leases.append(a_log(kept, worker_id, noise(), noise()))
        kept.database.clock.advance(60)

    keep(kept, log_bytes=1_500_000)

    left = [bool(size_of(kept, lease)) for lease in leases]
    assert sorted(left) == left  # none is older than one that went
    assert 1_200_000 < kept.upkeep.room().size <= 1_500_000
    assert 9 <= sum(left) <= 11


def test_what_fits_once_it_is_compacted_stays(kept, worker_id):
    leases = [a_log(kept, worker_id, *[b"the same line\n" * 4000] * 4) for _ in range(8)]

    keep(kept, log_bytes=1_400_000)

    assert all(size_of(kept, lease) for lease in leases)
    assert kept.upkeep.room().size < 1_200_000


def test_without_a_limit_everything_stays(kept, worker_id):
    lease = a_log(kept, worker_id, noise())
    kept.database.clock.advance(10_000 * DAY)

    keep(kept)

    assert 1 << 16 == size_of(kept, lease)


def test_logs_of_runs_that_have_not_ended_stay_and_hold_up_no_others(kept, worker_id):
    waiting = []
    for _ in range(BATCH + 50):
        waiting.append(a_log(kept, worker_id, b"first attempt\n", outcome="released"))
        queued = kept.runs.get(waiting[-1].run_id)
        kept.runs.cancel(queued.run_id, by="ann")
    for lease in waiting:
        kept.runs.retry(lease.run_id)
    gone = a_log_of_a_cancelled_run(kept, worker_id)
    kept.database.clock.advance(2 * DAY)

    keep(kept, log_days=1, log_bytes=1)

    assert 0 == size_of(kept, gone)
    assert all(14 == size_of(kept, lease) for lease in waiting)


def a_log_of_a_cancelled_run(store, worker_id):
    run_id = enqueue(store, priority=100)
    claimed = claim_one(store, worker_id)
    assert run_id == claimed.run_id
    logs.append(store, claimed.lease, b"x" * 100)
    logs.end(store, claimed.lease)
    settle(store, worker_id, claimed, "cancelled", logged=True)
    return claimed.lease


def test_a_log_that_still_grows_is_not_touched(kept, worker_id):
    enqueue(kept)
    claimed = claim_one(kept, worker_id)
    logs.append(kept, claimed.lease, noise())
    kept.database.clock.advance(2 * DAY)

    keep(kept, log_days=1, log_bytes=1)

    assert 1 << 16 == size_of(kept, claimed.lease)


def test_it_looks_again_after_a_pause(kept, worker_id):
    keeper = Keeper(kept, RetentionSettings(log_days=1), kept.database.clock)
    while keeper.run_once(busy=False):
        pass
    lease = a_log(kept, worker_id, b"x\n")
    kept.database.clock.advance(2 * DAY)
    kept.database.clock.advance(PAUSE)
    while keeper.run_once(busy=False):
        pass

    assert kept.logs.end(lease).deleted_at


def test_whoever_reads_a_deleted_log_is_told(kept, worker_id, tmp_path):
    lease = a_log(kept, worker_id, b"one\ntwo\n")
    kept.database.clock.advance(2 * DAY)
    keep(kept, log_days=1)
    run = App(store=kept.url).get_run(lease.run_id)

    for read in (run.log, lambda: list(run.log_lines(tail=1)), lambda: run.log(lines=(1, 1))):
        with pytest.raises(
            LogDeleted, match=r"deleted by the retention on .* \(2 lines, 8 bytes\)"
        ):
            read()
    (end,) = [item for _, item in follow(kept, lease.run_id)]
    assert isinstance(end, LogEnd)
    assert end.deleted_at


def test_a_reader_in_the_middle_of_a_log_that_is_deleted_is_told(kept, worker_id):
    lease = a_log(kept, worker_id, *[noise() for _ in range(20)])
    run = App(store=kept.url).get_run(lease.run_id)
    chunks = run.log_chunks()
    next(chunks)
    kept.database.clock.advance(2 * DAY)
    keep(kept, log_days=1)

    with pytest.raises(LogDeleted):
        list(chunks)


def test_the_log_goes_with_its_run_also_when_it_is_long(kept, worker_id):
    leases = [a_log(kept, worker_id, *[noise(200)] * 700) for _ in range(3)]
    short = a_log(kept, worker_id, b"x\n")
    keep(kept)
    kept.database.clock.advance(40 * DAY)
    assert 4 == Janitor(kept, RetentionSettings(), kept.database.clock).run_once()

    keep(kept)

    assert (0, 0, 0, 0) == tuple(
        rows(kept, f"log_{name}") for name in ("chunk", "block", "end", "deletion")
    )
    assert kept.logs.end(short) is None is kept.logs.end(leases[0])


def test_a_log_that_cannot_be_kept_holds_up_no_other(kept, worker_id, caplog):
    sick, well = (a_log(kept, worker_id, *[b"line\n" * 4000] * 3) for _ in range(2))
    with kept.log_database.transaction() as tx:
        tx._connection.execute(
            "UPDATE log_chunk SET data = 7 WHERE run_id = ? AND start = 0", [sick.run_id]
        )
    keeper = Keeper(kept, RetentionSettings(), kept.database.clock)

    for _ in range(100):
        keeper.run_once(busy=False)
        kept.database.clock.advance(60)

    with kept.log_database.transaction("BEGIN") as tx:
        assert [sick.run_id] == [row[0] for row in tx.rows("loose_logs", limit=9)]
    assert 60_000 == size_of(kept, well)
    assert "upkeep" in caplog.text


def test_what_is_deleted_goes_step_by_step_and_never_leaves_a_gap(kept, worker_id):
    lease = a_log(kept, worker_id, *[noise(1000)] * 1500)
    whole = b"".join(chunk.data for chunk in kept.logs.iterate(lease))
    kept.upkeep.retire([lease])
    sizes = []
    while kept.upkeep.sweep():
        left = b"".join(chunk.data for chunk in kept.logs.iterate(lease))
        sizes.append(len(left))
        assert whole.startswith(left)

    assert sorted(sizes, reverse=True) == sizes
    assert len(sizes) > 4


def test_a_deletion_that_is_killed_again_and_again_comes_to_its_end(kept, worker_id, tmp_path):
    gone = [a_log(kept, worker_id, *[noise(1000)] * 2000) for _ in range(2)]
    stays = a_log(kept, worker_id, noise())
    kept.upkeep.retire(gone)
    while rows(kept, "log_deletion"):
        left = rows(kept, "log_chunk")
        process = subprocess.Popen([sys.executable, "-c", SWEEP, str(tmp_path)], cwd=TESTS)
        wait_until(lambda: rows(kept, "log_chunk") < left or not rows(kept, "log_deletion"), 20)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert [0, 0, 1 << 16] == [size_of(kept, lease) for lease in (*gone, stays)]


SWEEP = """
import sys
from helpers.databases import settings_for
from holdfast.store import open_store

store = open_store(settings_for(sys.argv[1]))
while store.upkeep.sweep():
    pass
input()
"""


def test_a_worker_keeps_its_store_below_the_limit(worker, tasks, store, monkeypatch):
    monkeypatch.setenv("HOLDFAST_RETENTION_LOG_BYTES", "300kB")
    worker(executors=1)
    runs = []
    for _ in range(12):
        run = tasks.write_bytes.enqueue([*random.randbytes(50_000), 10])
        ended(run)
        whole_log(store, run)
        runs.append(run)

    wait_until(lambda: store.upkeep.room().size < 300_000, within=4 * PATIENCE)
    assert store.logs.end(Lease(runs[0].id, 1)).deleted_at
    assert store.logs.end(Lease(runs[-1].id, 1)).deleted_at is None
