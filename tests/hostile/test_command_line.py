"""The command line takes what anybody may type, and says in one sentence what is wrong with it."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.factories import a_worker, claim_one, enqueue, settle
from helpers.workers import PATIENCE, ended, holdfast
from holdfast.cli import errors
from holdfast.cli.main import commands
from holdfast.store.runs import RunFilter

LONG = "x" * 100_000
NO_ID = ["..", "%2e%2e%2f", "..%5c", "/etc/passwd", "\udcff", "' OR 1=1 --", "%", "____", LONG, ""]
NO_FILTER = [
    ("--task", "\udcff"),
    ("--queue", "\udcff"),
    ("--error", "\udcff"),
    ("--error", "%" * 10_000),
    ("--error", "x" * 60_000),
    ("--since", "\udcff"),
    ("--since", "9" * 400),
    ("--limit", "9" * 20),
    ("--limit", "-1"),
    ("--state", "'; DROP TABLE run; --"),
]
ARGUMENTS = [
    "; rm -rf /",
    "$(id)",
    "`id`",
    "-o ProxyCommand=id",
    "--config=x",
    "@/etc/passwd",
    "a\nb",
]


@pytest.fixture
def typed(store, monkeypatch):
    """Call the command line within this process: `typed("list")`; nothing is raised."""
    monkeypatch.setenv("HOLDFAST_STORE", store.url)

    def run(*arguments):
        return CliRunner().invoke(commands, list(arguments), catch_exceptions=False)

    return run


@pytest.mark.parametrize("verb", ["show", "why", "logs", "cancel", "retry"])
@pytest.mark.parametrize("text", NO_ID)
def test_what_is_no_id_names_no_run(typed, store, verb, text):
    run_id = enqueue(store)

    result = typed(verb, text)

    assert errors.NOT_FOUND == result.exit_code
    assert result.stderr.startswith("holdfast: There is no run ")
    assert len(result.stderr) < 500
    assert "queued" == store.runs.get(run_id).state


@pytest.mark.parametrize(("option", "value"), NO_FILTER)
def test_what_is_no_filter_is_refused_with_its_name(typed, store, option, value):
    enqueue(store)

    result = typed("list", option, value)

    assert errors.USAGE == result.exit_code
    assert option.strip("-") in result.stderr
    assert len(result.stderr) < 1500
    assert 1 == len(store.runs.list(RunFilter()))


@pytest.mark.parametrize(
    ("text", "found"),
    [("100%", 1), ("%", 1), ("_", 1), ("!", 1), ("a_b!c", 1), ("1_0%", 0), ("DONE", 1), ("%%", 0)],
)
def test_a_filter_finds_its_text_and_nothing_like_it(typed, store, text, found):
    enqueue(store)
    worker_id = a_worker(store)
    settle(store, worker_id, claim_one(store, worker_id), "failed", error="100% done a_b!c")
    enqueue(store)
    settle(store, worker_id, claim_one(store, worker_id), "failed", error="nothing of it")

    assert found == len(store.runs.list(RunFilter(error=text)))
    assert found == typed("list", "--error", text).stdout.count("failed")


def test_a_table_is_made_in_bounded_memory_and_cut_where_it_should_be(typed, store):
    ids = [enqueue(store) for _ in range(120)]

    assert 120 == typed("list", "--limit", "100000", "--json").stdout.count('"run_id"')
    assert list(reversed(ids))[:51] == [r.run_id for r in store.runs.each(RunFilter(limit=51))]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["pause", "\x1b[31m"], "queue="),
        (["pause", ""], "queue="),
        (["pause", "*"], "queue="),
        (["pause", "\udcff"], "queue="),
        (["pause", "default", "--reason", "\udcff"], "reason="),
        (["pause", "default", "--reason", LONG], "reason="),
    ],
)
def test_a_queue_that_cannot_be_is_not_made(typed, store, words, option):
    result = typed("queues", *words)

    assert errors.USAGE == result.exit_code
    assert result.stderr.startswith(f"holdfast: {option}")
    assert [] == store.queues.list()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--queue", "\x1b]0;x\x07"),
        ("--dedupe-key", LONG),
        ("--concurrency-key", "\udcff"),
        ("--priority", "9" * 30),
        ("--run-after", "9999-12-31T23:59:59-23:59"),
        ("--run-after", "0001-01-01T00:00:00+23:59"),
        ("--run-after", "-5"),
        ("--run-after", "\u0661\u06f0\ud800s"),
        ("--timeout", "9" * 5000),
        ("--timeout", "-1"),
        ("--memory", "1e99"),
        ("--retries", "9" * 5000),
        ("--retries", "9" * 30),
    ],
)
def test_an_option_that_cannot_be_is_refused_and_nothing_is_enqueued(typed, store, option, value):
    result = typed("run", "--detach", option, value, "--", "true")

    assert errors.USAGE == result.exit_code
    assert option.strip("-").partition("-")[0] in result.stderr
    assert [] == store.runs.list(RunFilter())


def test_words_of_a_command_are_never_read_as_a_program(worker, call):
    worker(app="", executors=1)

    said = call("run", "--", "printf", "%s\\n", *ARGUMENTS)

    assert (0, "".join(f"{word}\n" for word in ARGUMENTS)) == (said.code, said.out.decode())


def test_a_command_gets_nothing_of_the_environment_of_who_types_it(worker, call):
    worker(app="", executors=1)
    hostile = {"BASH_ENV": "/evil", "PYTHONSTARTUP": "/evil", "ENV": "/evil", "PATH_X": "."}

    said = call("run", "--", "env", env=hostile)

    assert 0 == said.code
    assert b"/evil" not in said.out


def test_a_command_with_a_word_too_long_for_the_system_says_so(worker, tasks):
    worker(app="", executors=1)

    fits = tasks.app.run_command(["true", *["x" * 100_000] * 9])
    too_long = tasks.app.run_command(["true", "x" * 200_000])
    no_program = tasks.app.run_command(["x" * 200_000])
    no_folder = tasks.app.run_command(["true"], cwd="/" + "x" * 200_000)

    assert "succeeded" == ended(fits).state
    assert "Could not start: argument 1 has 195 KiB" in ended(too_long).error
    assert ended(no_program).error.endswith("…: File name too long.")
    assert ended(no_folder).error.endswith("… cannot be entered: File name too long.")
    assert max(len(run.record.error) for run in (no_program, no_folder)) < 300


def test_who_acts_is_who_it_is_and_not_who_the_environment_says(call, store):
    run_id = enqueue(store)
    liar = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "\x1b[31mroot of all evil")

    call("cancel", run_id, env=liar)

    name = pwd.getpwuid(os.getuid()).pw_name
    assert f"Cancelled by {name} before it started." == store.runs.get(run_id).error


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_break_nothing(call_all, store, closed):
    run_id = enqueue(store)
    under = ["sh", "-c", f'exec "$@" {closed}', "sh"]

    said = call_all(["list"], ["list", "--json"], ["logs", run_id], under=under)

    assert [0, 0, 0] == [answer.code for answer in said]
    assert run_id == store.runs.get(run_id).run_id


def test_a_worker_with_closed_standard_streams_works(worker, tasks, store):
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    worker(executors=1, under=closed)

    assert 3 == tasks.add.enqueue(1, 2).result(PATIENCE)


def test_a_reader_that_leaves_early_is_no_error_message(worker, tasks):
    worker(executors=1)
    run = tasks.flood.enqueue(50_000)
    ended(run)

    for words in (["list", "--json"], ["logs", run.id]):
        program = f"{shlex.join(holdfast(*words))} | head -c 1 >&2"
        assert b"" == worker.run("sh", "-c", program)


def test_a_full_disk_behind_standard_output_is_said(call, store):
    enqueue(store)

    with Path("/dev/full").open("wb") as full:
        said = call("list", "--json", stdout=full)

    assert (errors.FAILED, b"holdfast: [Errno 28] No space left on device\n") == (
        said.code,
        said.err,
    )


@pytest.mark.parametrize("words", [["list"], ["up"], ["run", "--", "true"]])
def test_a_working_directory_that_is_gone_is_said(worker, folder, words):
    gone = folder / "gone"
    gone.mkdir()
    program = f"cd {gone} && rmdir {gone} && {shlex.join(holdfast(*words))}"

    process = worker.start(
        "bash", "-c", program, stderr=subprocess.PIPE, env={"HOLDFAST_STORE": "sqlite:///h.db"}
    )
    _, said = process.communicate(timeout=PATIENCE)

    assert 0 != process.returncode
    assert said.endswith(
        b"holdfast: The working directory does not exist any more. Change to another one.\n"
    )


PLACES = [
    {"COLUMNS": "1"},
    {"COLUMNS": "1000000"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "tr_TR.UTF-8"},
    {"TZ": "../../../etc/passwd"},
    {"TZ": "\x1b[31m"},
]


def test_no_terminal_locale_or_zone_breaks_a_command(call_all, store):
    run_id = enqueue(store, task="名前\u0130", queue="é")

    for said in call_all(["list"], ["show", run_id], environments=PLACES):
        assert (0, b"") == (said.code, said.err)
        assert b"\x1b" not in said.out


@pytest.mark.parametrize(
    "app",
    [
        "../../etc/passwd:x",
        ":app",
        ".",
        "..",
        "a b",
        "x:y.z",
        "os;x",
        "x." * 5000,
        "os:system",
        "\x1b[31m",
    ],
)
def test_what_is_no_app_is_refused_and_never_imported(typed, app):
    result = typed("--app", app, "enqueue", "os.system", "id")

    assert errors.SETTINGS == result.exit_code
    assert "app=" in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("program", ["x = (", "raise SystemExit(3)", "import nothere", "1 / 0"])
def test_an_app_that_cannot_be_imported_is_a_finding_among_others(call, folder, store, program):
    (folder / "broken.py").write_text(program)

    said = call("--app", "broken:app", "check", "--json")

    assert errors.FAILED == said.code
    assert b'"level":"error","sentence":"The app broken:app cannot be imported. ' in said.out
    assert b"answers, and its schema is up to date" in said.out


NO_TASK = ["os.system", "__import__", "builtins.eval", "app.tasks", "../x", "\x1b[31m", LONG]


def test_what_is_no_task_is_looked_up_and_never_imported(tasks, call_all, store):
    enqueue = ("--app", "sample_tasks:app", "enqueue")

    for said in call_all(*((*enqueue, name, "id") for name in NO_TASK)):
        assert errors.NOT_FOUND == said.code
        assert b"is not registered in this app" in said.err
        assert b"\x1b" not in said.err
        assert len(said.err) < 500
    assert [] == store.runs.list(RunFilter())
