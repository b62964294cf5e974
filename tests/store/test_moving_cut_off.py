"""A move that is cut off, given up or made twice brings every run once, or none."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from helpers.callers import CALLERS_OF, a_caller
from helpers.databases import again, fresh_store
from helpers.everything import fill, rows_of
from helpers.factories import (
    a_new_run,
    a_worker,
    claim,
    enqueue,
    settle,
)
from helpers.faulty import DONE_THEN_ERROR, Faults
from helpers.moving import move, takes
from helpers.waiting import wait_until
from holdfast.core.errors import (
    MovedElsewhere,
    MoveGivenUp,
    NotEmpty,
    StoreRefused,
    StoreUnavailable,
)
from holdfast.core.states import RunState
from holdfast.store import copying, database, gates, moving
from holdfast.store.mysql_connection import Connection

TESTS = Path(__file__).parents[1]


class Killed(BaseException):
    """The process is gone: nothing of it is carried out any more."""


class Mortal:
    """Let a process do so many changes, each committed, and then die."""

    def __init__(self, monkeypatch):
        self.left = float("inf")
        write, script = database.Database.write, database.Tx.script

        def dying_write(database, work, **options):
            self.die_in_time()
            return write(database, work, **options)

        def dying_script(tx, statements):
            for number, statement in enumerate(statements):
                if number and isinstance(tx._connection, Connection):
                    self.die_in_time()  # there each such statement is a commit
                script(tx, [statement])

        monkeypatch.setattr(database.Database, "write", dying_write)
        monkeypatch.setattr(database.Tx, "script", dying_script)

    def die_in_time(self):
        if self.left == 0:
            raise Killed
        self.left -= 1

    def lives(self, changes, work, *arguments):
        """Whether it could do all with so many changes."""
        self.left = changes
        try:
            work(*arguments)
        except Killed:
            return False
        finally:
            self.left = float("inf")
        return True


@pytest.fixture
def mortal(monkeypatch):
    return Mortal(monkeypatch)


@pytest.fixture
def big_batches(monkeypatch):
    monkeypatch.setattr(copying, "BATCH_ROWS", 20)


@pytest.mark.to("next")
def test_a_move_that_is_killed_after_each_change_comes_to_its_end(
    store, target, mortal, big_batches
):
    """At no moment a run is in both stores where somebody could take it up."""
    fill(store)
    rows = rows_of(store)
    deaths = 0
    closed = False

    while not mortal.lives(1, move, store, target):
        deaths += 1
        assert deaths < 1000, "it does not get on"
        there = any(rows_of(target).values())
        if there:
            closed = True
            assert not takes(store)
        if there and not target_is_open(target):
            assert not takes(target)
            with pytest.raises(StoreRefused, match="not complete: give the command again"):
                a_worker(target)
            with pytest.raises(StoreRefused, match="not complete: give the command again"):
                target.check_open()

    assert closed
    assert deaths > 20
    assert rows == rows_of(target)
    assert not takes(store)
    assert takes(target)


def target_is_open(target):
    came = gates.move_of(target.database, gates.HERE)
    return came is not None and came.state == gates.ARRIVED


@pytest.mark.to("next")
@pytest.mark.parametrize("changes", [9, 41])
def test_a_move_that_is_killed_by_the_kernel_is_continued(store, target, changes):
    fill(store)
    rows = rows_of(store)

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM.format(
                source=store.url,
                target=target.url,
                changes=changes,
                now=store.database.clock.now(),
            ),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert -signal.SIGKILL == done.returncode, done.stderr
    move(store, target)

    assert rows == rows_of(target)
    assert takes(target)
    assert not takes(store)


PROGRAM = """
import os, signal, sys
from holdfast.core.config import StoreSettings
from holdfast.core.clock import FixedClock
from holdfast.store import copying, database, moving, open_store
def at_time(settings, now):
    store = open_store(settings, FixedClock(now))
    for one in (store.database, store.log_database):
        one.dialect.ahead = lambda *_: 0
    return store
copying.BATCH_ROWS = 20
real, left = database.Tx.execute, [{changes}]
def execute(tx, query, **values):
    changed = real(tx, query, **values)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return changed
database.Tx.execute = execute
source, target = (at_time(StoreSettings(url=url), {now}) for url in ({source!r}, {target!r}))
moving.move(source, target, 30.0, lambda _: None)
"""


@pytest.mark.to("next")
def test_an_answer_that_is_lost_makes_nothing_twice(store, target, monkeypatch, small_batches):
    """Each commit is done, and its answer lost; the next try comes through."""
    fill(store)
    rows = rows_of(store)
    struck = Counter()
    for one in (target.database, target.log_database):
        monkeypatch.setattr(one, "write", losing_answers(one, struck))

    while (moved := moved_or_none(store, target)) is None:
        pass  # SQLite takes it for a broken disk, and the person gives the command again

    assert rows == rows_of(target)
    assert len(rows["run"]) == moved.runs
    assert struck[DONE_THEN_ERROR] > 20


def moved_or_none(store, target):
    try:
        return move(store, target)
    except StoreUnavailable:
        return None


def losing_answers(one, struck):
    """Carry out what may be repeated as if the answer to its commit was lost."""
    faults, write = Faults(one, struck), one.write

    def losing_write(work, *, repeatable=False):
        with faults.next(DONE_THEN_ERROR if repeatable else None):
            return write(work, repeatable=repeatable)

    return losing_write


@pytest.mark.to("next")
def test_of_two_that_move_at_once_the_slower_one_brings_nothing_back(
    store, target, monkeypatch, small_batches
):
    """While it copies, the other one ends, and a worker of the new store takes up a run."""
    runs = [enqueue(store) for _ in range(20)]
    real = copying.Copy.go_on
    others = []

    def go_on(copy):
        steps = real(copy)
        if copy._table.name == "live" and not others:
            others.append(True)
            yield next(steps)
            move(again(store), again(target))
            worker = a_worker(target)
            for claimed in claim(target, worker, 20):
                settle(target, worker, claimed)
        yield from steps

    monkeypatch.setattr(copying.Copy, "go_on", go_on)

    move(store, target)

    assert {} == rows_of(target)["live"]
    assert [RunState.SUCCEEDED] * 20 == [target.runs.get(run_id).state for run_id in runs]


@pytest.mark.to("sqlite")
def test_a_store_moves_to_one_place_only(store, target, template, tmp_path, mortal):
    enqueue(store)
    assert not mortal.lives(15, move, store, target)
    with closing(fresh_store(template, tmp_path / "third")) as third:
        with pytest.raises(MovedElsewhere, match="is being moved to"):
            move(store, third)
        assert takes(third)
        move(store, target)
        with pytest.raises(MovedElsewhere, match="was moved to"):
            move(store, third)
        with pytest.raises(NotEmpty, match="what came from"):
            move(third, target)


@pytest.mark.to("next")
@pytest.mark.parametrize("changes", [1, 5, 40])
def test_a_move_that_is_given_up_leaves_the_old_store_as_it_was(store, target, mortal, changes):
    fill(store)
    assert not mortal.lives(changes, move, store, target)

    if gates.move_of(target.database, gates.HERE) is not None:
        with pytest.raises(MovedElsewhere, match="is being moved to"):
            moving.give_up(target)
    while not mortal.lives(1, moving.give_up, store):
        pass

    assert takes(store)
    a_worker(store)
    assert not moving.give_up(store)


@pytest.mark.to("next")
def test_who_still_copies_when_the_move_is_given_up_opens_nothing(store, target, monkeypatch):
    enqueue(store)
    real = copying.Copy.go_on

    def go_on(copy):
        yield from real(copy)
        if copy._table.name == "log_deletion":
            moving.give_up(again(store))

    monkeypatch.setattr(copying.Copy, "go_on", go_on)

    with pytest.raises(MoveGivenUp):
        move(store, target)

    assert takes(store)
    assert not takes(target)


@pytest.mark.to("next")
def test_who_still_closes_when_the_move_is_given_up_leaves_the_old_store_open(
    store, target, monkeypatch
):
    enqueue(store)
    real = gates.close

    def close(database, *arguments):
        if database is store.database:
            moving.give_up(again(store))
        real(database, *arguments)

    monkeypatch.setattr(gates, "close", close)

    with pytest.raises(MoveGivenUp):
        move(store, target)

    assert takes(store)
    assert not takes(target)


@pytest.mark.to("next")
def test_a_move_that_completes_while_it_is_given_up_stays_complete(store, target, monkeypatch):
    enqueue(store)
    real, moved = gates.standing, []

    def standing(database):
        if not moved:  # its gates are looked for, and it goes on at once
            moved.append(True)
            move(again(store), again(target))
        return real(database)

    with monkeypatch.context() as patch:
        patch.setattr(gates, "standing", standing)
        with pytest.raises(MovedElsewhere, match="was moved to"):
            moving.give_up(store)

    assert not takes(store)
    assert takes(target)


@pytest.mark.to("next")
def test_a_move_given_again_opens_no_store_that_has_moved_on(store, target, template, tmp_path):
    enqueue(store)
    move(store, target)
    with closing(fresh_store(template, tmp_path / "third")) as third:
        target.database.clock.advance(60)
        move(target, third)

        assert move(store, target).before

        assert [False, False, True] == [takes(one) for one in (store, target, third)]


@pytest.mark.to("next")
def test_a_move_that_is_complete_cannot_be_given_up(store, target):
    move(store, target)

    with pytest.raises(MovedElsewhere, match="was moved to"):
        moving.give_up(store)

    assert not takes(store)


@pytest.mark.to("next")
def test_what_is_enqueued_in_an_open_transaction_is_waited_for(store, target):
    enqueue(store, queue="known")
    moved = threading.Thread(target=move, args=(again(store), again(target)))
    with closing(a_driver(store)) as caller:
        with caller.transaction():
            (run_id,) = store.runs.insert_within([a_new_run(queue="known")], caller.connection)
            moved.start()
            if not store.database.dialect.one_writer:  # there the move cannot even begin
                wait_until(lambda: store.database.read(lambda tx: tx.rows("gates")), within=20)
        moved.join(60)

    assert not moved.is_alive()
    assert RunState.QUEUED == target.runs.get(run_id).state


@pytest.mark.only("postgres", "mysql")
@pytest.mark.to("next")
def test_a_transaction_that_sees_the_time_before_the_move_is_refused_too(store, target):
    enqueue(store, queue="known")
    look = {
        "postgres": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1",
        "mysql": "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    }
    with closing(a_driver(store)) as caller, caller.transaction():
        caller.execute(look[store.database.dialect.name])
        move(again(store), again(target))

        with pytest.raises(StoreRefused, match="being moved to"):
            store.runs.insert_within([a_new_run(queue="known")], caller.connection)


def a_driver(store):
    """Somebody who works with the driver itself."""
    return a_caller(CALLERS_OF[store.database.dialect.name][0], store)
