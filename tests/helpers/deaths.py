"""Cause each kind of death for real; each function returns the run that died of it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.cgroups import WITHOUT_RIGHTS
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    ended,
    ended_all,
    outcomes,
    pause_all,
    running,
    send,
    wait_for_lines,
)
from holdfast.worker import proc

MEBIBYTE = 1 << 20
QUICK = {"beat_seconds": 0.2, "lease_seconds": 3}  # less, and a busy machine kills others
CAUSES = {}


@dataclass(frozen=True)
class World:
    """What a death needs: `worker` starts workers, `tasks` are known to them."""

    worker: Any
    tasks: Any
    folder: Path
    store: Any
    container: Any  # makes a cgroup to put around a worker
    disk: Any

    def task(self, name, **limits):
        """A task with limits."""
        return self.tasks.app.find_task(f"sample_tasks.{name}").using(**limits)


def of(kind):
    """Name the death that a function causes, as the documentation does."""

    def keep(function):
        CAUSES[kind] = function
        return function

    return keep


def in_mounts(script):
    """Run a worker in a place where files are others."""
    return ("unshare", "--mount", "sh", "-c", f'{script} && exec "$@"', "sh")


def victim():
    """The pid in the first line of the witness."""
    return int(wait_for_lines("witness")[0].split()[-1])


def finish(world, run):
    """Let a task that waits for it end."""
    (world.folder / "go").touch()
    ended(run)
    return run


def die(world, name, *arguments, limits=None, settings=None):
    """Run a task in a worker of its own, to its end."""
    world.worker(executors=1, **(settings or {}))
    run = world.task(name, **(limits or {})).enqueue(*arguments)
    ended(run)
    return run


def fall_silent(world, stop, **place):
    """Let a worker fall silent, and another one find it."""
    silent = world.worker(executors=1, **QUICK, **place)
    run = world.tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")
    world.worker(executors=1, **QUICK)
    stop(silent)
    wait_until(lambda: outcomes(run), within=PATIENCE)
    return finish(world, run)


# The task itself


@of("A function raises")
def exception(world):
    return die(world, "boom", "tray 2 is empty")


@of("A function finds a disk full")
def disk_full(world):
    return die(world, "fill_disk", str(world.disk("1M").path), "by descriptor")


@of("A function wants to run later")
def snoozed(world):
    world.worker(executors=1)
    run = world.tasks.nap.enqueue(0.05)
    ended(run)
    return run


@of("A command ends with an exit code")
def exit_code(world):
    world.worker(executors=1)
    run = world.tasks.app.run_command(["sh", "-c", "exit 3"])
    ended(run)
    return run


@of("A command cannot be started")
def start_failed(world):
    world.worker(executors=1)
    run = world.tasks.app.run_command(["no-such-program"])
    ended(run)
    return run


@of("Code ends its own process")
def vanished(world):
    return die(world, "vanish", 7, limits={"crashes": 0})


@of("Code crashes")
def segmentation_fault(world):
    return die(world, "crash", limits={"crashes": 0})


@of("A function closes what it has not opened")
def hung_up(world):
    return die(world, "close_everything", limits={"crashes": 0})


@of("A task kills its executor again and again")
def poison(world):
    return die(world, "kill_itself")


# Limits


@of("A function is over its time limit")
def soft_timeout(world):
    return die(world, "sleep", 1000, limits={"timeout": 0.3})


@of("A function is over it and does not heed the stop")
def hard_timeout(world):
    return die(world, "swallow", limits={"timeout": 0.3}, settings={"grace_seconds": 0.3})


@of("Another attempt has blocked the event loop that it shares")
def neighbour(world):
    world.worker(executors=1, grace_seconds=0.3)
    run = world.tasks.hold_async.enqueue("a", "go")
    wait_for_lines("witness")
    world.task("stuck_in_c_async", timeout=0.3).enqueue()
    wait_until(lambda: outcomes(run), within=PATIENCE)
    return finish(world, run)


@of("A task is over its memory limit, in a cgroup")
def memory_by_kernel(world):
    return die(world, "eat", 200, limits={"memory": "100MiB", "crashes": 0})


@of("A task is over its memory limit, without cgroups")
def memory_by_sampling(world):
    limits = {"memory": "100MiB", "crashes": 0}
    return die(world, "eat", 200, limits=limits, settings={"under": WITHOUT_RIGHTS})


@of("The container around a worker is full")
def container_full(world):
    around = world.container()
    around.limit(400 * MEBIBYTE)
    return die(world, "eat", 600, limits={"crashes": 0}, settings={"under": around.under})


@of("The kernel kills for memory, and nothing may be read but its count")
def counted(world):
    around = world.container()
    around.limit(400 * MEBIBYTE)
    under = (*around.under, *WITHOUT_RIGHTS)
    return die(world, "eat", 600, limits={"crashes": 0}, settings={"under": under})


# People


@of("Somebody kills the executor")
def killed(world):
    world.worker(executors=1)
    run = world.task("sleep", crashes=0).enqueue(1000)
    os.kill(victim(), signal.SIGKILL)
    ended(run)
    return run


@of("Somebody kills the executor that several async attempts share")
def killed_with_others(world):
    world.worker(executors=1)
    runs = [world.tasks.hold_async.enqueue(name, "go") for name in "ab"]
    wait_for_lines("witness", 2)
    os.kill(victim(), signal.SIGKILL)
    wait_until(lambda: all(map(outcomes, runs)), within=PATIENCE)
    (world.folder / "go").touch()
    ended_all(runs)
    return runs[0]


@of("Somebody ends a command")
def command_killed(world):
    here = world.worker(executors=1)
    run = world.tasks.app.run_command(["sleep", "1000"])
    running(run)
    (command,) = wait_until(here.leftovers, within=PATIENCE)
    wait_until(lambda: Path(f"/proc/{command}/comm").read_text() == "sleep\n", within=PATIENCE)
    os.kill(command, signal.SIGTERM)
    ended(run)
    return run


@of("Somebody cancels it")
def cancelled(world):
    world.worker(executors=1)
    run = world.tasks.sleep.enqueue(1000)
    wait_for_lines("witness")
    run.cancel(by="ann")
    ended(run)
    return run


@of("Its worker is stopped for a deploy")
def deployed(world):
    here = world.worker(executors=1, drain_seconds=0.2, grace_seconds=5)
    run = world.tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")
    here.stop()
    world.worker(executors=1)
    return finish(world, run)


# Workers and hosts


@of("Its supervisor is killed")
def supervisor_killed(world):
    here = world.worker(executors=1)
    run = world.tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")
    here.kill()
    world.worker(executors=1)
    return finish(world, run)


@of("Its worker is paused for longer than its lease")
def paused(world):
    return fall_silent(world, lambda silent: silent.pause())


@of("Its worker cannot reach the store")
def cut_off(world):
    return fall_silent(world, lambda silent: pause_all([silent.sidecar("heartbeat")], world.store))


@of("Its host does not answer")
def host_unreachable(world):
    (world.folder / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    under = in_mounts("mount --bind machine-id /etc/machine-id")

    def cut(silent):
        pause_all([silent.pid, silent.sidecar("heartbeat")], world.store)

    return fall_silent(world, cut, under=under)


@of("Its host was rebooted")
def rebooted(world):
    (world.folder / "boot").write_text("01234567-89ab-cdef-0123-456789abcdef\n")
    under = in_mounts("mount --bind boot /proc/sys/kernel/random/boot_id")

    def cut(silent):
        send([silent.sidecar("heartbeat"), *proc.descendants(silent.pid)], signal.SIGKILL)
        silent.kill()

    return fall_silent(world, cut, under=under)


@of("The answer of the store to a claim is lost")
def orphan_claim(world):
    here = world.worker(executors=1, beat_seconds=0.2, lease_seconds=1)
    here.pause()
    run = world.tasks.add.enqueue(1, 2)
    world.store.leases.settle_and_claim(here.worker_id, [], {False: 1}, ["*"])
    here.signal(signal.SIGCONT)
    ended(run)
    return run
