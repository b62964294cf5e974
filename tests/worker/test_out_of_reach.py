"""What tasks start may be of another user, as with sudo, or hang: nobody can end it then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.cgroups import WITHOUT_RIGHTS
from helpers.users import AS_ANOTHER, WITHOUT_RIGHT_TO_KILL
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended, is_alive, outcomes, wait_for_lines
from holdfast.worker import pool as pool_module
from holdfast.worker.pool import Pool

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
UNDER = (*WITHOUT_RIGHTS, *WITHOUT_RIGHT_TO_KILL)
ANOTHER = " ".join(AS_ANOTHER)

BEFORE = f"""
import json, signal, subprocess, time
from holdfast.worker import command, proc
own = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
another = subprocess.Popen([*{AS_ANOTHER!r}, "sh", "-c", SCRIPT], stdout=subprocess.PIPE)
another.stdout.readline()  # it has changed its user
pids = [another.pid, own.pid]
"""


def without_right_to_kill(code, script="echo; exec sleep 1000"):
    """Run code beside `own` and `another`, and return what it prints as JSON."""
    program = f"SCRIPT = {script!r}\n{BEFORE}{code}"
    process = subprocess.run(
        [
            *WITHOUT_RIGHT_TO_KILL,
            sys.executable,
            "-c",
            f"{program}\nown.kill()\nprint(another.pid)",
        ],
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    *answer, pid = map(json.loads, process.stdout.splitlines())
    os.kill(pid, signal.SIGKILL)  # as only the test may
    return answer


def test_what_may_not_be_signalled_is_passed_over_and_not_counted():
    code = """
print(proc.kill_all(pids, signal.SIGWINCH))
print(json.dumps([proc.is_out_of_reach(pid) for pid in pids]))
print(proc.kill_tree(own.pid, with_root=True))
"""

    assert [1, [True, False], 1] == without_right_to_kill(code)


def test_tree_that_cannot_be_stopped_and_grows_is_left_in_the_end():
    code = "print(proc.kill_tree(another.pid, with_root=True))"
    growing = "echo; for n in $(seq 5000); do sleep 0.001 & wait; done"

    assert [0] == without_right_to_kill(code, growing)


def test_leftovers_that_cannot_be_ended_are_named_and_not_waited_for():
    code = """
began = time.monotonic()
print(json.dumps([command.end_leftovers(0.1), own.wait(), pids]))
print(json.dumps(time.monotonic() - began < 3))
"""

    (((count, stay), how, (another, _)), quick) = without_right_to_kill(code)

    assert (1, [another], -signal.SIGTERM, True) == (count, stay, how, quick)


def test_supervisor_outlives_a_time_limit_of_what_it_may_not_end(worker, tasks):
    here = worker(executors=1, grace_seconds=0.2, under=UNDER)
    script = f"echo $$ > witness; exec {ANOTHER} sleep 1000"

    run = tasks.app.run_command(["sh", "-c", script], timeout=1)
    (pid,) = map(int, wait_for_lines("witness"))
    ended(run)

    assert ["timed_out"] == outcomes(run)
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    assert (True, None) == (is_alive(pid), here.process.poll())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), within=PATIENCE)  # and buried


def test_executor_makes_way_when_an_attempt_leaves_what_it_may_not_end(worker, tasks):
    here = worker(executors=1, under=UNDER)
    script = f"{ANOTHER} sleep 1000 & echo $! > witness"

    run = tasks.app.run_command(["sh", "-c", script])
    (pid,) = map(int, wait_for_lines("witness"))
    ended(run)

    assert ("succeeded", True) == (run.state, is_alive(pid))
    (left,) = wait_until(lambda: here.events("ExecutorLeft"), within=PATIENCE)
    assert f"processes that cannot be ended: {pid}" in left["reason"]
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    assert ([], [], None) == (
        here.events("ExecutorDied"),
        here.events("ProcessesLeft"),
        here.process.poll(),
    )


@pytest.fixture
def pool(folder, monkeypatch):
    """A pool without executors, to which the children of this test are what dead ones left."""
    settings = SimpleNamespace(worker=SimpleNamespace(executors=0), app="")
    pool = Pool(settings, "worker", folder, None, None, None, None)
    pool.known_pids |= set(pool_module.proc.children(os.getpid()))
    return pool


def test_supervisor_does_not_wait_for_an_orphan_that_hangs_in_the_kernel(pool, monkeypatch):
    """As one that waits for a file server: SIGKILL takes effect when that answers."""
    hung = subprocess.Popen(["sleep", "1000"])
    with monkeypatch.context() as kernel:
        kernel.setattr("holdfast.worker.proc.os.kill", lambda _pid, _number: None)
        pool._bury_orphans(within=0.01)
        pool.fill()
    assert is_alive(hung.pid)

    wait_until(lambda: pool.fill() or not Path(f"/proc/{hung.pid}").exists(), within=PATIENCE)

    assert set() == pool._staying
    hung.wait()  # it was buried, so nothing is left to warn of


def test_orphans_have_ended_when_their_executor_is_buried(pool):
    left = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]

    pool._bury_orphans(within=PATIENCE)

    assert [] == [one.pid for one in left if Path(f"/proc/{one.pid}").exists()]
    for one in left:
        one.wait()
