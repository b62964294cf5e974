from __future__ import annotations

import pytest

from holdfast.core.clock import FixedClock
from holdfast.core.errors import StoreUnavailable
from holdfast.worker.loop import Duties, Duty


@pytest.mark.parametrize(("answer", "due"), [(True, 1.0), (False, 60.0), (None, 60.0), (5, 60.0)])
def test_a_duty_with_more_to_do_is_due_soon(answer, due):
    duty = Duty("clean", 60.0, lambda: answer, soon=1.0)

    duty.run_if_due(FixedClock())

    assert due == duty.due


def test_a_duty_that_fails_is_told_and_tried_again(caplog):
    def fail():
        raise ValueError("no")

    duty = Duty("clean", 60.0, fail, soon=1.0)

    duty.run_if_due(FixedClock())

    assert 60.0 == duty.due
    assert "ValueError: no" in caplog.text


def test_while_the_store_is_away_one_duty_asks_for_all_and_others_go_on():
    asked, clock = [], FixedClock()

    def ask():
        asked.append("store")
        raise StoreUnavailable(store="postgresql://db/shop", problem="no answer")

    alone = Duty("executors", 0.1, lambda: asked.append("alone"), asks_store=False)
    duties = Duties([Duty("reaper", 0.1, ask), alone, Duty("cancels", 0.1, ask)])

    next_due = duties.do(clock)
    assert ["store", "alone"] == asked
    assert 0.1 == next_due

    clock.advance(0.2)
    duties.do(clock)
    assert ["store", "alone", "alone"] == asked

    clock.advance(1.0)
    duties.do(clock)
    assert ["store", "alone", "alone", "store", "alone"] == asked
