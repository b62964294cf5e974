"""The App: what a web process does with it, on a real store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from datetime import UTC, datetime

import msgspec
import pytest

from helpers.factories import a_settlement, a_worker, claim_one, settle
from helpers.logs import append
from helpers.waiting import wait_until
from holdfast import (
    AlreadyEnqueued,
    App,
    BadArguments,
    BadOption,
    ConfigError,
    NotAllowed,
    ResultTimeout,
    RunNotFound,
    RunNotSucceeded,
    RunState,
    StoreUnavailable,
    TaskNotFound,
    new_id,
)
from holdfast.core.models import COMMAND_TASK, LogChunk, Progress, Stream, TaskOptions
from holdfast.store.runs import RunFilter


@pytest.fixture
def app(tmp_path):
    return App(store=f"sqlite:///{tmp_path}/holdfast.db")


@pytest.fixture
def send(app):
    @app.task(name="shop.send", queue_name="mail", retries=2)
    def send(user_id, *, urgent=False): ...

    return send


@pytest.fixture
def worker_id(app, send):
    return a_worker(app.store, list(app.tasks))


def test_an_app_touches_nothing_before_its_first_use(tmp_path):
    App(store=f"sqlite:///{tmp_path}/new/holdfast.db")

    assert [] == list(tmp_path.iterdir())


def test_the_store_lies_where_the_settings_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDFAST_STORE", "sqlite:///data/h.db")

    assert f"sqlite:///{tmp_path}/data/h.db" == App().store.url
    assert f"sqlite:///{tmp_path}/other.db" == App(store="sqlite:///other.db").store.url


def test_bad_settings_are_told_at_first_use():
    with pytest.raises(ConfigError, match="is not a URL"):
        App(store="holdfast.db").store  # noqa: B018 - a property that opens the store


def test_an_enqueued_run_is_in_the_store_with_what_was_asked_for(app, send):
    run = send.using(
        priority=5,
        dedupe_key="d",
        concurrency_key="c",
        concurrency_limit=2,
        run_after=datetime(2100, 1, 1, tzinfo=UTC),
    ).enqueue(7, urgent=True)

    record = run.record

    assert ("shop.send", "mail", 5) == (record.task, record.queue, record.priority)
    assert '{"args":[7],"kwargs":{"urgent":true}}' == record.arguments
    assert '{"retries":{"limit":2}}' == record.options
    assert ("d", "c", 2) == (
        record.dedupe_key,
        record.concurrency_key,
        record.concurrency_limit,
    )
    assert RunState.SCHEDULED == run.state
    assert 4_102_444_800_000_000 == record.due_at


def test_a_run_enqueued_from_a_coroutine_is_committed_when_it_returns(send):
    run = asyncio.run(wait_for(send.aenqueue(7)))

    assert RunState.QUEUED == run.state


async def wait_for(awaitable):
    return await awaitable


def test_the_event_loop_goes_on_while_the_store_is_busy(app, send):
    async def work():
        enqueued = asyncio.create_task(wait_for(send.aenqueue(7)))
        await asyncio.sleep(0)
        held.set()
        return await enqueued

    held, release = threading.Event(), threading.Event()

    def hold():
        with app.store.database.transaction():
            ready.set()
            held.wait(10)
            release.set()

    ready = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    ready.wait(10)
    assert RunState.QUEUED == asyncio.run(work()).state
    holder.join()


def test_wrong_arguments_are_refused_before_anything_is_stored(app, send):
    with pytest.raises(BadArguments):
        send.enqueue()
    with pytest.raises(BadArguments):
        send.enqueue(object())

    assert [] == app.store.runs.list(RunFilter())


def test_many_runs_are_enqueued_in_the_order_of_their_calls(app, send):
    backup = app.command("backup", ["pg_dump", "{database}"])

    runs = app.enqueue_many([send.call(1), backup.call(database="shop"), send.call(2)])

    assert ["shop.send", "backup", "shop.send"] == [run.record.task for run in runs]
    assert [] == app.enqueue_many([])


def test_an_enqueue_can_be_repeated_under_its_own_id(app, send):
    task = send.using(run_id=new_id())

    assert task.enqueue(7) == task.enqueue(7)
    assert 1 == len(app.store.runs.list(RunFilter()))
    with pytest.raises(AlreadyEnqueued):
        task.enqueue(8)


@pytest.mark.parametrize("run_id", ["7", "", "0193A0B0-0000-7000-8000-000000000000", 7])
def test_an_id_that_is_no_uuid_is_refused(send, run_id):
    with pytest.raises(BadOption, match="run_id"):
        send.using(run_id=run_id).enqueue(7)


def test_a_run_is_found_again_by_its_id(app, send):
    run = send.enqueue(7)
    again = app.get_run(run.id)

    assert run == again
    assert 1 == len({run, again})
    assert f"Run('{run.id}')" == repr(again)


@pytest.mark.parametrize("run_id", ["0193a0b0-0000-7000-8000-000000000000", "", "x' OR '1'='1"])
def test_a_run_that_is_not_there_is_not_found(app, run_id):
    with pytest.raises(RunNotFound):
        app.get_run(run_id)


def test_a_command_that_is_no_task_can_be_enqueued(app):
    run = app.run_command(["ls", "-l"], cwd="/", timeout=5)

    assert COMMAND_TASK == run.record.task
    assert '{"args":["ls","-l"],"kwargs":{"cwd":"/"}}' == run.record.arguments


def test_an_unknown_task_is_not_found_with_a_hint(app, send):
    assert send is app.find_task("shop.send")
    with pytest.raises(TaskNotFound, match=r"Did you mean 'shop.send'"):
        app.find_task("shop.sent")


# Results


def test_the_result_comes_when_the_run_has_succeeded(app, send, worker_id):
    run = send.enqueue(7)
    settle(app.store, worker_id, claim_one(app.store, worker_id), result='{"sent":[7]}')

    assert {"sent": [7]} == run.result()
    assert run.is_finished
    assert [1] == [attempt.attempt for attempt in run.attempts]


def test_a_task_that_returned_nothing_has_the_result_none(app, send, worker_id):
    run = send.enqueue(7)
    settle(app.store, worker_id, claim_one(app.store, worker_id), result=None)

    assert run.result() is None


def test_whoever_waits_for_a_result_gets_it_when_it_comes(app, send, worker_id):
    run, answers = send.enqueue(7), []
    waiting = threading.Thread(target=lambda: answers.append(run.result(timeout=10)))
    waiting.start()
    settle(app.store, worker_id, claim_one(app.store, worker_id), result="1")
    waiting.join()

    assert [1] == answers


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "crashed"])
def test_a_run_that_ended_otherwise_has_no_result_but_a_reason(app, send, worker_id, outcome):
    run = send.enqueue(7)
    claimed = claim_one(app.store, worker_id)
    settle(app.store, worker_id, claimed, outcome, error="Raised ValueError: no")

    with pytest.raises(RunNotSucceeded, match="Raised ValueError: no") as caught:
        run.result()

    assert run.state == caught.value.state


def test_patience_ends_before_the_run_does(send):
    run = send.enqueue(7)

    with pytest.raises(ResultTimeout, match="still queued after 0"):
        run.result(timeout=0)

    assert not run.is_finished


def test_a_running_run_shows_its_progress_and_its_log(app, send, worker_id):
    run = send.enqueue(7)
    assert run.progress is None
    claimed = claim_one(app.store, worker_id)
    app.store.leases.set_progress({claimed.lease: '{"done":3,"total":10,"text":"pages"}'})
    chunk = LogChunk(0, 0, 1, Stream.OUT, 1, 6, 0, 0, b"hello\n")
    app.store.logs.append({claimed.lease: [chunk]}, {})

    assert Progress(3, 10, "pages") == run.progress
    assert b"hello\n" == run.log() == run.log(attempt=1)
    assert [b"llo\n"] == [chunk.data for chunk in run.log_chunks(offset=2)]
    assert b"" == run.log(attempt=2)


def test_a_log_can_be_read_in_parts_and_searched(app, send, worker_id):
    run = send.enqueue(7)
    claimed = claim_one(app.store, worker_id)
    for number in range(1, 6):
        append(app.store, claimed.lease, b"line %d\n" % number, Stream(number % 2 + 1))

    assert b"line 2\nline 3\n" == run.log(lines=(2, 3))
    assert b"line 5\n" == run.log(tail=1) == run.log(1, tail=1, stream="err")
    assert b"line 2\nline 4\n" == run.log(stream=Stream.OUT, until=datetime(2126, 1, 1, tzinfo=UTC))
    assert [(4, 21), (5, 28)] == [(x.number, x.offset) for x in run.log_lines(since="2h", tail=2)]
    found = list(run.search_log("LINE 3", ignore_case=True, context=1))
    assert [(2, ()), (3, ((14, 6),)), (4, ())] == [(line.number, line.hits) for line in found]
    with pytest.raises(BadOption, match="lines="):
        run.log(lines=(3, 2))


def test_a_waiting_run_is_cancelled_and_an_ended_one_is_not(send):
    run = send.enqueue(7)

    assert RunState.CANCELLED == run.cancel(by="anna")
    with pytest.raises(NotAllowed):
        run.cancel()


def test_an_ended_run_is_retried_with_other_limits(app, send, worker_id):
    run = send.enqueue(7)
    claimed = claim_one(app.store, worker_id)
    app.store.leases.settle(worker_id, [a_settlement(claimed, "failed")])

    with pytest.raises(BadOption):
        run.retry(memory="much")
    run.retry(timeout="5s", memory="2GiB")

    assert RunState.QUEUED == run.state
    limits = msgspec.json.decode(run.record.options, type=TaskOptions)
    assert (5.0, 2 << 30, 2) == (limits.timeout, limits.memory, limits.retries.limit)
    with pytest.raises(NotAllowed):
        run.retry()


# The name of a task in a script


@pytest.mark.parametrize("how", ["script", "module"])
def test_a_task_of_a_script_has_the_name_under_which_workers_import_it(tmp_path, how):
    package = tmp_path / "shop"
    package.mkdir()
    (package / "mail.py").write_text(
        "from holdfast import App\napp = App()\n"
        "@app.task\ndef send(): ...\nif __name__ == '__main__': print(send.name)"
    )
    command = ["shop/mail.py"] if how == "script" else ["-m", "shop.mail"]

    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True
    )

    assert ("mail.send" if how == "script" else "shop.mail.send") == done.stdout.strip()


# A store that cannot be used


def test_a_store_whose_folder_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("no folder")
    app = App(store=f"sqlite:///{tmp_path}/file/holdfast.db")

    with pytest.raises(StoreUnavailable, match="Try again"):
        app.run_command(["true"])


def test_a_store_that_is_locked_for_longer_than_a_caller_waits_is_unavailable(
    app, send, monkeypatch
):
    monkeypatch.setenv("HOLDFAST_STORE_WAIT_SECONDS", "10ms")
    send.enqueue(1)
    other = app.store.database.dialect.connect()
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreUnavailable, match="locked"):
        send.enqueue(2)

    other.execute("ROLLBACK")
    other.close()
    assert 1 == len(app.store.runs.list(RunFilter()))


def test_a_store_that_becomes_free_in_time_accepts_the_run(app, send):
    send.enqueue(1)
    other = app.store.database.dialect.connect()
    other.execute("BEGIN EXCLUSIVE")
    done = []
    waiting = threading.Thread(target=lambda: done.append(send.enqueue(2)))
    waiting.start()
    assert [] == done
    other.execute("ROLLBACK")
    other.close()

    assert wait_until(lambda: done)
    waiting.join()
