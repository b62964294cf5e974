"""The bell: a hint that something was committed, which may fail and never does harm."""

from __future__ import annotations

import resource
import select

import pytest

from helpers.factories import a_run, enqueue

pytestmark = pytest.mark.only("sqlite")


@pytest.fixture
def ear(store):
    ear = store.bell.listen()
    yield ear
    ear.close()


def rang(ear):
    """Tell whether it rang since the last look, without waiting."""
    return bool(select.select([ear], [], [], 0)[0]) and ear.clear()


def test_everybody_hears_an_enqueue_on_the_same_store(store, ear):
    other = store.bell.listen()
    enqueue(store)

    assert rang(ear)
    assert rang(other)
    other.close()


def test_nothing_is_heard_before_something_happens_or_a_second_time(store, ear):
    assert not rang(ear)
    enqueue(store)
    assert rang(ear)
    assert not rang(ear)
    assert not ear.clear()


def test_cancel_retry_and_resume_ring_too(store, ear):
    run_id, _ = a_run(store, "queued")
    assert rang(ear)

    store.runs.cancel(run_id, by="anna")
    assert rang(ear)

    store.runs.retry(run_id)
    assert rang(ear)

    store.queues.resume("default")
    assert rang(ear)


def test_a_listener_that_died_is_forgotten(store, ear):
    dead = store.bell.listen()
    dead._socket.close()
    enqueue(store)

    assert [ear._path] == list(store.bell.folder.iterdir())
    assert rang(ear)


def test_a_listener_that_never_looks_does_not_hold_up_an_enqueue(store, ear):
    for _ in range(1000):
        store.bell.ring()

    assert rang(ear)


def test_a_folder_with_a_long_name_can_be_rung(store, tmp_path):
    store.bell.folder = tmp_path / ("x" * 120) / "bell"
    ear = store.bell.listen()
    store.bell.ring()

    assert rang(ear)
    ear.close()


def test_nobody_listening_is_no_error(store):
    enqueue(store)

    assert not store.bell.folder.exists()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_else_lies_in_the_way_of_the_bell_fails_no_enqueue(store, what):
    if what == "file":
        store.bell.folder.write_text("no folder")
    else:
        (store.bell.folder / "folder").mkdir(parents=True)

    run_id = enqueue(store)

    assert run_id == store.runs.get(run_id).run_id


def test_an_enqueue_that_was_committed_does_not_fail_for_want_of_a_descriptor(store, ear):
    enqueue(store)
    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        run_id = enqueue(store)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert run_id == store.runs.get(run_id).run_id
