"""Waking where the server tells nobody of anything: by looks that cost little and never do harm."""

from __future__ import annotations

import select
import signal

import pytest

from helpers.databases import again
from helpers.factories import a_run, enqueue
from helpers.waiting import wait_until

pytestmark = pytest.mark.only("mysql")


@pytest.fixture
def ear(store):
    ear = store.bell.listen()
    wait_until(lambda: rang(ear))  # it rings when it can hear: what came before is to be found
    yield ear
    ear.close()


def rang(ear, within=0.0):
    return bool(select.select([ear], [], [], within)[0]) and ear.clear()


def test_every_listener_hears_what_another_process_enqueues(store, ear):
    other = again(store)
    second = other.bell.listen()
    wait_until(lambda: rang(second))
    enqueue(again(store))

    assert rang(ear, within=5)
    assert rang(second, within=5)
    assert not rang(ear, within=0.1)
    second.close()
    other.close()


def test_what_happens_in_this_process_is_heard_at_once(store, ear):
    run_id, _ = a_run(store, "queued")
    store.runs.cancel(run_id, by="anna")
    wait_until(lambda: rang(ear))

    store.runs.retry(run_id)

    assert rang(ear)


def test_a_listener_that_was_closed_is_rung_no_more(store):
    ear = store.bell.listen()
    ear.close()

    enqueue(store)


def test_a_listener_whose_connection_is_cut_looks_again(store, ear, template):
    template.server.cut()
    assert rang(ear, within=5)  # what came meanwhile is to be found

    enqueue(again(store))

    assert rang(ear, within=5)


def test_a_server_that_is_killed_is_found_again_when_it_is_back(template, ear, store):
    run_id = enqueue(store)
    template.server.stop(signal.SIGKILL)
    template.server.start()

    assert run_id == store.runs.get(run_id).run_id
    wait_until(lambda: rang(ear), within=20)
    enqueue(again(store))
    assert rang(ear, within=5)
