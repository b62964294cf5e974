"""A machine may have no room for one more process: a start that fails leaves nothing behind."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.waiting import wait_until
from helpers.workers import PATIENCE, is_alive
from holdfast.core.ids import new_id
from holdfast.worker import cgroup
from holdfast.worker.child import Child
from holdfast.worker.pool import Pool
from holdfast.worker.protocol import Setup

STEPS = 13  # descriptors that a start takes, those that it soon gives back included
FOR_GOOD = 9  # descriptors of an executor that lives


@pytest.fixture
def setup(folder):
    return Setup("", f"sqlite:///{folder}/holdfast.db", str(new_id()), str(folder), shared=False)


def descriptors():
    """The open descriptors of this process."""
    return set(os.listdir("/proc/self/fd"))


@contextmanager
def room_for(count):
    """Let this process open so many more descriptors."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = set(map(int, descriptors()))
    free = [number for number in range(len(taken) + count + 1000) if number not in taken]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[count], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("room", range(STEPS))
def test_start_without_descriptors_leaves_none_open(setup, room):
    before = descriptors()

    with room_for(room), pytest.raises(OSError, match="Too many open files"):
        Child(setup)

    assert before == descriptors()


def test_executor_whose_start_fails_at_last_is_ended(setup, monkeypatch):
    before, started = descriptors(), []

    def refuse(pid):
        started.append(pid)
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("holdfast.worker.child.os.pidfd_open", refuse)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        Child(setup)

    assert (before, 1) == (descriptors(), len(started))
    assert not is_alive(started[0])


def test_executor_takes_as_many_descriptors_as_are_counted_for_it(setup):
    before = descriptors()
    child = Child(setup)

    assert FOR_GOOD == len(descriptors() - before)

    child.kill()
    child.bury()
    child.output.close()
    assert before == descriptors()


@pytest.fixture
def told(monkeypatch):
    """The events that the pool says."""
    events = []
    monkeypatch.setattr("holdfast.worker.pool.emit", events.append)
    return events


def test_pool_waits_after_a_failed_start_and_removes_its_cgroup(setup, folder, monkeypatch, told):
    tries = []

    def fork(*_arguments, **_options):
        tries.append(len(groups()))
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def groups():
        parents = {place.memory, place.tree} - {""}
        return [g for parent in parents for g in Path(parent).glob(f"*{setup.worker_id}-*")]

    place = cgroup.find()
    settings = SimpleNamespace(
        worker=SimpleNamespace(executors=4), app="", store=SimpleNamespace(url=setup.store)
    )
    pool = Pool(settings, setup.worker_id, folder, None, None, place, None)
    before = descriptors()
    with monkeypatch.context() as machine:
        machine.setattr(subprocess, "Popen", fork)
        for _ in range(3):
            pool.fill()
        assert ([], 1, before) == (groups(), len(tries), descriptors())
        wait_until(lambda: pool.fill() or len(tries) > 1, within=PATIENCE)

    assert ["executors", "executors"] == [event.duty for event in told]
    assert "BlockingIOError: [Errno 11]" in told[0].problem
    pool.fill()
    assert ([], []) == (groups(), pool.children)
