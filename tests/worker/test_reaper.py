"""What dead workers held goes back, and no log of theirs is forgotten."""

from __future__ import annotations

import os
import shutil
from contextlib import closing

import pytest

from helpers.databases import settings_for
from helpers.factories import a_worker, claim_one, declare_dead, enqueue
from helpers.logs import append, end
from holdfast.core.clock import SystemClock
from holdfast.core.config import WorkerSettings
from holdfast.core.masking import Mask
from holdfast.core.states import RunState
from holdfast.store import open_store
from holdfast.store.moving import move
from holdfast.worker.identity import new_identity
from holdfast.worker.ownership import found
from holdfast.worker.reaper import Reaper
from holdfast.worker.spool import OUT, AttemptSpool, folder_of


class Scene:
    """A dead worker of this host with one attempt in its hands, and one that looks after it."""

    def __init__(self, folder):
        self.store = open_store(settings_for(folder))
        self.store.prepare()
        me = new_identity(WorkerSettings())
        self.spool = folder / "spool" / me.worker_id
        os.close(found(self.spool, self.store.url))
        self.reaper = Reaper(self.store, me, self.spool, SystemClock(), Mask())
        self.dead = a_worker(self.store, host_id=me.host_id, boot_id=me.boot_id)
        self.left = folder / "spool" / self.dead
        os.close(found(self.left, self.store.url))
        enqueue(self.store)
        self.lease = claim_one(self.store, self.dead).lease

    def attempt(self):
        (attempt,) = self.store.runs.attempts(self.lease.run_id)
        return attempt


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    scene.store.close()


def nothing(_scene):
    """Its attempt has written nothing."""


def folder(scene):
    os.close(AttemptSpool(scene.left, scene.lease).open(OUT))


@pytest.mark.parametrize(("left", "has_log"), [(nothing, False), (folder, True)])
def test_a_lost_attempt_has_a_log_if_its_worker_left_anything(scene, left, has_log):
    left(scene)
    declare_dead(scene.store, scene.dead)

    scene.reaper.run_once()

    assert has_log == scene.attempt().logged
    assert has_log == folder_of(scene.spool, scene.lease).exists()


def test_a_lost_attempt_has_a_log_if_it_was_shipped_before_its_worker_died(scene):
    append(scene.store, scene.lease, b"all of it\n")
    end(scene.store, scene.lease)
    declare_dead(scene.store, scene.dead)

    scene.reaper.run_once()

    assert scene.attempt().logged


def test_logs_are_not_taken_over_before_the_attempts_are_settled(scene):
    """Whoever settles them then must still see that there is a log."""
    folder(scene)
    declare_dead(scene.store, scene.dead)

    scene.reaper._adopt()

    assert folder_of(scene.left, scene.lease).exists()
    scene.reaper.run_once()
    assert scene.attempt().logged
    assert RunState.QUEUED == scene.store.runs.get(scene.lease.run_id).state
    assert folder_of(scene.spool, scene.lease).exists()
    assert not scene.left.exists()


def test_a_folder_that_another_worker_takes_over_at_this_moment_is_no_trouble(scene, caplog):
    declare_dead(scene.store, scene.dead)
    scene.reaper.run_once()
    os.close(found(scene.left, scene.store.url))
    held = scene.store.leases.held

    def held_while_another_takes_over(*asked):
        shutil.rmtree(scene.left)
        return held(*asked)

    scene.store.leases.held = held_while_another_takes_over
    scene.reaper._adopt()

    assert not scene.left.exists()
    assert [] == [r for r in caplog.records if "cannot be taken over" in r.getMessage()]


def test_the_log_that_a_worker_left_before_its_store_was_moved_is_taken_over(scene, tmp_path):
    folder(scene)
    declare_dead(scene.store, scene.dead)
    with closing(open_store(settings_for(tmp_path / "new"))) as new:
        move(scene.store, new, 30.0, lambda _: None)
        me = new_identity(WorkerSettings())
        spool = tmp_path / "spool" / me.worker_id
        os.close(found(spool, new.url))

        Reaper(new, me, spool, SystemClock(), Mask()).run_once()

        (attempt,) = new.runs.attempts(scene.lease.run_id)
        assert attempt.logged
        assert folder_of(spool, scene.lease).exists()
