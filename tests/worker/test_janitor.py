"""The janitor deletes what is old enough, whatever its id, and trusts no clock that runs ahead."""

from __future__ import annotations

import time
from contextlib import closing
from uuid import uuid4

import pytest

from helpers.databases import a_template, fresh_store
from helpers.factories import a_worker, claim_one, enqueue, settle
from holdfast.core.clock import SECOND
from holdfast.core.config import RetentionSettings
from holdfast.core.ids import new_id
from holdfast.store.runs import RunFilter
from holdfast.worker import janitor
from holdfast.worker.calendar import Calendar
from holdfast.worker.janitor import Janitor

DAY = 86_400
YEARS = 3650 * DAY
IDS = {
    "random": lambda: str(uuid4()),
    "of the future": lambda: new_id(time.time_ns() + YEARS * 10**9),
    "lowest": lambda: "00000000-0000-0000-0000-000000000001",
    "highest": lambda: "ffffffff-ffff-ffff-ffff-ffffffffffff",
}


@pytest.fixture
def store(tmp_path):
    """A store whose clock stands still."""
    template = a_template("sqlite", tmp_path / "template")
    with closing(fresh_store(template, tmp_path / "store")) as store:
        yield store


@pytest.fixture
def clock(store):
    return store.database.clock


@pytest.fixture
def worker_id(store):
    return a_worker(store)


@pytest.fixture
def clean(store, clock):
    return Janitor(store, RetentionSettings(succeeded_days=30, other_days=90), clock)


def an_ended_run(store, worker_id, outcome="succeeded", **changes):
    run_id = enqueue(store, **changes)
    settle(store, worker_id, claim_one(store, worker_id), outcome)
    return run_id


def there(store):
    return {run.run_id for run in store.runs.list(RunFilter(limit=1000))}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize(("outcome", "days"), [("succeeded", 30), ("failed", 90)])
def test_a_run_goes_when_it_is_old_enough_whatever_its_id(
    store, clock, worker_id, clean, kind, outcome, days
):
    run_id = an_ended_run(store, worker_id, outcome, run_id=IDS[kind]())
    clock.advance((days - 1) * DAY)
    assert 0 == clean.run_once()
    assert {run_id} == there(store)

    clock.advance(2 * DAY)

    assert 1 == clean.run_once()
    assert set() == there(store)


def test_strays_are_looked_through_page_by_page(store, clock, worker_id, clean, monkeypatch):
    monkeypatch.setattr(janitor, "STRAYS", 10)
    old = {an_ended_run(store, worker_id, run_id=str(uuid4())) for _ in range(35)}
    clock.advance(31 * DAY)
    young = {an_ended_run(store, worker_id, run_id=str(uuid4())) for _ in range(35)}

    for _ in range(2 * 70 // 10):
        clean.run_once()

    assert young == there(store)
    assert old.isdisjoint(young)


def test_there_is_more_to_delete_after_a_full_batch(store, clock, worker_id, clean, monkeypatch):
    monkeypatch.setattr(janitor, "BATCH", 2)
    for _ in range(3):
        an_ended_run(store, worker_id)
    clock.advance(31 * DAY)

    assert [True, False] == [clean.has_more(), clean.has_more()]
    assert not there(store)


def test_a_run_that_has_not_ended_stays(store, clock, worker_id, clean):
    waiting = enqueue(store, run_id=str(uuid4()))
    clock.advance(1000 * DAY)

    assert 0 == clean.run_once()
    assert {waiting} == there(store)


# Clocks that run ahead


class Jumping:
    """A clock whose time of day jumps, while the seconds go on."""

    def __init__(self, clock):
        self._clock = clock
        self.ahead = 0

    def now(self):
        return self._clock.now() + self.ahead * SECOND

    def monotonic(self):
        return self._clock.monotonic()


@pytest.fixture
def jumping(clock):
    return Jumping(clock)


@pytest.fixture
def told(monkeypatch):
    events = []
    monkeypatch.setattr("holdfast.worker.calendar.emit", events.append)
    return events


def test_a_calendar_goes_with_the_clock(store, clock, jumping, told):
    calendar = Calendar(store.workers, "me", jumping)
    assert clock.now() == calendar.now()

    clock.advance(100 * DAY)

    assert (clock.now(), clock.monotonic()) == (calendar.now(), calendar.monotonic())
    assert [] == told


@pytest.mark.parametrize("seconds", [2 * 3600, YEARS])
def test_a_calendar_does_not_jump_forward_and_says_so_once(store, clock, jumping, told, seconds):
    calendar = Calendar(store.workers, "me", jumping)
    calendar.now()

    jumping.ahead = seconds
    clock.advance(60)

    assert clock.now() == calendar.now() == calendar.now()
    (event,) = told
    assert pytest.approx(seconds / 3600) == event.hours


def test_a_calendar_jumps_back(store, clock, jumping):
    calendar = Calendar(store.workers, "me", jumping)
    calendar.now()

    jumping.ahead = -3600

    assert clock.now() - 3600 * SECOND == calendar.now()


@pytest.mark.parametrize("own", [True, False])
def test_a_calendar_begins_when_the_store_was_last_used_if_that_is_long_ago(
    store, clock, jumping, worker_id, own
):
    """What the worker itself has said of the time does not count."""
    last = clock.now()
    jumping.ahead = YEARS
    me = a_worker(store) if own else "me"
    if own:
        store.database.clock = jumping
        store.workers.beat(me)
        store.database.clock = clock

    calendar = Calendar(store.workers, me, jumping)

    assert last == calendar.now()


def test_a_calendar_believes_a_clock_after_a_short_rest(store, clock, worker_id):
    clock.advance(6 * DAY)

    assert clock.now() == Calendar(store.workers, "me", clock).now()


def test_nothing_is_deleted_by_a_worker_whose_clock_is_years_ahead(
    store, clock, jumping, worker_id
):
    run_ids = {an_ended_run(store, worker_id) for _ in range(5)}
    clean = Janitor(store, RetentionSettings(), Calendar(store.workers, "me", jumping))
    clean.run_once()

    jumping.ahead = YEARS

    assert 0 == clean.run_once()
    assert run_ids == there(store)
    assert store.workers.get(worker_id) is not None
