"""The heartbeat and the shipper die, and nobody should notice."""

from __future__ import annotations

import signal

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    ended,
    outcomes,
    pause_all,
    send,
    wait_for_lines,
    whole_log,
)
from holdfast.core.models import Lease, WorkerState


def test_flood_is_kept_byte_for_byte_though_the_shipper_is_killed_again_and_again(
    worker, tasks, store, folder
):
    here = worker(executors=1)
    run = tasks.app.find_task("count_lines").enqueue(witness="seen", until="go")

    for _ in range(6):
        stored = store.logs.position(Lease(run.id, 1)).size
        wait_until(lambda: store.logs.position(Lease(run.id, 1)).size > stored, within=PATIENCE)  # noqa: B023
        here.replace_sidecar("shipper")
    (folder / "go").touch()

    assert ("succeeded", 1) == (ended(run, within=60).state, run.record.attempt)
    log = whole_log(store, run)
    count = len(wait_for_lines("seen"))
    assert "".join(f"line {n}\n" for n in range(count)).encode() == log
    assert 6 == len(here.events("SidecarDied"))


def test_worker_lives_on_when_its_heartbeat_is_killed(worker, tasks, folder):
    quick = {"beat_seconds": 0.2, "lease_seconds": 5}
    here = worker(executors=1, **quick)
    worker("--queues", "mail", executors=1, **quick)
    run = tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")

    for _ in range(3):
        here.replace_sidecar("heartbeat")
        beat = here.record().beat
        wait_until(lambda: here.record().beat > beat, within=PATIENCE)  # noqa: B023
    (folder / "go").touch()

    assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
    assert WorkerState.UP == here.record().state


def test_heartbeat_and_shipper_that_were_stopped_and_go_on_do_no_harm(worker, tasks, store, folder):
    here = worker(executors=1, beat_seconds=0.2, lease_seconds=2)
    run = tasks.app.find_task("count_lines").enqueue(witness="seen", until="go")
    wait_for_lines("seen", 100)

    for name in ("heartbeat", "shipper"):
        pid = wait_until(lambda: here.sidecar(name), within=PATIENCE)  # noqa: B023
        pause_all([pid], store)
        wait_for_lines("seen", len(wait_for_lines("seen")) + 2000)
        send([pid], signal.SIGCONT)
    (folder / "go").touch()

    assert ("succeeded", 1) == (ended(run).state, run.record.attempt)
    count = len(wait_for_lines("seen"))
    assert "".join(f"line {n}\n" for n in range(count)).encode() == whole_log(store, run)
