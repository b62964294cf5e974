"""Fault 25: user code forks, beside threads that log and enqueue."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from helpers import forking_tasks
from helpers.heavy import heavy
from helpers.workers import PATIENCE, ended_all, outcomes, whole_log
from holdfast.store.runs import RunFilter

CHILDREN = heavy(24, 200)
WAYS = ("record", "print", "fd")
LINE = re.compile(rb"(?:[\d:.]+ INFO shop: )?((?:child\d+|thread) (?:record|print|fd)) (\d+)")


@pytest.fixture
def here(worker, forking):
    return worker(app="forking_tasks:app", executors=1)


def spoken(log):
    """The numbers of the lines of each voice in a log, and the lines that are of none."""
    voices, others = {}, []
    for line in log.splitlines():
        match = LINE.fullmatch(line)
        if match:
            voices.setdefault(match[1].decode(), []).append(int(match[2]))
        else:
            others.append(line)
    return voices, others


def assert_children_spoke(voices, children, ways):
    """Each child has said every line once and in its order."""
    lines = [*range(forking_tasks.LINES)]
    for number in range(children):
        for way in ways:
            assert lines == voices.pop(f"child{number} {way}")


def test_fork_beside_a_thread_that_logs_keeps_every_line_whole(here, forking, store):
    run = forking.fork_beside_a_thread_that_logs.enqueue(CHILDREN)
    after = forking.add.enqueue(1, 2)

    said = run.result(3 * PATIENCE)

    assert 3 == after.result(PATIENCE)
    assert ["succeeded"] == outcomes(run)
    voices, others = spoken(whole_log(store, run))
    assert_children_spoke(voices, CHILDREN, WAYS)
    assert {"thread record": [*range(said)], "thread print": [*range(said)]} == voices
    raised = CHILDREN // len(forking.ENDS)
    assert raised == others.count(b"ValueError: in the child")
    assert {0} == {count % raised for count in Counter(others).values()}  # of whole tracebacks
    assert [] == here.leftovers()


def test_fork_beside_a_thread_that_enqueues_shares_no_connection(here, forking, store):
    run = forking.fork_beside_a_thread_that_enqueues.enqueue(CHILDREN)

    of_parent, of_children = run.result(3 * PATIENCE)

    there = {record.run_id for record in store.runs.list(RunFilter(limit=100_000))}
    assert {run.id, *of_parent, *of_children} == there
    assert CHILDREN == len(set(of_children))
    runs = [forking.app.get_run(run_id) for run_id in there]
    assert {"succeeded"} == {record.state for record in ended_all(runs, within=60)}
    with store.database.transaction() as tx:
        assert [("ok",)] == tx._connection.execute("PRAGMA integrity_check").fetchall()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_log_and_enqueue(here, forking, store, method):
    run = forking.start_processes.enqueue(method, 4)

    assert [3] * 4 == run.result(3 * PATIENCE)
    # A fresh interpreter has not set up logging.
    assert_worked(forking, store, run, WAYS if method == "fork" else WAYS[1:])


def test_programs_that_a_task_runs_log_and_enqueue(here, forking, store):
    run = forking.run_programs.enqueue(4)

    assert [3] * 4 == run.result(3 * PATIENCE)
    assert_worked(forking, store, run, WAYS[1:])


def assert_worked(forking, store, run, ways):
    """The four processes have said all they had to say, and what they enqueued is carried out."""
    voices, others = spoken(whole_log(store, run))
    assert_children_spoke(voices, 4, ways)
    ids = [line.split()[1].decode() for line in others if line.startswith(b"enqueued ")]
    assert ({}, 4, 4) == (voices, len(ids), len(others))
    runs = [forking.app.get_run(run_id) for run_id in ids]
    assert [3] * 4 == [run.result(PATIENCE) for run in runs]
    assert 3 == forking.add.enqueue(1, 2).result(PATIENCE)
