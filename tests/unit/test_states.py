"""The table of states says which moves are allowed; the store's statements keep to it."""

from __future__ import annotations

from holdfast.core.states import ALLOWED, FINAL_STATES, LIVE_STATES, RunState


def test_every_state_has_its_row_in_the_table():
    assert set(RunState) == set(ALLOWED)


def test_a_state_is_either_live_or_final():
    assert set(RunState) == LIVE_STATES | FINAL_STATES
    assert not LIVE_STATES & FINAL_STATES


def test_only_an_attempt_leads_to_success():
    assert [RunState.RUNNING] == [
        state for state, next_states in ALLOWED.items() if RunState.SUCCEEDED in next_states
    ]


def test_only_a_queued_run_can_be_claimed():
    assert [RunState.QUEUED] == [
        state for state, next_states in ALLOWED.items() if RunState.RUNNING in next_states
    ]


def test_an_ended_run_only_goes_back_to_the_queue():
    assert all(ALLOWED[state] == {RunState.QUEUED} for state in FINAL_STATES)


def test_every_state_can_be_reached_and_every_live_state_can_end():
    reached = {RunState.SCHEDULED, RunState.QUEUED}
    for _ in RunState:
        reached |= {after for state in reached for after in ALLOWED[state]}

    assert set(RunState) == reached
    assert all(ALLOWED[state] & FINAL_STATES for state in LIVE_STATES)
