"""Fault 22: everything stands still for ten leases, as on a host that is suspended."""

from __future__ import annotations

import signal
import time

from helpers.heavy import heavy
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended_all, outcomes, pause_all, send, wait_for_lines
from holdfast.core.models import WorkerState

LEASE = heavy(1.5, 6.0)  # seconds
PAUSE = 10 * LEASE


def test_nobody_is_dead_after_everything_stood_still_for_ten_leases(worker, tasks, store, folder):
    quick = {"beat_seconds": LEASE / 8, "lease_seconds": LEASE}
    workers = [worker(executors=1, **quick) for _ in range(3)]
    runs = [tasks.hold.enqueue("a", "go"), tasks.hold_async.enqueue("b", "go")]
    script = "echo start >> witness; until test -e go; do sleep 0.05; done"
    runs += [tasks.app.run_command(["sh", "-c", script])]
    wait_for_lines("witness", 3)

    pause_all(worker.everything(), store)
    stopped_at = time.monotonic()
    beats = [here.record().beat for here in workers]
    wait_until(lambda: time.monotonic() > stopped_at + PAUSE, within=2 * PAUSE)
    assert beats == [here.record().beat for here in workers]
    send(worker.everything(), signal.SIGCONT)

    for here, beat in zip(workers, beats, strict=True):
        wait_until(lambda: here.record().beat > beat + 16, within=PATIENCE)  # noqa: B023
    (folder / "go").touch()
    ended_all(runs)
    assert [["succeeded"]] * 3 == [outcomes(run) for run in runs]
    for here in workers:
        assert WorkerState.UP == here.record().state
        assert [] == here.events("WorkerDied") + here.events("WorkerFenced")
        assert [] == here.events("SidecarDied") + here.events("ExecutorDied")
        assert 0 == here.stop()
