"""Programs that tests start in processes of their own, several at once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from helpers.databases import settings_for
from helpers.factories import a_new_run, a_worker, claim
from holdfast.store import open_store


def at_once(count, program, *arguments):
    """Run a program in so many fresh processes, started together; return what each returned."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as shared:
        start = shared.Barrier(count)
        with ProcessPoolExecutor(count, mp_context=context) as pool:
            asked = [pool.submit(program, start, number, *arguments) for number in range(count)]
            return [each.result(timeout=60) for each in asked]


def enqueue_and_claim(start, number, folder, runs):
    """Enqueue runs while others do, then claim until none is left; return both lists of ids."""
    store = open_store(settings_for(folder))
    start.wait()
    store.prepare()
    mine = [a_new_run(queue=f"q{number}") for _ in range(runs)]
    for new in mine:
        store.runs.insert([new])
    worker_id = a_worker(store)
    claimed = []
    while found := claim(store, worker_id, 5):
        claimed += [one.run_id for one in found]
    start.wait()  # others may still have enqueued
    while found := claim(store, worker_id, 5):
        claimed += [one.run_id for one in found]
    return [new.run_id for new in mine], claimed


def prepare(start, _number, folder):
    """Make a store ready while others do."""
    store = open_store(settings_for(folder))
    start.wait()
    store.prepare()
    return store.migrate()
