"""Fault 32: values that cannot be stored, or that readers of JSON would take differently.

Each is refused before it is accepted, with the path of the value and the reason, in Python and on
the command line; nothing of it is in the store, and the worker beside it does not notice.
"""

from __future__ import annotations

import subprocess

import pytest

from helpers.workers import PATIENCE, ended_all, holdfast
from holdfast import BadArguments
from holdfast.cli import errors
from holdfast.store.runs import RunFilter

DEEP = 20_000


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = {
    "100 MB": (lambda: {"text": "x" * 100_000_000}, "args[0]", "above the limit of 1048576"),
    "deep": (lambda: nested(DEEP), "args[0]" + "[0]" * 64, "nested deeper than 64 levels"),
    "NaN": (lambda: {"a": [1.5, float("nan")]}, "args[0].a[1]", "nan is not a JSON number"),
    "1e999": (lambda: [1e999], "args[0][0]", "inf is not a JSON number"),
    "digits": (lambda: [0, 10**200_000], "args[0][1]", "does not fit into 64 bits"),
    "surrogate": (lambda: {"a": "x\ud800"}, "args[0].a", "a lone surrogate at position 1"),
}
TYPED = {
    "deep": ("[" * DEEP + "]" * DEEP, "args[0]: nested deeper than 64 levels"),
    "NaN": ('{"a": [1.5, NaN]}', "args[0].a[1]: NaN is not a JSON number"),
    "1e999": ("[1e999]", "args[0][0]: 1e999 is too large for a number"),
    "digits": ("[0, " + "9" * 100_000 + "]", "args[0][1]: the integer does not fit into 64 bits"),
    "escaped surrogate": ('{"a": "x\\ud800"}', "args[0].a: the text has a lone surrogate"),
    "bytes": (b"x\xed\xa0\x80", "args[0]: the text has a lone surrogate at position 1"),
    "twice": ('{"a": {"b": 1, "b": 2}}', "args[0].a: the key 'b' stands there more than once"),
    "cut": ('{"a": ', "args[0]: it begins like JSON and is none"),
}


def assert_only(store, runs):
    """Nothing is in the store but these runs, and they succeed."""
    assert {run.id for run in runs} == {record.run_id for record in store.runs.list(RunFilter())}
    assert ["succeeded"] * len(runs) == [record.state for record in ended_all(runs)]


@pytest.mark.parametrize("kind", VALUES)
def test_value_is_refused_in_python_before_it_is_accepted(worker, tasks, store, kind):
    here = worker(executors=1)
    make, path, reason = VALUES[kind]
    before = tasks.add.enqueue(1, 2)

    with pytest.raises(BadArguments) as refused:
        tasks.give_back.enqueue(make())

    assert path == refused.value.path
    assert reason in refused.value.problem
    assert len(str(refused.value)) < 1000
    assert_only(store, [before, tasks.add.enqueue(3, 4)])
    assert here.process.poll() is None


def test_values_are_refused_on_the_command_line_before_they_are_accepted(worker, tasks, store):
    worker(executors=1)
    enqueue = holdfast("--app", "sample_tasks:app", "enqueue", "sample_tasks.give_back")

    clients = {
        kind: worker.start(*enqueue, text, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for kind, (text, _) in TYPED.items()
    }

    for kind, client in clients.items():
        output, said = client.communicate(timeout=PATIENCE)
        assert (errors.USAGE, b"") == (client.returncode, output), kind
        assert said.decode().startswith(f"holdfast: {TYPED[kind][1]}"), kind
        assert said.count(b"\n") == 1, kind
    assert_only(store, [])


def test_a_name_that_is_given_twice_is_refused_on_the_command_line(worker, tasks, store):
    enqueue = holdfast("--app", "sample_tasks:app", "enqueue", "sample_tasks.add")

    client = worker.start(*enqueue, "a=1", "b=2", "a=3", stderr=subprocess.PIPE)
    _, said = client.communicate(timeout=PATIENCE)

    assert errors.USAGE == client.returncode
    assert said == b"holdfast: a: it is given more than once\n"
    assert_only(store, [])


def test_command_with_bytes_that_are_no_text_is_refused(worker, tasks, store):
    client = worker.start(
        *holdfast("run", "--detach", "--", "echo", b"\xff"), stderr=subprocess.PIPE
    )
    _, said = client.communicate(timeout=PATIENCE)

    assert errors.USAGE == client.returncode
    assert said.startswith(b"holdfast: args[1]: the text has a lone surrogate at position 0")
    assert_only(store, [])
