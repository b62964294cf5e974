"""Waking over PostgreSQL: a hint that crosses machines, outlives servers, and never does harm."""

from __future__ import annotations

import math
import select
import signal

import pytest

from helpers.databases import again
from helpers.factories import a_new_run, enqueue
from helpers.waiting import wait_until

pytestmark = pytest.mark.only("postgres")
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'holdfast'"


@pytest.fixture
def ear(store):
    ear = store.bell.listen()
    wait_until(lambda: rang(ear))  # it rings when it can hear: what came before is to be found
    yield ear
    ear.close()


def rang(ear, within=0.0):
    return bool(select.select([ear], [], [], within)[0]) and ear.clear()


def test_every_listener_hears_an_enqueue(store, ear):
    other = again(store)
    second = other.bell.listen()
    wait_until(lambda: rang(second))
    enqueue(store)

    assert rang(ear, within=5)
    assert rang(second, within=5)
    second.close()
    other.close()


def test_an_enqueue_rings_itself_unless_one_has_just_rung(store, ear, monkeypatch):
    enqueue(store)
    apart = []
    monkeypatch.setattr(store.database, "at_once", apart.append)

    wait_until(store.bell.goes_along)
    store.runs.insert_one(a_new_run())
    assert rang(ear, within=5)
    store.bell._rung = math.inf
    store.runs.insert_one(a_new_run())

    assert not rang(ear)
    assert [] == apart


def test_where_an_enqueue_that_rings_had_to_wait_others_ring_apart_for_a_while(store, ear):
    enqueue(store)
    wait_until(store.bell.goes_along)
    store.bell._began -= 1  # a second ago
    store.bell.went_along()
    store.bell._rung = 0.0

    assert not store.bell.goes_along()
    store.runs.insert_one(a_new_run())
    assert rang(ear, within=5)


def test_a_process_that_enqueues_much_rings_little(store, monkeypatch):
    rung = []
    monkeypatch.setattr(store.database, "at_once", rung.append)
    for _ in range(50):
        store.bell.ring()

    assert 1 <= len(rung) < 10


def test_a_ring_within_an_own_statement_is_heard(store, ear):
    """It comes with the answer, so the connection has nothing more to say."""
    store.bell.ring()

    assert rang(ear)


def test_a_listener_whose_connection_is_cut_listens_again(store, ear, template):
    server = template.server
    (pid,) = [row[0] for row in server.execute(BACKENDS)]
    server.execute(f"SELECT pg_terminate_backend({pid})")
    wait_until(lambda: rang(ear))  # what came meanwhile is to be found

    store.queues.list()
    other = again(store)
    enqueue(other)
    other.close()

    assert rang(ear, within=5)


def test_what_was_committed_is_no_error_when_nobody_can_be_rung(store, monkeypatch):
    def fail(*_):
        raise store.database.dialect._driver.OperationalError("gone")

    monkeypatch.setattr(store.database, "at_once", fail)

    enqueue(store)


def test_a_server_that_is_killed_is_found_again_when_it_is_back(template, ear, store):
    run_id = enqueue(store)
    template.server.stop(signal.SIGKILL)
    template.server.start()

    assert run_id == store.runs.get(run_id).run_id
    assert rang(ear, within=5)
    other = again(store)
    enqueue(other)
    other.close()
    assert rang(ear, within=5)
