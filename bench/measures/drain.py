"""Drain: how many no-op runs a second are carried out while the queue is full.

So many are queued before the worker starts. The rate is taken in the steady part: from the moment
a tenth of them was carried out to nine tenths, or for a limited time with those who are slower.
Then the worker goes on until the store says that nothing is left: that must follow at once.
The ceiling is the bare database: take 100 rows and delete the 100 before, in one synced
transaction. Where a server holds the queue, the processor time that a run costs stands beside the
rate: that of all processes of the worker, and that of the server.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from bench.figures import Figure
from bench.process import wait_until

if TYPE_CHECKING:
    from bench.contestants import Contestant
    from bench.plan import Plan
    from bench.ring import Client, Ring, Worker

START_SECONDS = 60.0  # from the start of a worker until a tenth is carried out
TRIALS = 2  # of each setup; its best counts
One = TypeVar("One")
CPU_WORKERS, CPU_SERVER = "CPU of a run, workers", "CPU of a run, server"
SETTLE_SECONDS = 10.0  # from the last run carried out until the store knows


@dataclass
class Found:
    """What was measured of everybody, by contestant."""

    steady: dict[str, list[float]] = field(default_factory=dict)
    settled: dict[str, list[float]] = field(default_factory=dict)
    workers: dict[str, list[float]] = field(default_factory=dict)
    server: dict[str, list[float]] = field(default_factory=dict)

    def add(self, key: str, part: Steady) -> None:
        """Take in one steady part."""
        self.steady.setdefault(key, []).append(part.rate)
        if part.server_us:
            self.workers.setdefault(key, []).append(part.worker_us)
            self.server.setdefault(key, []).append(part.server_us)

    def figures(self) -> list[Figure]:
        """Return all as figures."""
        return [
            Figure(measure, key, unit, tuple(values))
            for measure, unit, of in (
                ("drain", "runs/s", self.steady),
                ("drain until settled", "runs/s", self.settled),
                (CPU_WORKERS, "µs", self.workers),
                (CPU_SERVER, "µs", self.server),
            )
            for key, values in of.items()
        ]


@dataclass(frozen=True)
class Steady:
    """The steady part of a drain: runs per second, and microseconds of CPU that one run costs."""

    rate: float
    worker_us: float
    server_us: float


def run(ring: Ring, plan: Plan, contestants: list[Contestant]) -> list[Figure]:
    """Return the rates of all contestants, who take turns."""
    choose_setups(ring, plan, contestants)
    found, bare = Found(), ring.course.bare
    for number in range(plan.rounds):
        for contestant in rotated(contestants, number):
            one_drain(ring, plan, contestant, found)
        with ring.full(bare, plan.runs) as store, ring.client(bare, store) as client:
            rate = plan.runs / client.ask("drain", plan.runs)
            found.steady.setdefault(bare.key, []).append(rate)
    return found.figures()


def one_drain(ring: Ring, plan: Plan, one: Contestant, found: Found) -> None:
    """Drain once, and until the store knows it."""
    with (
        ring.full(one, plan.runs) as store,
        ring.client(one, store) as client,
        ring.worker(one, store) as worker,
    ):
        found.add(one.key, steady_part(worker, plan.runs, plan))
        if worker.witness.count() >= plan.runs * 9 // 10:  # nobody waits for the slow
            settled = settled_rate(worker, client, plan.runs)
            found.settled.setdefault(one.key, []).append(settled)


def steady_rate(worker: Worker, runs: int, plan: Plan) -> float:
    """Return runs per second while so many runs of a full queue are carried out."""
    return steady_part(worker, runs, plan).rate


def steady_part(worker: Worker, runs: int, plan: Plan) -> Steady:
    """Return what is found while so many runs of a full queue are carried out."""
    first, last = runs // 10, runs * 9 // 10
    worker.wait_count(first, within=START_SECONDS)
    began, before = worker.witness.count(), worker.cpu_seconds()
    worker.watch(last, at_most=plan.window_seconds)
    ended, after = worker.witness.count(), worker.cpu_seconds()
    own, server = (
        1e6 * (late - early) / max(1, ended - began)
        for early, late in zip(before, after, strict=True)
    )
    return Steady(worker.witness.rate(first, last), own, server)


def settled_rate(worker: Worker, client: Client, runs: int) -> float:
    """Return runs per second from the first run until the store says that none is left."""
    worker.wait_count(runs, within=START_SECONDS)
    wait_until(
        lambda: client.ask("left") == 0,
        within=SETTLE_SECONDS,
        what="the store knows that all runs have ended",
        pause=0.01,
    )
    return runs / ((time.monotonic_ns() - worker.witness.times()[0]) / 1e9)


def choose_setups(ring: Ring, plan: Plan, contestants: list[Contestant]) -> None:
    """Try the ways to run each contestant and keep the fastest."""
    if not plan.trial_runs:
        return
    for contestant in contestants:
        if len(contestant.setups) == 1 or contestant.key in ring.setups:
            continue
        rates = dict.fromkeys(contestant.setups, 0.0)
        for setup in [*contestant.setups] * TRIALS:
            with (
                ring.full(contestant, plan.runs) as store,
                ring.worker(contestant, store, setup=setup) as worker,
            ):
                rates[setup] = max(rates[setup], steady_rate(worker, plan.trial_runs, plan))
        ring.trials[contestant.key] = rates
        ring.setups[contestant.key] = max(rates, key=rates.__getitem__)


def rotated(everybody: list[One], number: int) -> list[One]:
    """Return them in the order of one round: each goes first in turn."""
    cut = number % len(everybody)
    return everybody[cut:] + everybody[:cut]
