"""Waking over PostgreSQL: a hint that crosses machines, outlives servers, and never does harm."""

from __future__ import annotations

import math
import select
import signal

import pytest

from helpers.databases import again
from helpers.factories import enqueue
from helpers.waiting import wait_until

pytestmark = pytest.mark.only("postgres")
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN holdfast'"


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


def test_a_process_that_enqueues_much_rings_little(store, monkeypatch):
    rung = []
    monkeypatch.setattr(store.database, "at_once", rung.append)
    for _ in range(50):
        store.bell.ring()

    assert 1 <= len(rung) < 10


def test_what_was_not_rung_for_is_looked_for_soon(store, ear):
    store.bell.ring()
    store.bell._rung = math.inf  # whatever comes now comes too soon
    enqueue(store)

    assert rang(ear, within=5)
    assert rang(ear, within=5)
    assert not rang(ear, within=0.1)


def test_a_listener_whose_connection_is_cut_listens_again(store, ear, template):
    server = template.server
    (pid,) = [row[0] for row in server.execute(BACKENDS)]
    server.execute(f"SELECT pg_terminate_backend({pid})")
    assert rang(ear, within=5)  # what came meanwhile is to be found

    wait_until(lambda: server.execute(BACKENDS))
    enqueue(store)

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
    wait_until(lambda: template.server.execute(BACKENDS))
    assert rang(ear, within=5)
