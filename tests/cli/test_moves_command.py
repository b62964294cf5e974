from __future__ import annotations

import os
import subprocess
from contextlib import closing

import pytest

from helpers.factories import a_worker, claim_one, enqueue, settle
from helpers.logs import append, end
from helpers.workers import holdfast as words
from holdfast.cli import errors, moves
from holdfast.core.config import StoreSettings
from holdfast.core.models import WorkerState
from holdfast.store import copying, open_store
from holdfast.store.moving import Progress

NEW = "sqlite:///new/holdfast.db"


@pytest.fixture
def other(folder):
    """The store that the one of the settings is moved to."""
    with closing(open_store(StoreSettings(url=NEW))) as store:
        yield store


@pytest.fixture
def filled(live):
    """A store with a run that has ended, and one that waits."""
    worker = a_worker(live)
    enqueue(live)
    claimed = claim_one(live, worker)
    append(live, claimed.lease, b"all of it\n")
    end(live, claimed.lease)
    settle(live, worker, claimed)
    live.workers.set_state(worker, WorkerState.STOPPED)
    enqueue(live)
    return live


def call(*arguments):
    """The command line in a process of its own."""
    return subprocess.run(
        words(*arguments), check=False, capture_output=True, text=True, env=os.environ, timeout=60
    )


def test_a_move_tells_how_it_goes_on_and_what_it_has_brought(filled, other, holdfast):
    done = holdfast("migrate", "--from", filled.url, "--to", NEW)

    lines = done.stdout.splitlines()
    assert "run: 2 of 2" in lines
    assert f"Moved to {other.url}: 2 runs, 1 attempt, 10 B of logs." in lines
    assert "HOLDFAST_STORE" in lines[-1]
    assert errors.OK == done.exit_code
    assert 2 == len(holdfast("--store", NEW, "list", "--json").stdout.split('"run_id"')) - 1


def test_the_store_of_the_settings_is_moved_unless_another_is_named(filled, other, holdfast):
    assert errors.OK == holdfast("migrate", "--to", NEW).exit_code

    again = holdfast("migrate", "--to", NEW)

    assert errors.OK == again.exit_code
    assert f"{filled.url} was moved to {other.url} before" in again.stdout
    back = holdfast("--store", NEW, "migrate", "--to", filled.url)
    assert errors.STORE == back.exit_code
    assert "is not empty" in back.stderr


def test_a_move_without_its_end_is_wrong_usage(live, holdfast):
    done = holdfast("migrate", "--from", live.url)

    assert errors.USAGE == done.exit_code
    assert f"Move it where? `holdfast migrate --from {live.url} --to URL`." in done.stderr


def test_no_store_is_made_to_be_moved(folder, holdfast):
    done = holdfast("migrate", "--from", "sqlite:///nothing/x.db", "--to", NEW)

    assert errors.STORE == done.exit_code
    assert "There is no store at" in done.stderr
    assert [] == list(folder.iterdir())


def test_a_wrong_address_is_a_wrong_setting(live, holdfast):
    done = holdfast("migrate", "--to", "sqlite://new.db")

    assert errors.SETTINGS == done.exit_code


def test_a_living_worker_is_named(live, holdfast):
    worker = a_worker(live)

    done = holdfast("migrate", "--to", NEW)

    assert errors.STORE == done.exit_code
    assert f"has workers that are up: {worker} on lathe (pid 4711). Stop them first" in done.stderr


@pytest.mark.parametrize("command", [["up"], ["worker"], ["run", "--detach", "--", "true"]])
def test_the_old_store_says_where_it_went(filled, other, holdfast, command):
    holdfast("migrate", "--to", NEW)

    done = call("--store", filled.url, *command)

    told = f"this store is being moved to {other.url}"
    sentence = f"holdfast: The store {filled.url} refuses what it was given: {told}.\n"
    assert (errors.STORE, "", sentence) == (done.returncode, done.stdout, done.stderr)
    assert errors.OK == holdfast("--store", filled.url, "list").exit_code


def test_the_new_store_carries_out_what_was_enqueued_to_the_old_one(folder, live, other, holdfast):
    run_id = holdfast("run", "--detach", "--", "sh", "-c", "echo moved").stdout.strip()
    holdfast("migrate", "--to", NEW)
    worker = subprocess.Popen(words("--store", NEW, "worker"), stderr=subprocess.DEVNULL)
    try:
        followed = call("--store", NEW, "logs", "-f", run_id)
    finally:
        worker.terminate()
        worker.wait(30)

    assert "moved\n" == followed.stdout


def test_a_move_that_is_given_up_opens_the_old_store(filled, other, holdfast, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(copying.Copy, "go_on", lambda _: iter([1 / 0]))
        with pytest.raises(ZeroDivisionError):
            holdfast("migrate", "--to", NEW)
    assert errors.STORE == holdfast("run", "--detach", "--", "true").exit_code

    done = holdfast("migrate", "--give-up")

    assert f"{filled.url} is open again." in done.stdout
    assert errors.OK == holdfast("run", "--detach", "--", "true").exit_code
    assert "is not being moved" in holdfast("migrate", "--give-up").stdout
    assert errors.USAGE == holdfast("migrate", "--give-up", "--to", NEW).exit_code


def test_a_big_table_is_told_in_tenths(capsys):
    with moves.Shown() as shown:
        for done in range(0, 1001, 7):
            shown.tell(Progress("run", done, 1000))
        shown.tell(Progress("run", 1000, 1000))
        shown.tell(Progress("live", 0, 0))

    lines = capsys.readouterr().out.splitlines()
    assert 10 == len(lines)
    assert "run: 1000 of 1000" == lines[-1]


def test_a_terminal_gets_bars(monkeypatch, capsys):
    monkeypatch.setattr(moves.sys.stdout, "isatty", lambda: True)

    with moves.Shown() as shown:
        shown.tell(Progress("run", 0, 1000))
        shown.tell(Progress("run", 1000, 1000))

    assert "1000/1000" in capsys.readouterr().out
