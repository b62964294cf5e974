"""Kill what comes, at random; afterwards every accepted run has one end."""

from __future__ import annotations

import os
import random
import signal
import sys
from contextlib import suppress

from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended_all, wait_for_lines

RUNS, KILLS = 200, 20
NAMES = ["stay", "stay", "stay_async"]


class Chaos:
    """Kill parts of one worker and start it again when it is the supervisor."""

    def __init__(self, worker, dice):
        self._worker = worker
        self._dice = dice
        self.here = worker(executors=2)

    def strike(self):
        """Kill one part, chosen at random, and return its name."""
        name = self._dice.choice(["executor", "executor", "supervisor", "shipper", "heartbeat"])
        if name == "supervisor":
            self.here.kill()
            self.here = self._worker(executors=2)
        elif name == "executor":
            self._kill(wait_until(self.here.executors, within=PATIENCE))
        else:
            self._kill([wait_until(lambda: self.here.sidecar(name), within=PATIENCE)])
        return name

    def _kill(self, pids):
        with suppress(ProcessLookupError):
            os.kill(self._dice.choice(pids), signal.SIGKILL)


def test_every_accepted_run_ends_once_whatever_is_killed(worker, tasks, store):
    seed = random.randrange(1_000_000)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)
    tasks_by_name = {name: tasks.app.find_task(f"sample_tasks.{name}") for name in NAMES}
    # Kills at random are no poison: let none of them use up the crash budget.
    runs = {
        str(number): tasks_by_name[dice.choice(NAMES)]
        .using(crashes=KILLS)
        .enqueue(str(number), dice.uniform(0, 0.1))
        for number in range(RUNS)
    }
    chaos = Chaos(worker, dice)

    struck = []
    for number in range(KILLS):
        seen = len(wait_for_lines("witness", 1))
        wait_for_lines("witness", min(seen + dice.randrange(1, 12), 2 * RUNS - KILLS + number))
        struck.append(chaos.strike())
    sys.stdout.write(f"killed {', '.join(struck)}\n")
    ended_all(runs.values(), within=60)

    started = [line.split()[1] for line in wait_for_lines("witness") if line.startswith("start")]
    for name, run in runs.items():
        record, attempts = run.record, run.attempts
        assert "succeeded" == record.state, run
        assert ["succeeded"] == [a.outcome for a in attempts if a.outcome == "succeeded"]
        assert [*range(1, len(attempts) + 1)] == [a.attempt for a in attempts]
        assert "succeeded" == attempts[-1].outcome
        assert 1 <= started.count(name) <= len(attempts)
    assert [] == store.leases.held(chaos.here.worker_id)
