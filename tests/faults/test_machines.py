"""Faults 9 and 15: machines that are cut off, stand still or die, with one server between them."""

from __future__ import annotations

import signal
import time
from contextlib import closing

import pytest

from helpers.heavy import HEAVY
from helpers.machines import Network
from helpers.servers import SERVERS, a_store
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    certificate,
    ended_all,
    is_alive,
    lines_of,
    outcomes,
    wait_for_lines,
)
from holdfast.core.models import WorkerState

QUICK = {"beat_seconds": 0.3, "lease_seconds": 3}
LIMIT = 4  # seconds of an attempt
LATE = 15.0  # seconds until a dead connection is noticed, and a new one is given up
KINDS = list(SERVERS) if HEAVY else ["postgres"]


@pytest.fixture
def network(folder):
    with closing(Network(folder)) as network:
        yield network


@pytest.fixture(params=KINDS)
def server(request, network):
    """A server that machines can reach."""
    server = SERVERS[request.param]()
    server.open_to(network.host)
    yield server.start()
    server.stop()


@pytest.fixture
def store(server, network, folder):
    with closing(a_store(server, host=network.host)) as store:
        yield store


@pytest.fixture
def machine(network, worker, folder):
    """Start a worker for one queue, or all, on a machine of its own; gives both."""

    def start(queue, **settings):
        new = network.machine()
        spool = folder / f"disk-of-{new.name}"
        options = {**QUICK, "spool": spool, **settings}
        return new, worker("--queues", queue, under=new.under, **options)

    return start


def started(name):
    """The processes that have begun to carry out a run of this name."""
    found = [line.split() for line in lines_of("witness")]
    return [int(pid) for word, who, pid in found if (word, who) == ("start", name)]


def test_runs_of_machines_that_are_cut_off_stopped_or_dead_end_once(machine, tasks, store, folder):
    machines = {name: machine(name, executors=1) for name in ("cut", "stopped", "killed")}
    runs = {
        name: tasks.hold.using(queue_name=name).enqueue(name, f"go {name}") for name in machines
    }
    wait_for_lines("witness", 3)

    machines["cut"][0].cut_off()
    machines["stopped"][0].send(signal.SIGSTOP)
    machines["killed"][0].send(signal.SIGKILL)
    _, other = machine("*", executors=3)
    wait_for_lines("witness", 6)
    assert [["lost"]] * 3 == [outcomes(run) for run in runs.values()]
    assert is_alive(started("cut")[0])  # nobody can stop it from here
    for name in machines:
        (folder / f"go {name}").touch()
    records = ended_all(runs.values())
    attempts = [run.attempts for run in runs.values()]
    wait_for_lines("witness", 10)  # six began; the one that is cut off has come to its end, too
    machines["cut"][0].reconnect()
    machines["stopped"][0].send(signal.SIGCONT)
    for name in ("cut", "stopped"):
        _, here = machines[name]
        wait_until(lambda: here.events("WorkerFenced"), within=PATIENCE)  # noqa: B023
        wait_until(lambda: len(here.events("WorkerStarted")) == 2, within=PATIENCE)  # noqa: B023

    assert (records, attempts) == (
        [run.record for run in runs.values()],
        [run.attempts for run in runs.values()],
    )
    assert [["lost", "succeeded"]] * 3 == [outcomes(run) for run in runs.values()]
    assert {other.worker_id} == {many[1].worker_id for many in attempts}
    assert WorkerState.UP == other.record().state
    assert {"worker_died(host unreachable)"} == {certificate(r, 0).verdict for r in runs.values()}
    assert 3 == tasks.add.using(queue_name="cut").enqueue(1, 2).result(PATIENCE)


def test_machine_that_is_cut_off_keeps_its_limits_and_goes_on_by_itself(machine, tasks, store):
    """Nobody else is there to take its runs; what ends meanwhile is told when it can be."""
    here, its_worker = machine("*", executors=2)
    limited = tasks.sleep.using(timeout=LIMIT, retries=0).enqueue(1000)
    short = tasks.stay.enqueue("short", 3)
    wait_for_lines("witness", 2)

    here.cut_off()
    cut_at = time.monotonic()
    wait_until(lambda: its_worker.events("AttemptDied"), within=60)
    late = time.monotonic() - cut_at - LIMIT
    here.reconnect()
    back_at = time.monotonic()
    ended_all([limited, short])

    assert late < LATE
    assert time.monotonic() - back_at < LATE
    assert [["timed_out"], ["succeeded"]] == [outcomes(limited), outcomes(short)]
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    assert its_worker.process.poll() is None
    assert [] == its_worker.events("WorkerFenced")
