from __future__ import annotations

import signal
import sys

import msgspec
import pytest

from helpers.workers import certificate, ended, ended_all, is_alive, wait_for_lines, whole_log

HOSTILE = [
    "",
    " ",
    "; touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "' ; touch pwned ; '",
    '" ; touch pwned ; "',
    "&& touch pwned",
    "| touch pwned",
    "\n touch pwned \n",
    "*",
    "~",
    "$HOME",
    "${PATH}",
    "{name}",
    "{{name}}",
    "%s %d",
    "-o ProxyCommand=touch pwned",
    "--",
    "\\",
    "漢字",
]
SHOW = "import json, sys; print(json.dumps(sys.argv[1:]))"


def test_command_that_ends_with_0_succeeds(worker, tasks, store):
    worker(executors=1)

    run = tasks.app.run_command(["echo", "hello"])

    assert ("succeeded", None) == (ended(run).state, run.result())
    assert b"hello\n" == whole_log(store, run)


def test_exit_code_of_a_command_is_in_its_certificate(worker, tasks):
    worker(executors=1)

    run = tasks.app.run_command(["sh", "-c", "echo oops >&2; exit 3"])

    assert "failed" == ended(run).state
    judged = certificate(run)
    assert ("exit(3)", 3, "command") == (
        judged.verdict,
        judged.evidence.exit_code,
        judged.evidence.of,
    )
    assert ["oops"] == judged.evidence.last_lines


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_signal_that_ended_a_command_is_in_its_certificate(worker, tasks, number):
    worker(executors=1)

    run = tasks.app.run_command(["sh", "-c", f"kill -{number.value} $$"])

    assert "failed" == ended(run).state
    assert number == certificate(run).evidence.signal
    assert number.name in run.record.error
    assert 0 == run.record.crashes


def test_command_that_cannot_be_started_says_why(worker, tasks, folder):
    worker(executors=1)
    (folder / "plain").write_text("no program")

    missing = tasks.app.run_command(["no-such-program"])
    refused = tasks.app.run_command(["./plain"])
    nowhere = tasks.app.run_command(["true"], cwd=str(folder / "nowhere"))
    ended_all([missing, refused, nowhere])

    for run, reason in {
        missing: "no-such-program: No such file",
        refused: "./plain: Permission denied",
        nowhere: f"the working directory {folder / 'nowhere'} does not exist",
    }.items():
        assert ("failed", "start_failed") == (run.state, certificate(run).verdict)
        assert reason in run.record.error


def test_command_runs_in_the_folder_it_was_given(worker, tasks, store, folder):
    worker(executors=1)
    (folder / "below").mkdir()

    run = tasks.app.run_command(["pwd"], cwd=str(folder / "below"))
    ended(run)

    assert f"{folder / 'below'}\n".encode() == whole_log(store, run)


def test_command_knows_its_run_and_has_no_input(worker, tasks, store):
    worker(executors=1)

    run = tasks.app.run_command(["sh", "-c", "echo $HOLDFAST_RUN_ID $HOLDFAST_ATTEMPT; cat"])
    ended(run)

    assert f"{run.id} 1\n".encode() == whole_log(store, run)


def test_background_process_that_a_command_leaves_has_time_to_end(worker, tasks, store):
    worker(executors=1)

    run = tasks.app.run_command(["sh", "-c", "(sleep 0.5; echo late) & echo early"])
    ended(run)

    assert b"early\nlate\n" == whole_log(store, run)


def test_background_process_that_does_not_end_is_ended(worker, tasks):
    here = worker(executors=1)
    script = "setsid sh -c 'trap \"\" TERM; echo $$ >> pids; while :; do sleep 0.1; done' & exit 3"

    run = tasks.app.run_command(["sh", "-c", script])

    assert "failed" == ended(run).state
    assert 1 <= certificate(run).evidence.stopped_processes
    assert [] == here.leftovers()
    assert not is_alive(int(wait_for_lines("pids")[0]))


@pytest.mark.parametrize("shell", [False, True])
def test_value_in_a_template_stays_one_argument_whatever_it_holds(
    worker, tasks, store, folder, shell
):
    words = [sys.executable, "-c", SHOW, "a {value} b", "{value}"]
    argv = f'{sys.executable} -c \'{SHOW}\' "a "{{value}}" b" {{value}}' if shell else words
    path = folder / "hostile_tasks.py"
    path.write_text(
        f"from holdfast import App\napp = App()\napp.command('show', {argv!r}, shell={shell})"
    )
    worker(executors=1, app="hostile_tasks:app")
    show = tasks.app.command("show", argv, shell=shell)

    runs = {value: show.enqueue(value=value) for value in HOSTILE}
    ended_all(runs.values())

    shown = {value: msgspec.json.decode(whole_log(store, run)) for value, run in runs.items()}
    assert {value: [f"a {value} b", value] for value in HOSTILE} == shown
    assert not (folder / "pwned").exists()
