"""A worker as the first process of a container: it inherits orphans that are not its own."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    command_line,
    ended,
    is_alive,
    outcomes,
    wait_for_lines,
)
from holdfast.worker import proc

CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Container:
    """A worker with pids of its own, in which it is number 1."""

    def __init__(self, start, store):
        self.worker = start(under=CONTAINER, ready=False, executors=1)
        (self.pid,) = wait_until(lambda: proc.children(self.worker.pid), within=PATIENCE)
        (self.record,) = wait_until(store.workers.list, within=PATIENCE)

    def run(self, script):
        """Run a program in it, as `docker exec` does."""
        entered = ["nsenter", "--target", str(self.pid), "--pid", "--mount"]
        subprocess.run([*entered, "sh", "-c", script], check=True)

    def below(self, words):
        """The child processes of the worker whose command line has these words."""
        children = proc.children(self.pid)
        return [pid for pid in children if words in " ".join(command_line(pid))]

    def zombies(self):
        return [pid for pid in proc.children(self.pid) if not is_alive(pid)]


@pytest.fixture
def container(worker, store):
    return Container(worker, store)


def test_worker_is_the_first_process_and_works(container, tasks):
    assert 1 == container.record.pid
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)


def test_orphans_of_others_live_on_when_an_executor_dies(container, tasks):
    container.run("sleep 1234 &")
    (stranger,) = wait_until(lambda: container.below("sleep 1234"), within=PATIENCE)
    run = tasks.with_family.enqueue()
    wait_for_lines("pids", 3)

    executors = container.below("holdfast.worker.executor")
    (busy,) = [pid for pid in executors if proc.children(pid)]
    os.kill(busy, signal.SIGKILL)
    wait_until(lambda: outcomes(run) == ["crashed"], within=PATIENCE)
    run.cancel(by="the test")
    ended(run)

    assert is_alive(stranger)
    own = {"holdfast.worker", "sleep 1234"}
    others = [" ".join(command_line(pid)) for pid in proc.descendants(container.pid)]
    assert [] == [line for line in others if not any(words in line for words in own)]


def test_orphans_of_others_are_buried(container, tasks):
    for _ in range(5):
        container.run("(sleep 0.01; exit 3) & (sleep 0.02) &")

    wait_until(lambda: not container.below("sleep"), within=PATIENCE)
    wait_until(lambda: not container.zombies(), within=PATIENCE)
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
