"""Programs that tests start in processes of their own, several at once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from helpers.databases import settings_for
from helpers.factories import a_new_run, a_settlement, a_worker, claim
from holdfast.core.config import StoreSettings
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


def compact_all(start, _number, folder):
    """Compact logs while others do, until nothing is left; return how many steps that took."""
    store = open_store(settings_for(folder))
    start.wait()
    steps = 0
    while store.upkeep.compact():
        steps += 1
    store.close()
    return steps


def claim_and_settle(start, _number, url, limits, ids):
    """Claim and settle runs with concurrency keys while others do, until all of them have ended.

    Returns which limits were seen passed in the store: right after each claim, and each settling.
    """
    store = open_store(StoreSettings(url=url, wait_seconds=5.0))
    worker_id = a_worker(store)
    passed, held = [], []

    def look(tx):
        found = {key: tx.row("running_with_key", concurrency_key=key)[0] for key in limits}
        passed.extend((key, count) for key, count in found.items() if count > limits[key])

    start.wait()
    while held or store.runs.live_among(ids):
        claims = claim(store, worker_id, 4)
        store.database.read(look)
        held += claims
        done, held = held[:2], held[2:]
        settlements = [a_settlement(one) for one in done]
        _, more = store.leases.settle_and_claim(worker_id, settlements, {False: 2}, ["*"])
        store.database.read(look)
        held += more
        if not held:
            store.leases.unblock_idle_keys()
    store.close()
    return passed
