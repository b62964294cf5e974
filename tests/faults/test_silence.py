"""Five minutes of silence, on a clock that the test moves."""

from __future__ import annotations

import os

from helpers.clocks import FakedClock
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended, holdfast, outcomes, wait_for_lines, whole_log
from holdfast.core.models import WorkerState

COUNT = 60_000
SILENCE = 310  # seconds
SCRIPT = f"""
seq -f 'before %.0f' {COUNT}
echo waiting >> witness
cat fifo > /dev/null
seq -f 'after %.0f' {COUNT}
"""


def test_log_of_a_command_that_was_silent_for_five_minutes_is_whole(worker, tasks, store, folder):
    clock, fifo = FakedClock(folder / "clock"), folder / "fifo"
    os.mkfifo(fifo)
    workers = [worker(executors=1, under=clock.under) for _ in range(2)]
    run = tasks.app.run_command(["sh", "-c", SCRIPT])
    wait_for_lines("witness")
    beats = {here: here.record() for here in workers}

    clock.set(f"+{SILENCE}")
    for here, before in beats.items():
        wait_until(lambda: here.record().beat > before.beat + 1, within=PATIENCE)  # noqa: B023
        assert here.record().seen_at - before.seen_at > SILENCE * 1_000_000
    fifo.write_text("go on\n")

    assert ("succeeded", ["succeeded"]) == (ended(run, within=60).state, outcomes(run))
    whole_log(store, run)
    printed = worker.run(*holdfast("logs", run.id))
    wanted = [f"{word} {n}\n" for word in ("before", "after") for n in range(1, COUNT + 1)]
    assert "".join(wanted).encode() == printed
    for here in workers:
        assert WorkerState.UP == here.record().state
        assert [] == here.events("WorkerFenced")
        assert [] == here.events("SidecarDied") + here.events("ExecutorDied")
