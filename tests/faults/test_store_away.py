"""The store cannot be written to for a while."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from contextlib import ExitStack, closing, contextmanager

import pytest

from helpers.databases import settings_for
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended_all, outcomes, wait_for_lines, whole_log
from holdfast import StoreUnavailable
from holdfast.core.models import WorkerState
from holdfast.store import open_store
from holdfast.store.runs import RunFilter

AWAY_SECONDS = 5.0


@contextmanager
def locked(store):
    """Keep everybody else out of both files of the store, as a backup or a big migration does."""
    files = [store.database.dialect.path, store.log_database.dialect.path]
    with ExitStack() as stack:
        for file in files:
            connection = sqlite3.connect(file, timeout=10, isolation_level=None)
            stack.enter_context(closing(connection)).execute("BEGIN EXCLUSIVE")
        yield


def until(moment):
    wait_until(lambda: time.monotonic() >= moment, within=2 * AWAY_SECONDS)


def test_nothing_is_lost_while_the_store_is_locked_for_seconds(worker, tasks, store, folder):
    here = worker(executors=2, beat_seconds=0.2, lease_seconds=3)
    other = worker("--queues", "mail", executors=1, beat_seconds=0.2, lease_seconds=3)
    runs = [tasks.hold.enqueue(str(number), "go") for number in range(2)]
    talker = tasks.app.run_command(["sh", "-c", "seq 20000; test -e go; sleep 1; seq 20000"])
    runs += [tasks.stay.enqueue(str(number), 0.01) for number in range(20)]
    wait_for_lines("witness", 2)
    client = []
    waiting = threading.Thread(target=lambda: client.append(tasks.add.enqueue(1, 2)))

    with locked(store):
        away_until = time.monotonic() + AWAY_SECONDS
        (folder / "go").touch()
        waiting.start()
        wait_until(lambda: here.events("StoreAway"), within=PATIENCE)
        until(away_until)
    waiting.join()

    assert {"succeeded"} == {record.state for record in ended_all([*runs, *client, talker])}
    assert [["succeeded"]] * 22 == [outcomes(run) for run in runs]
    assert 2 * "".join(f"{n}\n" for n in range(1, 20001)) == whole_log(store, talker).decode()
    assert [1, 1] == [len(here.events(name)) for name in ("StoreAway", "StoreBack")]
    for each in (here, other):
        assert WorkerState.UP == each.record().state
        assert [] == each.events("WorkerFenced") + each.events("DutyFailed")


def test_worker_that_starts_while_the_store_is_locked_waits_for_it(worker, tasks, store):
    with locked(store):
        here = worker(executors=1, ready=False)
        until(time.monotonic() + 3)

    here.wait_ready()
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)


@pytest.fixture
def small_disk(folder):
    """A folder on a file system of two megabytes."""
    place = folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    subprocess.run(mount, check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place):
    """Write until there is no room, and return the file that holds it."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def test_enqueue_on_a_full_disk_refuses_and_what_was_accepted_is_carried_out(
    small_disk, worker, tasks
):
    small = open_store(settings_for(small_disk, wait_seconds=1))
    small.prepare()
    tasks.app.store = worker.store = small
    accepted = []
    filler = fill(small_disk)

    with closing(small):
        with pytest.raises(StoreUnavailable, match="full"):
            accepted.extend(tasks.add.enqueue(number, 1) for number in range(10_000))
        assert len(accepted) == len(small.runs.list(RunFilter(limit=10_000)))
        filler.unlink()
        worker(executors=1)

        assert [n + 1 for n in range(len(accepted))] == [r.result(PATIENCE) for r in accepted]
        assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)


def test_full_disk_under_a_running_worker_loses_nothing(small_disk, worker, tasks, folder):
    small = open_store(settings_for(small_disk, wait_seconds=1))
    small.prepare()
    tasks.app.store = worker.store = small
    spool = folder / "spool"
    with closing(small):
        here = worker(executors=1, spool=spool)
        runs = [tasks.hold.enqueue("a", "go"), *[tasks.add.enqueue(n, 1) for n in range(20)]]
        wait_for_lines("witness")
        filler = fill(small_disk)

        (folder / "go").touch()
        wait_until(lambda: here.events("StoreAway"), within=PATIENCE)
        filler.unlink()

        assert {"succeeded"} == {record.state for record in ended_all(runs)}
        assert ["succeeded"] == outcomes(runs[0])
