"""Fault 17: the server has carried out a COMMIT, and its answer is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from helpers.servers import proxy, server, store, through
from helpers.waiting import wait_until
from helpers.workers import (
    PATIENCE,
    ended_all,
    lines_of,
    outcomes,
    wait_for_lines,
    whole_log,
)
from holdfast import StoreUnavailable, new_id
from holdfast.store.runs import RunFilter

__all__ = ["proxy", "server", "store", "through"]


def there(store):
    """The ids of all runs."""
    return [record.run_id for record in store.runs.list(RunFilter(limit=10_000))]


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_enqueue_repeats_itself_and_makes_one_run(tasks, store, through, proxy, at_once):
    tasks.app.store = through
    first = tasks.add.enqueue(0, 0)
    proxy.lose(every=2)

    runs = [first]
    for number in range(20):
        runs += tasks.app.enqueue_many([tasks.add.call(number, n) for n in range(at_once)])

    assert proxy.lost >= 10
    assert 1 + 20 * at_once == len(runs)
    assert sorted(run.id for run in runs) == sorted(there(store))


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_enqueue_that_cannot_look_says_that_nobody_knows(tasks, store, through, proxy, at_once):
    """The commit is done, and then nobody is let in: however often it knocks, it stays unknown."""
    tasks.app.store = through
    tasks.add.enqueue(0, 0)
    through.database.wait_seconds = 0.5
    ids = [new_id() for _ in range(at_once)]
    calls = [tasks.add.using(run_id=run_id).call(1, 2) for run_id in ids]
    proxy.lose(then_shut=True)

    with pytest.raises(StoreUnavailable) as unsure:
        tasks.app.enqueue_many(calls)
    assert unsure.value.unknown
    assert set(ids) <= set(there(store))

    proxy.heal()
    assert ids == [run.id for run in tasks.app.enqueue_many(calls)]
    assert 1 + at_once == len(there(store))


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_enqueue_that_never_reached_the_server_says_that_nothing_is_there(
    tasks, store, through, proxy, at_once
):
    tasks.app.store = through
    first = tasks.add.enqueue(0, 0)
    through.database.wait_seconds = 0.3
    proxy.shut()
    through.close()

    with pytest.raises(StoreUnavailable) as refused:
        tasks.app.enqueue_many([tasks.add.call(1, n) for n in range(at_once)])

    assert not refused.value.unknown
    assert [first.id] == there(store)


def test_a_look_is_repeated_and_knows_what_it_saw(tasks, store, through, proxy):
    run = tasks.add.enqueue(1, 2)
    assert run.id == through.runs.get(run.id).run_id
    proxy.lose(every=2)

    assert {run.id} == {through.runs.get(run.id).run_id for _ in range(20)}
    assert proxy.lost >= 10


def test_claims_and_outcomes_are_carried_out_and_written_once(tasks, through, proxy, worker):
    """A claim that the worker has not heard of is looked up when the store is back."""
    proxy.lose(every=4, of=b"SKIP LOCKED")
    worker.store = through
    here = worker(executors=2)

    runs = [tasks.stay.enqueue(str(number), 0) for number in range(100)]
    wait_until(lambda: proxy.lost >= 5, within=PATIENCE)
    proxy.heal()
    ended_all(runs)

    assert {("succeeded",)} == {tuple(outcomes(run)) for run in runs}
    started = Counter(line.split()[1] for line in lines_of("witness") if line.startswith("start"))
    assert {str(number): 1 for number in range(100)} == started
    assert [] == here.events("AttemptFenced") + here.events("DutyFailed")


def test_logs_are_appended_once(tasks, store, through, proxy, folder, worker):
    proxy.lose(every=2, of=b"log_chunk")
    worker.store = through
    worker(executors=1)
    run = tasks.app.find_task("count_lines").enqueue(witness="seen", until="go")

    wait_for_lines("seen", 1000)
    wait_until(lambda: proxy.lost >= 4, within=PATIENCE)
    proxy.heal()
    (folder / "go").touch()
    ended_all([run])

    log = whole_log(store, run)
    assert "".join(f"line {n}\n" for n in range(log.count(b"\n"))).encode() == log
    assert log.count(b"\n") == len(lines_of("seen"))
