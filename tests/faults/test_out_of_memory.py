"""Faults 4 and 5: the kernel kills for lack of memory, and who else is killed is told apart."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from helpers.cgroups import WITHOUT_KERNEL_LOG, WITHOUT_RIGHTS
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, certificate, ended, is_alive, outcomes, wait_for_lines
from holdfast.worker import proc

MEBIBYTE = 1 << 20
AROUND = 400 * MEBIBYTE  # for a supervisor, its sidecars and its executors
EVERYBODY = {"all rights": (), "no kernel log": WITHOUT_KERNEL_LOG, "no rights": WITHOUT_RIGHTS}


def sidecars_of(worker):
    """The pids of its heartbeat and its shipper."""
    names = ("heartbeat", "shipper")
    return [wait_until(lambda name=name: worker.sidecar(name), within=PATIENCE) for name in names]


@pytest.fixture
def crowded(worker, container):
    """A worker with a limit around it, as a container has one."""
    container.limit(AROUND)

    def start(under=()):
        return worker(executors=2, under=(*container.under, *under))

    return start


@pytest.mark.parametrize(
    ("rights", "verdict"),
    [
        ("all rights", ("oom(container)", "certain", "kernel log")),
        ("no kernel log", ("oom(container)", "certain", "cgroup")),
        ("no rights", ("oom(host)", "likely", "count")),
    ],
)
@pytest.mark.parametrize("name", ["sample_tasks.eat", "eat"])
def test_task_without_a_limit_fills_the_cgroup_around_its_worker(
    crowded, tasks, folder, name, rights, verdict
):
    """The executor dies, not the supervisor, and the run says of what."""
    here = crowded(EVERYBODY[rights])
    sidecars = sidecars_of(here)

    task = tasks.app.find_task(name).using(crashes=0)
    run = task.enqueue(600) if name == "sample_tasks.eat" else task.enqueue(megabytes=600)

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    judged = certificate(run)
    assert verdict == (judged.verdict, judged.confidence, judged.evidence.oom.known_by)
    assert "Out of memory" in judged.sentence
    if rights != "no rights":
        assert AROUND == judged.evidence.oom.limit
        assert "the cgroup around its worker was at its limit of 400 MiB" in judged.sentence
    assert is_alive(here.pid)
    assert sidecars == sidecars_of(here)
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)


@pytest.mark.parametrize("rights", EVERYBODY)
@pytest.mark.parametrize("limit", [None, "150MiB"])
def test_plain_sigkill_is_no_lack_of_memory(worker, tasks, rights, limit):
    before = proc.oom_kills()
    worker(executors=1, under=EVERYBODY[rights])
    run = tasks.take_and_sleep.using(crashes=0, memory=limit).enqueue(100)
    victim = int(wait_for_lines("witness")[0].split()[-1])

    os.kill(victim, signal.SIGKILL)

    assert ("quarantined", ["crashed"]) == (ended(run).state, outcomes(run))
    judged = certificate(run)
    if rights == "no rights" and judged.confidence == "likely":
        assert proc.oom_kills() > before  # of somebody else, at this very moment
        return
    assert ("signal(SIGKILL)", "certain") == (judged.verdict, judged.confidence)
    assert judged.sentence.startswith(
        "Its executor was killed by SIGKILL, not for lack of memory; "
        "Linux does not tell who sent it; peak memory 1"
    )


def test_sigkill_long_after_somebody_elses_death_for_memory_is_not_taken_for_one(
    worker, tasks, container
):
    """The kernel's count has grown during the attempt, but not when it died."""
    worker(executors=1, under=WITHOUT_RIGHTS)
    run = tasks.take_and_sleep.using(crashes=0).enqueue(1)
    victim = int(wait_for_lines("witness")[0].split()[-1])
    container.limit(20 * MEBIBYTE)
    script = "held = bytearray(200 << 20)"
    process = worker.start(*container.under, tasks.sys.executable, "-c", script)
    assert -signal.SIGKILL == process.wait(PATIENCE)
    for _ in range(2):  # looks are stored every few seconds: the first may be stored right now
        looks = len(run.usage.memory) if run.usage else 0
        wait_until(lambda: run.usage and len(run.usage.memory) > looks, within=PATIENCE)  # noqa: B023
    os.kill(victim, signal.SIGKILL)

    assert "signal(SIGKILL)" == (ended(run).state and certificate(run).verdict)


@pytest.mark.parametrize(
    ("rights", "verdict"), [("all rights", "signal(SIGKILL)"), ("no rights", "oom(host)")]
)
def test_sigkill_right_after_somebody_elses_death_for_memory_is_told_apart_by_the_kernel_log(
    worker, tasks, container, rights, verdict
):
    """Without the log there is only a count, which is likely to mean it, and wrong here."""
    worker(executors=1, under=EVERYBODY[rights])
    run = tasks.take_and_sleep.using(crashes=0).enqueue(1)
    victim = int(wait_for_lines("witness")[0].split()[-1])
    container.limit(20 * MEBIBYTE)
    script = "held = bytearray(200 << 20)"
    process = worker.start(*container.under, tasks.sys.executable, "-c", script)

    assert -signal.SIGKILL == process.wait(PATIENCE)
    os.kill(victim, signal.SIGKILL)

    assert verdict == (ended(run).state and certificate(run).verdict)
    assert ("certain", "likely")[verdict == "oom(host)"] == certificate(run).confidence


def test_kernel_prefers_executors_and_what_they_start_to_supervisor_and_sidecars(worker, tasks):
    here = worker(executors=1)
    tasks.with_family.enqueue()
    family = [int(pid) for pid in wait_for_lines("pids", 3)]
    wanted = dict.fromkeys((*here.executors(), *family), 500)
    wanted |= dict.fromkeys([here.pid, *sidecars_of(here)], 0)

    own = int(Path("/proc/self/oom_score_adj").read_text())

    def found():
        return {pid: int(Path(f"/proc/{pid}/oom_score_adj").read_text()) - own for pid in wanted}

    wait_until(lambda: wanted == found(), within=PATIENCE)  # one executor may just begin


def test_somebody_elses_death_for_memory_at_the_same_moment_is_not_taken_for_ones_own(
    worker, tasks, container
):
    """The count of the host grows, that of the cgroup of the executor does not."""
    worker(executors=1, under=WITHOUT_KERNEL_LOG)
    run = tasks.take_and_sleep.using(crashes=0).enqueue(1)
    victim = int(wait_for_lines("witness")[0].split()[-1])
    container.limit(20 * MEBIBYTE)
    script = f"import os, signal; os.kill({victim}, signal.SIGKILL); bytearray(200 << 20)"

    process = worker.start(*container.under, tasks.sys.executable, "-c", script)

    assert -signal.SIGKILL == process.wait(PATIENCE)
    assert "signal(SIGKILL)" == (ended(run).state and certificate(run).verdict)
