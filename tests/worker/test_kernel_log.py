"""What the kernel writes of its kills is read as it means it, in each of its forms."""

from __future__ import annotations

import pytest

from holdfast.core.verdict import OutOfMemory
from holdfast.worker import cgroup
from holdfast.worker.oom import Counter, OomWatch

MEBIBYTE = 1 << 20
VICTIM = (
    b"oom-kill:constraint=%b,nodemask=(null),cpuset=/,mems_allowed=0%b,task=python,pid=%d,uid=0\n"
)
KILLED = b"%b of memory: Killed process %d (python) total-vm:216152kB, anon-rss:65604kB\n"
LIMIT, HOST = (b"CONSTRAINT_MEMCG", b"Memory cgroup out"), (b"CONSTRAINT_NONE", b"Out")


class Executor:
    """What the judge looks at: a pid, and a group with a limit."""

    pid = 720

    def __init__(self, group):
        self.group = group
        self.oom_kills = Counter(0)


@pytest.fixture
def place():
    return cgroup.find()


@pytest.fixture
def executor(place):
    """An executor whose group has come up to its limit, as far as the kernel counts."""
    group = place.make("test-kernel-log", 0)
    bound = cgroup.Bound(group)
    bound.set(MEBIBYTE)
    yield Executor(group)
    bound.lift()
    assert group.remove()


def judge(place, executor, *records):
    watch = OomWatch(place)
    for record in records:
        watch._log._take(b"3,423,861507317,-;" + record)
    judged = watch._place_it(executor, executor.pid, MEBIBYTE, 1)
    watch.close()
    return judged


def victim(constraint, pid, group):
    """The line on the process that was chosen, which names the cgroup that was full."""
    named = b",oom_memcg=%b,task_memcg=%b" % (group, group)
    return VICTIM % (
        constraint,
        named if constraint == LIMIT[0] else b",global_oom,task_memcg=/",
        pid,
    )


def test_full_cgroup_is_that_which_the_kernel_names(place, executor):
    own = executor.group.memory.removeprefix("/sys/fs/cgroup").encode()

    judged = judge(
        place, executor, victim(LIMIT[0], 720, own[own.index(b"/", 1) :]), KILLED % (LIMIT[1], 720)
    )

    assert OutOfMemory("cgroup", "kernel log", 1, MEBIBYTE, executor.group.memory) == judged


def test_process_killed_along_with_its_group_is_judged_by_how_full_that_is(place, executor):
    """Only the process that was chosen is named with its cgroup; the others just die with it."""
    judged = judge(place, executor, victim(LIMIT[0], 731, b"/a"), KILLED % (LIMIT[1], 720))

    assert OutOfMemory("cgroup", "kernel log", 1, MEBIBYTE, executor.group.memory) == judged


@pytest.mark.parametrize("named", [True, False], ids=["chosen", "along with another"])
def test_host_is_to_blame_only_where_the_kernel_says_so(place, executor, named):
    lines = [victim(HOST[0], 720 if named else 731, b"/"), KILLED % (HOST[1], 720)]

    assert OutOfMemory("host", "kernel log", 1) == judge(place, executor, *lines)
