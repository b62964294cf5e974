"""Fault 20: the disk fails at one call, at each in turn; nothing that was accepted is lost."""

from __future__ import annotations

import sys
import threading

import pytest

from helpers.heavy import heavy
from helpers.tracing import inject, injected
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended_all
from holdfast.store.runs import RunFilter

LAST = 20  # calls that fail, each in a process of its own
STRUCK = 200  # the number of the call that fails, in each process; to open a store takes fewer
COUNT = 20  # runs that each of them enqueues
WORDS = ("accepted", "refused", "unknown")
RULES = ["fdatasync:error=EIO", "pwrite64:error=EIO", "pwrite64:error=ENOSPC"]
# Rules count the calls of each process. So each child first spends some on a file of no
# importance, and the call that fails is its first, its second, and so on.
CLIENT = f"""
import os, sys
import sample_tasks
from holdfast import StoreUnavailable, new_id

def spend(calls):
    with open("scratch", "wb") as file:
        for _ in range(calls):
            os.pwrite(file.fileno(), b"x", 0) if sys.argv[1] == "pwrite64" else os.fdatasync(file)

def answer(run_id):
    try:
        sample_tasks.add.using(run_id=run_id).enqueue(1, 2)
    except StoreUnavailable as error:
        return "unknown" if error.unknown else "refused"
    return "accepted"

sample_tasks.app.store  # opened here: whoever opens it tidies up, and may fail at that unheard
for number in range(1, {LAST} + 1):
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    spend({STRUCK} - number)
    for _ in range({COUNT}):
        run_id = new_id()
        said = answer(run_id)
        os.write(1, f"{{said}} {{number}} {{run_id}}\\n".encode())
        if said != "accepted" and number % 2:
            os._exit(1)  # nobody is left who knows more of it than the files do
    sample_tasks.app.store.close()
    os._exit(0)
"""


def is_whole(store):
    """Tell whether the files of the store are in order."""
    ok = []
    for database in (store.database, store.log_database):
        with database.transaction() as tx:
            ok.append(tx._connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    return all(ok)


@pytest.mark.parametrize("rule", RULES)
def test_enqueue_whose_disk_fails_says_so_and_accepts_what_it_says_it_accepts(
    worker, tasks, store, rule
):
    call = rule.partition(":")[0]
    store.close()
    told = worker.run(*inject(f"{rule}:when={STRUCK}"), sys.executable, "-c", CLIENT, call)

    answers = [line.split() for line in told.decode().splitlines()]
    failed = {int(number) for word, number, _ in answers if word != "accepted"}
    there = {record.run_id for record in store.runs.list(RunFilter(limit=LAST * COUNT + 1))}
    said = {word: {run_id for kind, _, run_id in answers if kind == word} for word in WORDS}
    assert LAST - 5 <= len(failed)
    assert said["accepted"] <= there
    assert not said["refused"] & there
    assert there <= said["accepted"] | said["unknown"]
    assert ("fdatasync" == call) <= bool(said["unknown"])  # then the commit itself fails
    assert is_whole(store)
    worker(executors=2)
    runs = [tasks.app.get_run(run_id) for run_id in there]
    assert {"succeeded"} == {record.state for record in ended_all(runs, within=60)}


class Feeder:
    """Enqueue one run after the other, as long as the test goes on."""

    def __init__(self, task):
        self._task = task
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self.runs = []

    def _go_on(self):
        while not self._stop.wait(0.005):
            self.runs.append(self._task.enqueue(1, 2))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("rule", heavy(["fdatasync:error=EIO", "pwrite64:error=ENOSPC"], RULES))
def test_worker_whose_disk_fails_goes_on_and_settles_everything_once(worker, tasks, store, rule):
    here = worker(executors=1)

    with Feeder(tasks.add) as feeder:
        for number in range(1, LAST + 1):
            with injected(here.pid, f"{rule}:when={number}") as struck:
                wait_until(struck, within=PATIENCE)

    assert {"succeeded"} == {record.state for record in ended_all(feeder.runs)}
    for run in feeder.runs:
        assert [*range(1, len(run.attempts) + 1)] == [each.attempt for each in run.attempts]
        assert ["succeeded"] == [each.outcome for each in run.attempts if each.outcome != "lost"]
    assert is_whole(store)
    assert [] == here.events("WorkerFenced")
    assert len(here.events("StoreAway")) == len(here.events("StoreBack")) > 0
    assert 0 == here.stop()
