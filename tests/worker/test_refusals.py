"""The database refuses an outcome for good, and the others go on."""

from __future__ import annotations

import pytest

from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended, ended_all, outcomes, wait_for_lines

NO_POISON = """
CREATE TRIGGER no_poison BEFORE INSERT ON ended WHEN NEW.result LIKE '%poison%'
BEGIN SELECT RAISE(ABORT, 'no poison here'); END
"""
NO_END = """
CREATE TRIGGER no_end BEFORE INSERT ON ended WHEN NEW.run_id = '{}'
BEGIN SELECT RAISE(ABORT, 'no end here'); END
"""
NO_RETURN = """
CREATE TRIGGER no_return BEFORE UPDATE ON live WHEN NEW.run_id = '{}' AND NEW.state != 'running'
BEGIN SELECT RAISE(ABORT, 'no way back'); END
"""


@pytest.fixture
def forbid(store):
    """Let the database refuse something, by triggers."""

    def install(*triggers):
        with store.database.transaction() as tx:
            tx.script(triggers)

    return install


def test_a_result_that_the_store_refuses_fails_its_run_alone_and_says_why(worker, tasks, forbid):
    forbid(NO_POISON)
    here = worker(executors=2)

    poison = tasks.give_back.enqueue("poison")
    others = [tasks.add.enqueue(number, 1) for number in range(50)]

    assert ["succeeded"] * 50 == [record.state for record in ended_all(others)]
    assert ("failed", ["failed"]) == (ended(poison).state, outcomes(poison))
    sentence = "Its outcome was succeeded, but the store refuses it: no poison here."
    assert sentence == poison.record.error
    (refused,) = here.events("OutcomeRefused")
    assert (poison.id, 1) == (refused["run_id"], refused["attempt"])
    assert [] == here.events("StoreAway")


def test_a_run_whose_end_the_store_refuses_keeps_no_other_from_its_end(worker, tasks, forbid):
    here = worker(executors=1)
    stuck = tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")
    forbid(NO_END.format(stuck.id), NO_RETURN.format(stuck.id))
    others = [tasks.add.enqueue(number, 1) for number in range(50)]

    tasks.note("go", "go")

    assert ["succeeded"] * 50 == [record.state for record in ended_all(others)]
    wait_until(lambda: here.events("OutcomeRefused"), within=PATIENCE)
    assert ("running", []) == (stuck.state, outcomes(stuck))
    assert 0 == here.stop()


def test_a_loss_that_the_store_refuses_keeps_no_other_from_being_taken_back(worker, tasks, forbid):
    first = worker(executors=2)
    stuck, good = [tasks.hold.enqueue(name, "go") for name in ("stuck", "good")]
    wait_for_lines("witness", 2)
    forbid(NO_END.format(stuck.id), NO_RETURN.format(stuck.id))

    first.kill()
    second = worker(executors=1)
    tasks.note("go", "go")

    assert ("succeeded", ["lost", "succeeded"]) == (ended(good).state, outcomes(good))
    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)
    assert {stuck.id} == {event["run_id"] for event in second.events("OutcomeRefused")}
