from __future__ import annotations

import json
import re

import msgspec
import pytest

from helpers import logs
from helpers.factories import a_run, a_worker, claim_one, enqueue, settle
from holdfast.cli import errors
from holdfast.cli.start import read_arguments
from holdfast.core.clock import SECOND
from holdfast.core.models import COMMAND_TASK, Lease, TaskOptions
from holdfast.core.states import RunState
from holdfast.core.usage import Usage
from holdfast.core.verdict import Evidence, judge

APP = """
from holdfast import App
app = App()
text = "no app"

@app.task(queue_name="mail", timeout="10m", memory="512MiB", retries=5)
def send(address, copies=1):
    return copies
"""


@pytest.fixture
def app(folder, monkeypatch):
    """An app with one task, in a module that no other test has imported."""
    name = "shop_" + folder.name.replace("-", "_")
    (folder / f"{name}.py").write_text(APP)
    monkeypatch.setenv("HOLDFAST_APP", f"{name}:app")
    return name


def in_json(done):
    assert errors.OK == done.exit_code, done.output
    return json.loads(done.stdout)


# list


def test_list_shows_state_task_and_reason(live, holdfast):
    worker_id = a_worker(live)
    run_id = enqueue(live)
    settle(live, worker_id, claim_one(live, worker_id), "failed", failures=1, error="No such user.")

    header, row = holdfast("list").stdout.splitlines()

    assert ["ID", "TASK", "STATE"] == header.split()[:3]
    assert [run_id[-12:], "shop.send", "failed"] == row.split()[:3]
    assert "No such user." in row


def test_list_names_what_a_waiting_run_waits_for(live, holdfast):
    worker_id = a_worker(live)
    enqueue(live)
    later = live.database.clock.now() + 60 * SECOND
    again = {"state": RunState.SCHEDULED, "due_at": later, "failures": 1}
    settle(live, worker_id, claim_one(live, worker_id), "failed", **again)
    for _ in range(2):
        enqueue(live, concurrency_key="one")
    live.leases.settle_and_claim(worker_id, [], {False: 2}, ["*"])

    still = enqueue(live, queue="still")
    live.leases.settle_and_claim(worker_id, [], {False: 1}, ["still"])
    live.leases.set_paused({Lease(still, 1): "no room"})

    labels = {run["label"] for run in in_json(holdfast("list", "--json"))}

    assert {"retrying", "running", "blocked", "paused"} == labels
    assert "no room" in holdfast("list").stdout


def test_list_shows_the_command_line_of_a_command(live, holdfast):
    enqueue(live, task=COMMAND_TASK, arguments='{"args":["sh","-c","exit 3"],"kwargs":{}}')

    assert "sh -c 'exit 3'" in holdfast("list").stdout


def test_list_is_plain_and_whole_when_piped(live, holdfast):
    worker_id = a_worker(live)
    enqueue(live)
    sentence = "word " * 100
    settle(live, worker_id, claim_one(live, worker_id), "failed", error=sentence)

    out = holdfast("list").stdout

    assert "\x1b" not in out
    assert sentence.strip() in out


def test_list_lets_no_control_characters_through(live, holdfast):
    enqueue(live, task="evil\x1b[31m\ntask")

    out = holdfast("list").stdout

    assert "\x1b" not in out
    assert 2 == len(out.splitlines())


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--state", "succeeded"], {"a"}),
        (["--state", "queued"], {"b", "c"}),
        (["--task", "c"], {"c"}),
        (["--queue", "mail"], {"b"}),
        (["--since", "1h"], {"a", "b", "c"}),
        (["--since", "2100-01-01"], set()),
        (["--limit", "1"], {"c"}),
        (["--error", "boom"], set()),
        (["--state", "queued", "--error", "boom"], set()),
    ],
)
def test_list_filters(filters, expected, live, holdfast):
    a_run(live, "succeeded", task="a")
    enqueue(live, task="b", queue="mail")
    enqueue(live, task="c")

    found = in_json(holdfast("list", "--json", *filters))

    assert expected == {run["task"] for run in found}


def test_json_holds_times_and_stored_json_as_they_are_meant(live, holdfast):
    enqueue(live, arguments='{"args":[1],"kwargs":{"b":null}}')

    (run,) = in_json(holdfast("list", "--json"))

    assert {"args": [1], "kwargs": {"b": None}} == run["arguments"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", run["created_at"])


# show, why, logs


@pytest.fixture
def failed(live):
    """A run whose command ended with exit code 3 after writing two lines."""
    worker_id = a_worker(live)
    run_id = enqueue(live)
    claimed = claim_one(live, worker_id)
    logs.append(live, claimed.lease, b"caf\xc3\xa9 \x00\xff\r\n")
    logs.append(live, claimed.lease, b"no newline")
    logs.end(live, claimed.lease)
    paper = msgspec.json.encode(judge(Evidence(exit_code=3, of="command"))).decode()
    ended = {"certificate": paper, "logged": True, "peak_rss": 5 << 20, "error": "It ended."}
    settle(live, worker_id, claimed, "failed", failures=1, **ended)
    return run_id


def test_show_tells_the_story_of_a_run(failed, holdfast):
    out = holdfast("show", failed).stdout

    assert failed in out
    assert "The run failed in attempt 1: Its command ended with exit code 3." in out
    assert "5.0 MiB" in out


def test_show_draws_what_an_attempt_took(live, holdfast):
    run_id, claimed = a_run(live, "running")
    live.leases.set_usage({claimed.lease: Usage(1.0, [1 << 20, 8 << 20], [0.0, 1.5])})
    lines = holdfast("show", run_id).stdout.splitlines()

    assert [
        "What attempt 1 took in 2 s:",
        "memory      ▂█  up to 8.0 MiB",
        "cpu         ▁█  up to 1.5 CPU",
    ] == lines[-3:]
    assert {"every": 1.0, "memory": [1 << 20, 8 << 20], "cpu": [0.0, 1.5]} == (
        in_json(holdfast("show", run_id, "--json"))["usage"]
    )


def test_show_gives_programs_the_attempts_and_the_explanation(failed, holdfast):
    run = in_json(holdfast("show", failed, "--json"))

    assert "exit(3)" == run["attempts"][0]["certificate"]["verdict"]
    assert "exit code 3" in run["explanation"]["sentence"]


@pytest.mark.parametrize("part", [slice(0, 30), slice(-12, None)])
def test_a_part_of_an_id_is_enough(part, failed, holdfast):
    assert failed == in_json(holdfast("why", failed[part], "--json"))["run_id"]


def test_why_gives_the_sentence_first(failed, holdfast):
    first, *evidence = holdfast("why", failed).stdout.splitlines()

    assert "The run failed in attempt 1: Its command ended with exit code 3." == first
    assert "  exit code of the command: 3" in evidence


def test_logs_prints_the_bytes_that_were_written(failed, holdfast):
    done = holdfast("logs", failed)

    assert b"caf\xc3\xa9 \x00\xff\r\nno newline" == done.stdout_bytes
    assert "" == done.stderr


def test_logs_follows_to_the_end(failed, holdfast):
    assert holdfast("logs", failed).stdout_bytes == holdfast("logs", "-f", failed).stdout_bytes


def test_logs_says_when_more_is_to_come(live, holdfast):
    run_id, claimed = a_run(live, "running")
    logs.append(live, claimed.lease, b"half")

    done = holdfast("logs", run_id)

    assert b"half" == done.stdout_bytes
    assert "attempt 1 is not complete: it still runs" in done.stderr


def test_logs_says_what_is_missing(live, holdfast):
    run_id, claimed = a_run(live, "running")
    logs.end(live, claimed.lease, missing="7 bytes: the disk was full")

    assert "has a hole: 7 bytes: the disk was full" in holdfast("logs", run_id).stderr


def test_logs_parts_attempts_on_stderr(live, holdfast):
    worker_id = a_worker(live)
    run_id = enqueue(live)
    for outcome in ("released", "succeeded"):
        claimed = claim_one(live, worker_id)
        logs.append(live, claimed.lease, b"again\n")
        logs.end(live, claimed.lease)
        settle(live, worker_id, claimed, outcome, logged=True)

    done = holdfast("logs", run_id)

    assert b"again\nagain\n" == done.stdout_bytes
    assert ["holdfast: attempt 1:", "holdfast: attempt 2:"] == done.stderr.splitlines()
    assert b"again\n" == holdfast("logs", run_id, "--attempt", "2").stdout_bytes


# cancel, retry


def test_cancel_and_retry_act_on_each_id(live, holdfast):
    ids = [enqueue(live) for _ in range(2)]

    assert errors.OK == holdfast("cancel", *ids).exit_code
    assert [RunState.CANCELLED] * 2 == [live.runs.get(run_id).state for run_id in ids]
    assert errors.OK == holdfast("retry", *ids).exit_code
    assert [RunState.QUEUED] * 2 == [live.runs.get(run_id).state for run_id in ids]


def test_an_id_that_fails_does_not_keep_the_others_from_it(live, holdfast):
    run_id = enqueue(live)

    done = holdfast("cancel", "ffffffff", run_id)

    assert errors.NOT_FOUND == done.exit_code
    assert RunState.CANCELLED == live.runs.get(run_id).state


def test_cancel_asks_the_worker_of_a_running_run(live, holdfast):
    run_id, _ = a_run(live, "running")

    assert "being stopped by its worker" in holdfast("cancel", run_id).stdout
    assert live.runs.get(run_id).cancel_by


def test_cancelling_all_that_fit_asks_with_their_number_first(live, holdfast):
    ids = [enqueue(live, queue="mail") for _ in range(3)]
    other = enqueue(live)
    chosen = ("cancel", "--all", "--queue", "mail")

    refused = holdfast(*chosen, typed="n\n")
    waiting = [live.runs.get(run_id).state for run_id in ids]
    done = holdfast(*chosen, typed="y\n")

    assert "Cancel 3 runs?" in refused.output
    assert [RunState.QUEUED] * 3 == waiting
    assert "3 runs cancelled." in done.stdout
    assert {RunState.CANCELLED} == {live.runs.get(run_id).state for run_id in ids}
    assert RunState.QUEUED == live.runs.get(other).state


def test_filters_without_all_are_not_enough(live, holdfast):
    run_id = enqueue(live)

    assert errors.USAGE == holdfast("cancel", "--queue", "default").exit_code
    assert RunState.QUEUED == live.runs.get(run_id).state


def test_retrying_all_leaves_what_succeeded_or_was_cancelled(live, holdfast):
    states = ["succeeded", "cancelled", "failed", "quarantined"]
    ids = [a_run(live, state)[0] for state in states]

    done = holdfast("retry", "--all", "--yes")

    assert "2 runs queued again." in done.stdout
    assert ["succeeded", "cancelled", "queued", "queued"] == [
        live.runs.get(run_id).state for run_id in ids
    ]


def test_retry_replaces_the_limits_that_are_given(live, holdfast):
    options = msgspec.json.encode(TaskOptions(timeout=10, memory=1000)).decode()
    run_id, _ = a_run(live, "failed", options=options)

    holdfast("retry", run_id, "--memory", "2GiB")

    stored = msgspec.json.decode(live.runs.get(run_id).options, type=TaskOptions)
    assert TaskOptions(timeout=10, memory=2 << 30) == stored


@pytest.mark.parametrize("limit", [("--memory", "much"), ("--memory", "0"), ("--timeout", "-1s")])
def test_retry_refuses_a_limit_that_is_not_possible_and_leaves_the_run(limit, live, holdfast):
    run_id, _ = a_run(live, "quarantined")

    done = holdfast("retry", run_id, *limit)

    assert errors.USAGE == done.exit_code
    assert f"{limit[0][2:]}={limit[1]!r} is not possible: expected" in done.stderr
    assert "quarantined" == live.runs.get(run_id).state


def test_nothing_to_do_is_no_success(live, holdfast):
    assert errors.FAILED == holdfast("retry", "--all", "--yes").exit_code


# enqueue


def test_enqueue_reads_json_text_and_names(live, app, holdfast):
    done = holdfast("enqueue", f"{app}.send", "ann@example.org", "copies=3")

    run = live.runs.get(done.stdout.strip())
    assert '{"args":["ann@example.org"],"kwargs":{"copies":3}}' == run.arguments
    assert "mail" == run.queue


@pytest.mark.parametrize(
    ("texts", "args", "kwargs"),
    [
        (["7", "null", "[1]"], [7, None, [1]], {}),
        (["seven", "a b", ""], ["seven", "a b", ""], {}),
        (['a="x"', "b=x", "c={}"], [], {"a": "x", "b": "x", "c": {}}),
        (['"a=b"', "x-y=1"], ["a=b", "x-y=1"], {}),
        (["url=http://host/?q=1"], [], {"url": "http://host/?q=1"}),
        (["1 2", "0x10", "-", '"[1"'], ["1 2", "0x10", "-", "[1"], {}),
    ],
)
def test_arguments_are_json_where_they_are_json(texts, args, kwargs):
    assert (args, kwargs) == read_arguments(texts)


def test_enqueue_takes_the_options_of_a_run(live, app, holdfast):
    options = ["--queue", "slow", "--priority", "5", "--timeout", "1m", "--retries", "2"]
    keys = ["--dedupe-key", "d", "--concurrency-key", "c", "--run-after", "1h"]

    done = holdfast("enqueue", f"{app}.send", "x", *options, *keys)

    run = live.runs.get(done.stdout.strip())
    assert ("slow", 5, "d", "c") == (run.queue, run.priority, run.dedupe_key, run.concurrency_key)
    assert RunState.SCHEDULED == run.state
    stored = msgspec.json.decode(run.options, type=TaskOptions)
    assert (60, 2, 512 << 20) == (stored.timeout, stored.retries.limit, stored.memory)


def test_arguments_that_do_not_fit_are_refused(live, app, holdfast):
    done = holdfast("enqueue", f"{app}.send")

    assert errors.USAGE == done.exit_code
    assert "missing a required argument: 'address'" in done.stderr


def test_an_unknown_task_is_not_found(live, app, holdfast):
    done = holdfast("enqueue", f"{app}.sent")

    assert errors.NOT_FOUND == done.exit_code
    assert f"Did you mean '{app}.send'?" in done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "this command needs to know your app"),
        ("nowhere:app", "there is no module 'nowhere' here"),
        ("{app}:text", "is a str, not a holdfast.App"),
        ("{app}:gone", "is nothing, not a holdfast.App"),
    ],
)
def test_an_app_that_cannot_be_used_says_how_to_name_it(name, words, live, app, holdfast):
    done = holdfast("--app", name.format(app=app), "enqueue", "task")

    assert errors.SETTINGS == done.exit_code
    assert words in done.stderr
    assert "--app module:name" in done.stderr


# queues, workers, tasks


def test_queues_are_paused_and_resumed(live, holdfast):
    enqueue(live, queue="mail")

    assert "is paused" in holdfast("queues", "pause", "mail", "--reason", "down").stdout
    (queue,) = in_json(holdfast("queues", "--json"))
    assert ("mail", "down", 1) == (queue["name"], queue["reason"], queue["queued"])
    assert "goes on" in holdfast("queues", "resume", "mail").stdout
    assert live.queues.get("mail").paused_at is None


def test_resuming_a_queue_that_never_was_is_not_found(live, holdfast):
    assert errors.NOT_FOUND == holdfast("queues", "resume", "mial").exit_code


def test_workers_are_listed(live, holdfast):
    worker_id = a_worker(live, queues='["mail"]')

    (worker,) = in_json(holdfast("workers", "--json"))

    assert (worker_id, "up", ["mail"]) == (worker["worker_id"], worker["state"], worker["queues"])
    assert worker_id[-12:] in holdfast("workers").stdout


def test_a_worker_that_takes_no_new_runs_says_so(live, holdfast):
    worker_id = a_worker(live)
    live.workers.set_trouble(worker_id, "no room")

    assert "up, no room" in holdfast("workers").stdout
    assert "no room" == in_json(holdfast("workers", "--json"))[0]["trouble"]

    live.workers.set_trouble(worker_id, None)
    assert "no room" not in holdfast("workers").stdout


def test_tasks_are_those_of_the_workers_without_an_app(live, holdfast):
    a_worker(live, tasks=["shop.send"], shared=["shop.ping"])

    kinds = {task["task"]: task["kind"] for task in in_json(holdfast("tasks", "--json"))}

    assert {"shop.send": "exclusive", "shop.ping": "async"} == kinds


def test_tasks_of_an_app_come_with_their_options(live, app, holdfast):
    found = {task["task"]: task for task in in_json(holdfast("tasks", "--json"))}

    assert "10 min" == found[f"{app}.send"]["timeout"]


# Errors, settings, versions


def test_a_folder_without_a_store_is_left_alone(folder, holdfast):
    done = holdfast("list")

    assert errors.STORE == done.exit_code
    assert "There is no store at" in done.stderr
    assert [] == list(folder.iterdir())


def test_settings_that_are_wrong_are_told_all_at_once(folder, holdfast):
    (folder / "holdfast.toml").write_text("[worker]\nexecutors = 0\nquues = 'x'\n")

    done = holdfast("list")

    assert errors.SETTINGS == done.exit_code
    assert "must be above zero" in done.stderr
    assert "did you mean" in done.stderr


def test_an_unknown_run_is_not_found(live, holdfast):
    done = holdfast("why", "abcdef")

    assert errors.NOT_FOUND == done.exit_code
    assert "Traceback" not in done.output


def test_a_wrong_option_is_wrong_usage(live, holdfast):
    assert errors.USAGE == holdfast("list", "--state", "dead").exit_code
    assert errors.USAGE == holdfast("list", "--since", "soon").exit_code


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_store_is_named_before_or_after_the_command(place, live, holdfast, monkeypatch):
    run_id = enqueue(live)
    monkeypatch.delenv("HOLDFAST_STORE")
    option = ("--store", live.url)

    call = (*option, "why", run_id) if place == "before" else ("why", run_id, *option)

    assert errors.OK == holdfast(*call).exit_code


def test_what_stands_after_the_command_wins(live, holdfast):
    run_id = enqueue(live)

    done = holdfast("--store", "sqlite:////nowhere/x.db", "why", run_id, "--store", live.url)

    assert errors.OK == done.exit_code


def test_migrate_makes_a_store_and_tells_the_steps(folder, holdfast):
    first, second = holdfast("migrate"), holdfast("migrate")

    assert "applied " in first.stdout
    assert "applied " not in second.stdout
    assert errors.OK == second.exit_code


def test_help_documents_the_exit_codes(holdfast):
    out = " ".join(holdfast("--help").stdout.split())

    assert "Exit codes: 0 done; 1 the run failed" in out
