"""Claims on PostgreSQL: in one statement, from all lanes, and by the index."""

from __future__ import annotations

import pytest

from helpers.factories import a_worker, claim, enqueue, enqueue_many
from holdfast.store import claiming

pytestmark = pytest.mark.only("postgres")


def test_an_idle_worker_claims_from_all_its_lanes_in_one_statement(store, monkeypatch):
    worker_id = a_worker(store, tasks=("a", "b"), shared=("b",))
    first = enqueue(store, task="a", queue="north")
    second = enqueue(store, task="b", queue="south")
    shared = enqueue(store, task="b", queue="north", shared=True)
    asked = count_statements(store, monkeypatch)

    _, claims = store.leases.settle_and_claim(worker_id, [], {False: 5, True: 5}, ["*"])

    assert [first, second, shared] == [one.run_id for one in claims]
    assert ["claim_across"] == asked
    assert [] == claim(store, worker_id)
    assert ["claim_across", "claim_across", "living_worker"] == asked


def test_runs_with_a_key_are_claimed_though_they_take_more_than_one_statement(store):
    worker_id = a_worker(store)
    keyed = enqueue(store, concurrency_key="k", priority=5)
    plain = enqueue(store)

    claims = [one.run_id for _ in range(3) for one in claim(store, worker_id, 2)]

    assert [plain, keyed] == claims


def count_statements(store, monkeypatch):
    """The names of the statements that are transactions by themselves; others are refused."""
    asked = []
    ask = store.database.ask_alone

    def note(query, values):
        asked.append(query)
        return ask(query, values)

    monkeypatch.setattr(store.database, "ask_alone", note)
    monkeypatch.setattr(store.database, "write", None)
    return asked


@pytest.mark.parametrize("queues", [1, 3])
@pytest.mark.parametrize("known", [True, False])
def test_a_claim_goes_by_its_index_whatever_the_server_knows_of_the_table(store, queues, known):
    worker_id = a_worker(store)
    for number in range(queues):
        enqueue_many(store, 5000, queue=f"queue {number}")
    if known:
        store.database.write(lambda tx: tx.script(["ANALYZE holdfast.live"]))
    text, bind, _ = store.database._queries["claim_across"]
    values = claiming.place_across(worker_id, ["*"], {False: 200, True: 8}) | {"now": 1}

    with store.database.transaction() as tx:
        asked = tx._connection.execute("EXPLAIN (FORMAT JSON) " + text, bind(values))
        ((plan,),) = asked.fetchall()

    assert {"live_claim_idx", "live_pkey"} == set(ways_into(plan[0]["Plan"], "live"))


def ways_into(plan, table):
    """The indexes by which a plan reads a table, or how else it does."""
    if plan.get("Relation Name") == table and "Scan" in plan["Node Type"]:
        yield plan.get("Index Name", plan["Node Type"])
    for part in plan.get("Plans", ()):
        yield from ways_into(part, table)
