"""Who is dead is judged by looks alone, and only by those who could have beaten themselves."""

from __future__ import annotations

import signal
import subprocess
from contextlib import closing

import msgspec
import pytest

from helpers.databases import a_template, fresh_store
from helpers.factories import a_worker
from helpers.waiting import wait_until
from holdfast.core.verdict import WorkerDeath
from holdfast.worker import proc
from holdfast.worker.heartbeat import LOOKS_IN_A_LEASE, Observer

LEASE = 30.0
PAUSE = LEASE / LOOKS_IN_A_LEASE


@pytest.fixture
def store(tmp_path):
    """A store whose clock stands still."""
    template = a_template("sqlite", tmp_path / "template")
    with closing(fresh_store(template, tmp_path / "store")) as store:
        yield store


class Watch:
    """One worker that observes another, on a clock that the test moves."""

    def __init__(self, store, **other):
        self._store = store
        self._clock = store.database.clock
        self.me, self.other = a_worker(store), a_worker(store, **other)
        self._observer = Observer(store.workers, self.me, LEASE, self._clock)

    def look(self, *beating, times=1, every=PAUSE):
        """Let some workers beat, wait, and look; return who was declared dead."""
        dead = []
        for _ in range(times):
            for worker_id in beating:
                self._store.workers.beat(worker_id)
            dead += self._observer.look()
            self._clock.advance(every)
        return dead


@pytest.fixture
def watch(store):
    return Watch(store)


def test_worker_that_stands_still_for_a_lease_is_dead(watch):
    assert [] == watch.look(watch.me, times=LOOKS_IN_A_LEASE)
    assert [watch.other] == watch.look(watch.me)


def death(store, worker_id):
    """What is written about the death of a worker."""
    return msgspec.json.decode(store.workers.get(worker_id).death, type=WorkerDeath).cause


@pytest.fixture
def sleeper():
    """A process that a worker's record may name as its own."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("stopped", "cause"), [(True, "stopped"), (False, "cut off")], ids=["stopped", "not stopped"]
)
def test_silent_worker_on_this_host_is_looked_at(store, sleeper, stopped, cause):
    start = proc.start_time(sleeper.pid)
    here = {"host_id": proc.host_id(), "boot_id": proc.boot_id()}
    watch = Watch(store, pid=sleeper.pid, pid_start=start, **here)
    if stopped:
        sleeper.send_signal(signal.SIGSTOP)
        wait_until(lambda: proc.is_stopped(sleeper.pid))

    assert [watch.other] == watch.look(watch.me, times=LOOKS_IN_A_LEASE + 1)
    assert cause == death(store, watch.other)


def test_worker_of_an_earlier_boot_of_this_host_fell_silent_by_that(store):
    watch = Watch(store, host_id=proc.host_id(), boot_id="an earlier one")

    assert [watch.other] == watch.look(watch.me, times=LOOKS_IN_A_LEASE + 1)
    assert "host rebooted" == death(store, watch.other)


def test_all_workers_of_another_host_fell_silent_with_it(store):
    watch = Watch(store, host_id="far away")
    third = a_worker(store, host_id="far away")

    assert {watch.other, third} == set(watch.look(watch.me, times=LOOKS_IN_A_LEASE + 1))
    assert {"host silent"} == {death(store, worker_id) for worker_id in (watch.other, third)}


def test_one_worker_of_another_host_fell_silent_alone(store):
    watch = Watch(store, host_id="far away")
    third = a_worker(store, host_id="far away")

    assert [watch.other] == watch.look(watch.me, third, times=LOOKS_IN_A_LEASE + 1)
    assert "silent" == death(store, watch.other)


def test_one_beat_within_a_lease_is_enough(watch):
    for _ in range(5):
        assert [] == watch.look(watch.me, watch.other)
        assert [] == watch.look(watch.me, times=LOOKS_IN_A_LEASE - 1)


def test_who_cannot_beat_itself_holds_nobody_for_dead(watch):
    """The disk is full, or the store is locked: the others cannot beat either."""
    assert [] == watch.look(times=10 * LOOKS_IN_A_LEASE)


def test_when_beats_are_possible_again_the_lease_begins_anew(watch):
    watch.look(watch.me, times=3)
    watch.look(times=LOOKS_IN_A_LEASE)

    assert [] == watch.look(watch.me, times=LOOKS_IN_A_LEASE - 1)
    assert [watch.other] == watch.look(watch.me)


def test_slowest_heart_that_settings_allow_is_not_blind(watch):
    """It beats three times in a lease, and so not between any two looks."""
    dead = []
    for _ in range(LOOKS_IN_A_LEASE // 2 + 1):
        dead += watch.look(watch.me) + watch.look()

    assert [watch.other] == dead


def test_look_that_came_late_proves_nothing(watch):
    for _ in range(5):
        assert [] == watch.look(watch.me, times=LOOKS_IN_A_LEASE - 1)
        assert [] == watch.look(watch.me, every=3 * PAUSE)
