"""Random histories of the store, with zombies and faults, keep the promises.

`test_the_machine_finds_a_missing_guard` takes one guard away at a time and expects the machine to
notice: a check that cannot fail proves nothing.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from helpers.faulty import FAULTS
from helpers.store_machine import StoreMachine
from holdfast.store import queries

GENTLE = {"deadline": None, "suppress_health_check": list(HealthCheck)}


SEARCH = {
    "max_examples": 300,
    "stateful_step_count": 40,
    "phases": [Phase.generate],
    "derandomize": True,
    "print_blob": False,
    "report_multiple_bugs": False,
}


def run_machine(template, spoil=None, **options):
    """Run the machine on copies of an empty store."""
    own = {"template": template, "spoil": staticmethod(spoil), "struck": Counter()}
    machine = type("Machine", (StoreMachine,), own)
    run_state_machine_as_test(machine, settings=settings(**GENTLE, **options))
    return machine


def test_random_histories_keep_the_promises(template):
    machine = run_machine(template, max_examples=120, stateful_step_count=50)

    assert set(FAULTS) == set(machine.struck)


ENDED = "attempt = :attempt AND state = 'running'"
MISSING_GUARDS = {
    "an older attempt can end the run": ("end_all_live", f"AND {ENDED}", "AND state = 'running'"),
    "an older attempt can end it alone": ("end_live", f"AND {ENDED}", "AND state = 'running'"),
    "an older attempt can give the run back": ("return_live", "AND attempt = :attempt", ""),
    "a cancel is forgotten": ("return_live", "AND cancel_by IS NULL", ""),
    "an attempt number is used twice": ("claim", "attempt = attempt + 1,", ""),
    "a retry begins to count again": ("reinsert_live", "'queued', e.attempt,", "'queued', 0,"),
    "a retry of a live run is allowed": ("delete_ended", "= :run_id", "= ''"),
    "a running run is cancelled as if it waited": (
        "cancel_waiting",
        "AND state IN ('queued', 'scheduled')",
        "",
    ),
    "a run that is not due starts": ("promote_candidates", "AND due_at <= :now", ""),
    "a key is counted wrongly": ("running_with_key", "state = 'running'", "state = 'walking'"),
    "a key is not handed on": ("unblock", "SET blocked = 0", "SET blocked = 1"),
    "a dedupe key is ignored": ("live_run_with_dedupe_key", "= :dedupe_key", "= 'nobody'"),
    "a repeated outcome is refused": ("ending_of_attempt", "AND attempt = :attempt", "AND 1 = 0"),
    "the dead are believed": ("living_worker", "AND state < 2", ""),
    "the dead may claim": ("lanes", "AND w.state < 2", ""),
    "the attempts of the dead stay": ("held_by_worker", "l.state = 'running'", "1 = 0"),
}


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("missing", MISSING_GUARDS)
def test_the_machine_finds_a_missing_guard(template, store, missing):
    name, guard, instead = MISSING_GUARDS[missing]
    sql = queries.load("sqlite")[name]
    assert guard in sql
    changed = store.database.dialect.adapt(sql.replace(guard, instead))

    def spoil(store):
        store.database._queries = {**store.database._queries, name: changed}

    assert_found(template, spoil)


def assert_found(template, spoil):
    """The machine must tell of what is spoilt, however it does."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever tells of it
        run_machine(template, spoil, **SEARCH)

    assert not isinstance(caught.value, KeyboardInterrupt)


@pytest.mark.only("sqlite")
def test_the_machine_finds_a_commit_whose_fate_is_told_wrongly(template):
    def spoil(store):
        store.database.dialect.is_half_done = lambda _: False

    assert_found(template, spoil)


@pytest.mark.only("sqlite")
def test_the_machine_finds_a_repeated_transaction_after_a_commit(template):
    """What is done and then fails must not be done again by the store itself."""

    def spoil(store):
        store.database.dialect.is_transient = lambda _: True
        store.database.dialect.is_half_done = lambda _: False

    assert_found(template, spoil)
