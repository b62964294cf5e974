"""Fault 36: workers of other versions and with other tasks on one store."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

import holdfast
from helpers.factories import a_new_run, a_worker, claim
from helpers.heavy import heavy
from helpers.waiting import wait_until
from helpers.workers import PATIENCE, ended, ended_all, outcomes, wait_for_lines
from helpers.workers import holdfast as command
from holdfast import SchemaOutdated
from holdfast.cli import errors
from holdfast.store import migrate
from holdfast.why import explain

PACKAGE = Path(holdfast.__file__).parent
UNKNOWN = heavy(5_000, 200_000)
STEPS = 100  # of SQLite's machine, the unit in which work is counted
APP = """
import os
from holdfast import App
app = App()
os.write(os.open("loaded", os.O_WRONLY | os.O_CREAT | os.O_APPEND), b"loaded\\n")
"""
TASK = """
@app.task
def {name}(value):
    return "{name} " + str(value)
"""


@pytest.fixture
def newer(folder):
    """The environment of processes that run the next version: it has one migration more."""
    place = folder / "next"
    shutil.copytree(PACKAGE, place / "holdfast", ignore=shutil.ignore_patterns("__pycache__"))
    number = migrate.steps("sqlite")[-1].version + 1
    steps = place / "holdfast" / "store" / "migrations" / "sqlite"
    (steps / f"{number:04}_next.sql").write_text("ALTER TABLE run ADD COLUMN next TEXT;\n")
    (place / "holdfast" / "version.py").write_text('__version__ = "99.0"\n')
    return {"PYTHONPATH": str(place)}


def schema(store):
    """All that a migration could change."""
    with closing(sqlite3.connect(store.database.dialect.path)) as connection:
        tables = connection.execute("SELECT * FROM sqlite_schema ORDER BY name").fetchall()
        return tables, connection.execute("SELECT * FROM schema_migration").fetchall()


def call(worker, *arguments, env=None):
    """Run a command to its end; return its exit code and what it said."""
    process = worker.start(*command(*arguments), env=env, stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said.decode()


def test_older_version_refuses_a_newer_schema_with_advice_and_leaves_it_alone(
    worker, tasks, store, newer
):
    run = tasks.add.enqueue(1, 2)
    assert errors.OK == call(worker, "migrate", env=newer)[0]
    before = schema(store)

    for arguments in (
        ("worker",),
        ("migrate",),
        ("list",),
        ("--app", "sample_tasks:app", "enqueue", "sample_tasks.add", "1", "2"),
        ("run", "--", "true"),
        ("cancel", run.id),
    ):
        code, said = call(worker, *arguments)
        assert errors.STORE == code, arguments
        assert "Install the newer Holdfast that migrated it" in said
        assert 1 == said.count("\n"), said
    with pytest.raises(SchemaOutdated, match="an older one never changes it back"):
        store.prepare()

    assert before == schema(store)
    assert "queued" == run.state
    worker("--queues", "*", executors=1, env=newer)
    assert 3 == run.result(PATIENCE)


def test_newer_version_on_an_older_schema_says_what_to_do_and_then_does_the_older_work(
    worker, tasks, store, newer
):
    run = tasks.add.enqueue(1, 2)
    before = schema(store)

    code, said = call(worker, "worker", env=newer)

    assert errors.STORE == code
    assert "Run `holdfast migrate`." in said
    assert before == schema(store)
    assert errors.OK == call(worker, "migrate", env=newer)[0]
    here = worker(executors=1, env=newer)
    assert 3 == run.result(PATIENCE)
    assert "99.0" == here.record().version


def test_older_worker_goes_on_while_the_newer_one_migrates_and_takes_over(
    worker, tasks, store, newer, folder
):
    old = worker(executors=1)
    held = tasks.hold.enqueue("a", "go")
    wait_for_lines("witness")

    assert errors.OK == call(worker, "migrate", env=newer)[0]
    new = worker(executors=1, env=newer)
    others = [tasks.stay.enqueue(str(number), 0.01) for number in range(20)]
    (folder / "go").touch()
    ended_all([held, *others])
    assert 0 == old.stop()
    after = tasks.add.enqueue(1, 2)

    assert 3 == after.result(PATIENCE)
    assert [["succeeded"]] * 21 == [outcomes(run) for run in [held, *others]]
    assert old.worker_id == held.attempts[0].worker_id
    assert new.worker_id == after.attempts[0].worker_id


# Tasks that are not everywhere


def write(folder, module, *names):
    """Write an app with some tasks."""
    (folder / f"{module}.py").write_text(APP + "".join(TASK.format(name=name) for name in names))


@pytest.fixture
def enqueue(store):
    """Enqueue a run by the name of its task, as a program with that task would."""
    app = holdfast.App()
    app.store = store

    def make(name, value="x"):
        known = app.tasks.get(name)
        task = known or app.task(name=name)(lambda _value: None)
        return task.enqueue(value)

    return make


def test_unknown_task_waits_with_a_reason_and_does_not_fail(worker, store, folder, enqueue):
    write(folder, "shop", "old")
    here = worker(app="shop:app", executors=1)
    unknown = enqueue("shop.new")

    assert "old 1" == enqueue("shop.old", 1).result(PATIENCE)

    assert ("queued", []) == (unknown.state, outcomes(unknown))
    reason = explain(store, unknown.record).sentence
    assert "The run waits because no worker that is up knows task 'shop.new'." == reason
    assert 0 == here.stop()
    write(folder, "shop", "old", "new")
    worker(app="shop:app", executors=1)
    assert ("new x", ["succeeded"]) == (unknown.result(PATIENCE), outcomes(unknown))


def test_unknown_tasks_in_front_keep_nobody_waiting(worker, store, folder, enqueue):
    write(folder, "shop", "old")
    unknown = [a_new_run(task="shop.new") for _ in range(UNKNOWN)]
    store.runs.insert(unknown)
    worker(app="shop:app", executors=2)

    known = [enqueue("shop.old", number) for number in range(100)]

    assert [f"old {n}" for n in range(100)] == [run.result(PATIENCE) for run in known]
    assert "queued" == store.runs.get(unknown[0].run_id).state


def test_unknown_tasks_in_front_make_the_claim_no_dearer(store):
    """The work of SQLite is counted, not the time: that depends on the machine."""
    worker_id = a_worker(store, ["shop.old"])

    def cost():
        store.runs.insert([a_new_run(task="shop.old") for _ in range(10)])
        steps = [0]
        with store.database.transaction() as tx:
            connection = tx._connection
        connection.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1), STEPS)
        assert 10 == len(claim(store, worker_id, 10))
        connection.set_progress_handler(None, 0)
        return steps[0]

    before = cost()
    store.runs.insert([a_new_run(task="shop.new", priority=100) for _ in range(UNKNOWN)])

    assert cost() <= before + 2


def test_each_of_two_workers_does_what_it_knows(worker, store, folder, enqueue):
    write(folder, "shop", "sell", "both")
    write(folder, "mail", "send")
    (folder / "mail.py").write_text((folder / "mail.py").read_text() + named("shop.both"))
    shop = worker(app="shop:app", executors=1)
    mail = worker(app="mail:app", executors=1)

    names = ["shop.sell", "mail.send", "shop.both"]
    runs = {name: [enqueue(name, number) for number in range(30)] for name in names}

    for name, many in runs.items():
        results = [f"{name.partition('.')[2]} {number}" for number in range(30)]
        assert results == [run.result(PATIENCE) for run in many]
    workers = {n: {r.attempts[0].worker_id for r in many} for n, many in runs.items()}
    assert ({shop.worker_id}, {mail.worker_id}) == (workers["shop.sell"], workers["mail.send"])
    assert workers["shop.both"] <= {shop.worker_id, mail.worker_id}
    assert {0} == {run.record.failures for many in runs.values() for run in many}


def named(name):
    """The source of a task of another module."""
    short = name.rpartition(".")[2]
    source = TASK.format(name=short)
    return source.replace("@app.task", f"@app.task(name={name!r})")


def settled_executors(here):
    """Two executors that have loaded the app; the third was for async tasks, and there are none."""
    wait_for_lines("loaded", 3)
    wait_until(lambda: len(here.executors()) == 2, within=PATIENCE)
    return here.executors()


def test_tasks_of_code_that_changed_under_a_worker_are_done_by_its_new_executors(
    worker, store, folder, enqueue
):
    write(folder, "shop", "old", "gone")
    here = worker(app="shop:app", executors=2)
    both = settled_executors(here)
    (folder / "shop.py").unlink()
    write(folder, "shop", "old", "new")

    os.kill(both[0], signal.SIGKILL)
    runs = [enqueue("shop.new"), enqueue("shop.gone"), *(enqueue("shop.old") for _ in range(20))]

    assert ["new x", "gone x"] + ["old x"] * 20 == [run.result(PATIENCE) for run in runs]
    assert [["succeeded"]] * 22 == [outcomes(run) for run in runs]


def test_code_that_broke_under_a_worker_is_told_with_its_error(worker, store, folder, enqueue):
    write(folder, "shop", "old")
    here = worker(app="shop:app", executors=2)
    both = settled_executors(here)
    (folder / "shop.py").write_text("raise RuntimeError('ink is dry')")

    os.kill(both[0], signal.SIGKILL)

    (told,) = wait_until(lambda: here.events("AppUnusable"), within=PATIENCE)[:1]
    assert "RuntimeError: ink is dry" == told["problem"]
    assert "old x" == enqueue("shop.old").result(PATIENCE)
    assert "succeeded" == ended(enqueue("shop.old")).state
