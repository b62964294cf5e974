"""Fault 37: workers are stopped, killed and started every second, while clients enqueue."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter

from helpers.heavy import heavy
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended_all, wait_for_lines, whole_log

TIMES = heavy(20, 50)
PACE = 1.0  # seconds between two strikes
CLIENTS = 2
SHORT = 0.05  # seconds that a run takes


class Slot:
    """A place for a worker, which is struck and filled again."""

    def __init__(self, worker, number):
        self._worker = worker
        self._number = number
        self._start()

    def strike(self):
        """End the worker by the signal of this place, and start another one at once."""
        self.here.signal(self._number)
        self.here.process.wait(2 * PATIENCE)
        self._start()

    def _start(self):
        self.here = self._worker(executors=1, ready=False, drain_seconds=1, grace_seconds=1)


class Client(threading.Thread):
    """Enqueue runs of all kinds until told to stop."""

    def __init__(self, number, tasks):
        super().__init__()
        self._number = number
        self._tasks = tasks
        self._stopped = threading.Event()
        self.runs = {}

    def run(self):
        kinds = (self._tasks.stay, self._tasks.stay_async)
        while not self._stopped.wait(0.02):
            name = f"{self._number}-{len(self.runs)}"
            self.runs[name] = kinds[len(self.runs) % 2].enqueue(name, SHORT)

    def stop(self):
        self._stopped.set()
        self.join()


def test_storm_of_restarts_loses_no_run_and_ends_none_twice(worker, tasks, store):
    slots = [Slot(worker, signal.SIGTERM), Slot(worker, signal.SIGKILL)]
    clients = [Client(number, tasks) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    talker = tasks.app.run_command(["sh", "-c", "echo begin; sleep 0.3; echo end"])

    began = time.monotonic()
    for strike in range(1, TIMES + 1):
        wait_until(lambda: time.monotonic() > began + strike * PACE, within=PATIENCE)  # noqa: B023
        for slot in slots:
            slot.strike()
    for client in clients:
        client.stop()
    runs = {name: run for client in clients for name, run in client.runs.items()}
    last = worker(executors=2)
    records = ended_all([*runs.values(), talker], within=120)

    assert {"succeeded"} == {record.state for record in records}
    for run in (*runs.values(), talker):
        attempts = run.attempts
        assert [*range(1, len(attempts) + 1)] == [each.attempt for each in attempts]
        assert {"lost", "released"} >= {each.outcome for each in attempts[:-1]}
        assert "succeeded" == attempts[-1].outcome
        assert 0 == run.record.failures + run.record.crashes
    done = Counter(line.split()[1] for line in wait_for_lines("witness") if line.startswith("end"))
    assert set(runs) == set(done)
    assert all(count <= len(runs[name].attempts) for name, count in done.items())
    assert b"begin\nend\n" == whole_log(store, talker)
    assert [] == store.leases.held(last.worker_id)
    assert {0} == {slot.here.process.poll() or 0 for slot in slots}  # the last ones still live


def test_storm_leaves_no_process_and_no_folder_behind(worker, tasks, folder):
    slots = [Slot(worker, signal.SIGKILL), Slot(worker, signal.SIGTERM)]
    tasks.with_family.enqueue()
    for _ in range(3):
        for slot in slots:
            slot.here.wait_ready()
            slot.strike()
    run = tasks.add.enqueue(1, 2)
    for slot in slots:
        slot.here.wait_ready()
    wait_until(lambda: run.is_finished, within=PATIENCE)

    for slot in slots:
        slot.here.stop(within=2 * PATIENCE)

    wait_until(lambda: not worker.everything(), within=PATIENCE)
    assert [] == [path.name for path in (folder / "spool").iterdir()]
    assert [] == list((folder / "holdfast.db.bell").iterdir())
