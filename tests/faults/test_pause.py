"""Fault 9: a worker stands still for longer than its lease, and goes on as if nothing had been."""

from __future__ import annotations

import signal

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    certificate,
    ended,
    is_alive,
    lines_of,
    outcomes,
    pause_all,
    send,
    wait_for_lines,
)
from holdfast.core.models import WorkerState

QUICK = {"beat_seconds": 0.2, "lease_seconds": 3}  # less, and a busy machine kills others
# Another machine: a process that sees another machine id.
OTHER_HOST = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount --bind machine-id /etc/machine-id; exec "$@"',
]


def registered(store):
    """The workers that are up, by pid."""
    return {worker.pid: worker.worker_id for worker in store.workers.list()}


def test_worker_that_was_stopped_longer_than_its_lease_is_fenced_and_comes_back(
    worker, tasks, store, folder
):
    paused = worker(executors=1, **QUICK)
    run = tasks.hold.enqueue("a", "go")
    (line,) = wait_for_lines("witness")
    executor = int(line.split()[2])
    other = worker(executors=1, **QUICK)

    paused.pause()
    wait_until(lambda: outcomes(run) == ["lost"], within=PATIENCE)
    assert not is_alive(executor)  # it is the same host, so what it ran is ended
    paused.signal(signal.SIGCONT)
    wait_until(lambda: registered(store).get(paused.pid), within=PATIENCE)
    (folder / "go").touch()

    assert ("succeeded", ["lost", "succeeded"]) == (ended(run).state, outcomes(run))
    assert "worker_died(stopped)" == certificate(run, 0).verdict
    assert WorkerState.DEAD == paused.record().state
    assert WorkerState.UP == other.record().state
    assert 1 == len(paused.events("WorkerFenced"))
    assert 0 == run.record.crashes


def test_worker_that_came_back_works(worker, tasks, store):
    paused = worker(executors=1, **QUICK)
    worker("--queues", "mail", executors=1, **QUICK)

    paused.pause()
    wait_until(lambda: paused.record().state == WorkerState.DEAD, within=PATIENCE)
    paused.signal(signal.SIGCONT)
    new = wait_until(lambda: registered(store).get(paused.pid), within=PATIENCE)

    run = tasks.add.enqueue(1, 2)
    assert 3 == run.result(PATIENCE)
    assert new == run.attempts[0].worker_id != paused.worker_id
    assert 0 == paused.stop()


def test_short_pause_costs_nothing(worker, tasks, folder):
    paused = worker(executors=1, beat_seconds=0.2, lease_seconds=5)
    other = worker("--queues", "mail", executors=1, beat_seconds=0.2, lease_seconds=5)
    run = tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")

    paused.pause()
    beat = other.record().beat
    wait_until(lambda: other.record().beat > beat + 3, within=PATIENCE)
    paused.signal(signal.SIGCONT)
    (folder / "go").touch()

    assert ("succeeded", ["succeeded"]) == (ended(run).state, outcomes(run))
    assert [] == paused.events("WorkerFenced")


def test_late_outcome_of_a_worker_on_another_host_is_refused(worker, tasks, folder):
    """Its executor finishes the work while its supervisor stands still; nobody can stop that."""
    (folder / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    paused = worker(executors=1, under=[*OTHER_HOST, "sh"], **QUICK)
    run = tasks.hold.enqueue("a", "late")
    (line,) = wait_for_lines("witness")

    paused.pause()
    other = worker(executors=1, **QUICK)
    assert paused.record().host_id != other.record().host_id
    wait_for_lines("witness", 2)
    assert is_alive(int(line.split()[2]))
    (folder / "late").touch()
    assert "succeeded" == ended(run).state
    wait_for_lines("witness", 4)
    record, attempts = run.record, run.attempts
    paused.signal(signal.SIGCONT)
    wait_until(lambda: paused.events("WorkerFenced"), within=PATIENCE)
    wait_until(lambda: len(paused.events("WorkerStarted")) == 2, within=PATIENCE)

    assert ["lost", "succeeded"] == outcomes(run)
    assert (record, attempts) == (run.record, run.attempts)
    assert other.worker_id == attempts[1].worker_id
    assert 4 == len(lines_of("witness"))


def test_whole_worker_that_stood_still_for_three_leases_is_fenced_everywhere(
    worker, tasks, store, folder
):
    """Another host takes over; then first its executors go on, and later its supervisor."""
    (folder / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    paused = worker(executors=2, under=[*OTHER_HOST, "sh"], **QUICK)
    runs = [tasks.hold_and_deliver.enqueue(name, "go") for name in ("a", "b")]
    old = [int(line.split()[2]) for line in wait_for_lines("witness", 2)]
    before = worker.everything()

    pause_all(before, store)
    other = worker(executors=2, **QUICK)
    lease = QUICK["lease_seconds"] / QUICK["beat_seconds"]  # in beats
    wait_until(lambda: other.record().beat > 3 * lease, within=PATIENCE)
    wait_for_lines("witness", 4)
    (folder / "go").touch()
    records = [ended(run) for run in runs]
    attempts = [run.attempts for run in runs]
    send(old, signal.SIGCONT)
    late = wait_for_lines("witness", 8)[6:]
    send(before, signal.SIGCONT)
    wait_until(lambda: len(paused.events("WorkerStarted")) == 2, within=PATIENCE)

    assert {"refused a 1", "refused b 1"} == set(late)
    assert [f"{run.id} 2" for run in runs] == sorted(lines_of("sink"))
    assert [["lost", "succeeded"]] * 2 == [outcomes(run) for run in runs]
    assert {other.worker_id} == {many[1].worker_id for many in attempts}
    assert (records, attempts) == ([run.record for run in runs], [run.attempts for run in runs])
    assert 1 == len(paused.events("WorkerFenced"))
    assert WorkerState.UP == other.record().state
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)


def test_everything_of_a_worker_stopped_and_continued_ends_in_one_final_state(
    worker, tasks, store, folder
):
    paused = worker(executors=2, **QUICK)
    runs = [tasks.hold.enqueue("a", "go"), tasks.hold_async.enqueue("b", "go")]
    wait_for_lines("witness", 2)
    before = worker.everything()

    pause_all(before, store)
    worker(executors=2, **QUICK)
    wait_until(lambda: all(outcomes(run) for run in runs), within=PATIENCE)
    send(before, signal.SIGCONT)
    (folder / "go").touch()

    for run in runs:
        assert ("succeeded", ["lost", "succeeded"]) == (ended(run).state, outcomes(run))
    wait_until(lambda: len(paused.events("WorkerStarted")) == 2, within=PATIENCE)
