from __future__ import annotations

from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended, wait_for_lines

MEBIBYTE = 1 << 20
GROW = """
import sys, time
held = bytearray(80 << 20)
until = time.monotonic() + 3
while time.monotonic() < until:
    pass
"""


def test_course_of_memory_and_processors_is_kept_with_the_attempt(worker, tasks):
    """The command is a child of the executor: the tree counts."""
    worker(executors=1)

    run = tasks.app.run_command([tasks.sys.executable, "-c", GROW])

    assert "succeeded" == ended(run).state
    usage = run.attempts[0].usage
    assert 1.0 == usage.every
    assert 2 <= len(usage.memory) <= 4
    assert 80 * MEBIBYTE < max(usage.memory) <= run.attempts[0].peak_rss
    assert 0.2 < max(usage.cpu) <= 1.1


def test_course_of_a_running_attempt_can_be_seen(worker, tasks, folder):
    worker(executors=1)
    run = tasks.hold.enqueue("a", "go")

    usage = wait_until(lambda: run.usage, within=PATIENCE)

    assert min(usage.memory) > MEBIBYTE
    (folder / "go").touch()
    ended(run)
    assert run.usage is None
    assert usage.memory == run.attempts[0].usage.memory[: len(usage.memory)]


def test_short_attempt_has_no_course(worker, tasks):
    worker(executors=1)
    run = tasks.add.enqueue(1, 2)

    ended(run)

    assert run.attempts[0].usage is None


def test_course_up_to_the_death_of_the_worker_is_kept(worker, tasks):
    first = worker(executors=1)
    run = tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")
    wait_until(lambda: run.usage, within=PATIENCE)

    first.kill()
    worker(executors=1)
    (lost,) = wait_until(lambda: run.attempts, within=PATIENCE)

    assert "lost" == lost.outcome
    assert len(lost.usage.memory) >= 2
    assert max(lost.usage.memory) == lost.peak_rss
