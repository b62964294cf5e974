"""Faults 13 and 14: the primary server is lost, or takes no writes, and a standby is promoted."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import closing, contextmanager

import pytest

from helpers.heavy import heavy
from helpers.pair import Pair
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    ended_all,
    lines_of,
    outcomes,
    running,
    wait_for_lines,
    whole_log,
)
from holdfast.core.config import StoreSettings
from holdfast.core.errors import HoldfastError
from holdfast.core.models import WorkerState
from holdfast.store import open_store
from holdfast.store.runs import RunFilter

QUICK = {"beat_seconds": 0.3, "lease_seconds": 3}
BACK_SECONDS = 5.0  # in which everything goes on after the promotion
ENOUGH = heavy(60, 1000)  # runs before and after it


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.stop()


@pytest.fixture
def store(pair, folder):
    """A new store whose address names both servers."""
    pair.primary.execute("CREATE DATABASE shop")
    with closing(open_store(StoreSettings(url=pair.url("shop")))) as store:
        store.prepare()
        yield store


@contextmanager
def clients(tasks, count=3):
    """Enqueue all the time, in several threads; gives the runs that were accepted."""
    accepted, refused, stop = [], [], threading.Event()

    def go_on():
        while not stop.is_set():
            try:
                accepted.append(tasks.stay.enqueue("run", 0))
            except HoldfastError as error:
                refused.append(error)

    threads = [threading.Thread(target=go_on) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield accepted
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [] == refused


def accept(runs, count):
    """Wait until so many more runs are accepted."""
    until = len(runs) + count
    wait_until(lambda: len(runs) >= until, within=60)


def assert_all_ended_once(store, runs):
    """What was accepted is there, nothing else is, and each run has one good end."""
    assert {"succeeded"} == {record.state for record in ended_all(runs, within=60)}
    there = {record.run_id for record in store.runs.list(RunFilter(limit=100_000))}
    assert {run.id for run in runs} == there
    for run in runs:
        *before, last = outcomes(run)
        assert ("succeeded", {"lost"}) == (last, {"lost", *before})


def test_every_accepted_run_ends_once_when_the_primary_server_is_lost(
    worker, tasks, store, pair, folder
):
    assert "the loss of the server" in store.durability().survives
    workers = [worker(executors=2, **QUICK) for _ in range(2)]
    held = tasks.hold.enqueue("held", "go")
    counted = tasks.app.find_task("count_lines").enqueue(witness="seen", until="go")
    running(held)
    wait_for_lines("seen", 100)

    with clients(tasks) as accepted:
        accept(accepted, ENOUGH)
        pair.primary.stop(signal.SIGKILL)
        pair.standby.promote()
        promoted_at = time.monotonic()
        first = tasks.add.enqueue(3, 4)
        assert 7 == first.result(BACK_SECONDS)
        assert time.monotonic() < promoted_at + BACK_SECONDS
        accept(accepted, ENOUGH)
    (folder / "go").touch()

    assert_all_ended_once(store, [*accepted, first, held, counted])
    assert [["succeeded"]] * 2 == [outcomes(held), outcomes(counted)]
    log = whole_log(store, counted)
    assert "".join(f"line {n}\n" for n in range(log.count(b"\n"))).encode() == log
    assert log.count(b"\n") == len(lines_of("seen"))
    for here in workers:
        assert here.process.poll() is None
        assert WorkerState.UP == here.record().state
        assert [] == here.events("WorkerFenced") + here.events("DutyFailed")


def test_server_that_takes_no_writes_any_more_is_left_for_the_one_that_does(
    worker, tasks, store, pair
):
    """As in a planned change: the old one is there all the while, and can be read."""
    here = worker(executors=2, **QUICK)
    old = pair.primary

    with clients(tasks) as accepted:
        accept(accepted, ENOUGH)
        old.execute(
            "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
        )
        wait_until(lambda: not is_writing(old), within=PATIENCE)
        pair.standby.promote()
        first = tasks.add.enqueue(3, 4)
        assert 7 == first.result(BACK_SECONDS)
        accept(accepted, ENOUGH)

    assert_all_ended_once(store, [*accepted, first])
    assert here.process.poll() is None
    assert [] == here.events("WorkerFenced") + here.events("DutyFailed")


def is_writing(server):
    """Tell whether the standby does not have everything yet, or somebody has begun before."""
    ((writing, behind),) = server.execute(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL),"
        " (SELECT count(*) FROM pg_stat_replication WHERE flush_lsn <> pg_current_wal_lsn())"
    )
    return writing or behind
