"""The checker is quiet about correct histories, and finds every error planted in one."""

from __future__ import annotations

import random
from itertools import count

import msgspec
import pytest

from holdfast.core.states import FINAL_STATES, AttemptOutcome, RunState
from torture import errors_of_deaths, errors_of_keys, errors_of_logs, errors_of_runs
from torture.checker import check
from torture.findings import Finding
from torture.history import Mark, read_history, write_history
from torture.invented import invent
from torture.planting import Subject, mutations_in

CORRECT = 300  # histories
TRIES = 25  # histories for each kind of error
MUTATIONS = mutations_in(errors_of_deaths, errors_of_keys, errors_of_logs, errors_of_runs)
MUTATION_IDS = [mutation.__name__ for mutation in MUTATIONS]


def planted(mutation):
    """Histories with one error of a kind in each."""
    for seed in count():
        history = invent(seed)
        if mutation(Subject(history, random.Random(seed))):
            yield seed, history


def test_nothing_is_found_in_correct_histories():
    false_alarms = [
        f"{seed}: {finding}" for seed in range(CORRECT) for finding in check(invent(seed))
    ]

    assert not false_alarms


def test_correct_histories_hold_everything_that_errors_are_planted_in():
    histories = [invent(seed) for seed in range(20)]

    outcomes = {a.outcome for h in histories for run in h.dump for a in run.attempts}
    states = {run.state for history in histories for run in history.dump}

    assert set(AttemptOutcome) - {AttemptOutcome.TIMED_OUT} == outcomes
    assert FINAL_STATES | {RunState.SCHEDULED} == states


def test_there_are_enough_kinds_of_errors():
    assert len(MUTATIONS) >= 20
    assert len(MUTATIONS) * TRIES >= 1000


@pytest.mark.parametrize("mutation", MUTATIONS, ids=MUTATION_IDS)
def test_every_planted_error_is_found(mutation):
    missed = []
    for tries, (seed, history) in enumerate(planted(mutation), 1):
        if not any(isinstance(finding, MUTATIONS[mutation]) for finding in check(history)):
            missed.append(seed)
        if tries == TRIES:
            break

    assert not missed, f"not found in the histories of the seeds {missed}"


def test_every_kind_of_finding_has_an_error_that_shows_it():
    assert set(Finding.__subclasses__()) == set(MUTATIONS.values())


def test_a_finding_tells_its_facts_and_a_sentence():
    history = invent(1)
    run = history.dump.pop(next(n for n, run in enumerate(history.dump) if run.attempts))

    found = {finding.invariant: finding for finding in check(history)}["S1"]

    assert f"Run {run.run} was accepted" in str(found)
    assert ("S1", "RunVanished") == (found.facts()["invariant"], found.facts()["kind"])


def test_a_history_is_the_same_after_it_was_written_and_read(tmp_path):
    history = invent(3)

    write_history(tmp_path, history)
    read = read_history(tmp_path)

    assert history.dump == list(read.dump)
    for name in ("clients", "witness", "sinks", "faults", "samples", "workers"):
        assert getattr(history, name) == getattr(read, name)


def test_a_torn_record_is_no_record(tmp_path):
    mark = Mark("run", 1, "start")
    text = msgspec.json.encode(mark)
    (tmp_path / "witness.jsonl").write_bytes(b"\n" + text[:-5] + b"\n" + text + b"\n")

    assert [mark] == read_history(tmp_path).witness


def test_a_record_that_is_whole_and_wrong_is_not_passed_over(tmp_path):
    (tmp_path / "witness.jsonl").write_text('\n{"run": 1}\n')

    with pytest.raises(msgspec.ValidationError):
        read_history(tmp_path)
