from __future__ import annotations

import getpass
import re
import signal
import sys
from pathlib import Path

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


def executable(path, content):
    """Write a file that may be executed."""
    path.write_bytes(content)
    path.chmod(0o755)


BAD_STARTS = {
    ("no-such-program",): "there is no program 'no-such-program' on the PATH: /",
    ("./missing",): "./missing does not exist on this host.",
    ("./plain",): "./plain may not be executed by user {user}: its mode is -rw-r--r--.",
    ("./folder",): "./folder is a folder.",
    ("./noexec/program",): "./noexec/program is on a file system that is mounted noexec.",
    ("./orphan",): "./orphan is there, but not the interpreter /no/such/interpreter.",
    ("./alien",): "./alien is there, but not the loader that it asks for.",
    ("./text",): "./text is no program for this machine, nor a script with #!.",
    ("echo", "x" * 200_000): "argument 1 has 195 KiB, and Linux takes at most 128 KiB in one.",
}


@pytest.fixture
def bad_starts(folder, disk):
    """Files that cannot be executed, each for a reason of its own."""
    (folder / "plain").write_text("no program")
    (folder / "folder").mkdir()
    noexec = disk()
    noexec.remount("noexec")
    executable(noexec.path / "program", b"#!/bin/sh\n")
    (folder / "noexec").symlink_to(noexec.path)
    executable(folder / "orphan", b"#!/no/such/interpreter -x\n")
    executable(folder / "text", b"just a text\n")
    loader = re.search(rb"/lib[^\0]*/ld-[^\0]*", Path("/bin/sh").read_bytes())[0]
    other = loader[:-4] + b"none"
    executable(folder / "alien", Path("/bin/sh").read_bytes().replace(loader, other))


def test_command_that_cannot_be_started_says_why(worker, tasks, bad_starts):
    worker(executors=1)
    user = getpass.getuser()

    runs = {argv: tasks.app.run_command(list(argv)) for argv in BAD_STARTS}

    for argv, run in runs.items():
        assert ("failed", "start_failed") == (ended(run).state, certificate(run).verdict)
        assert BAD_STARTS[argv].format(user=user) in run.record.error


def test_arguments_that_are_too_long_together_are_counted(worker, tasks):
    little_stack = ("sh", "-c", 'ulimit -s 1024; exec "$@"', "sh")  # a quarter of it is for them
    worker(executors=1, under=little_stack)

    run = tasks.app.run_command(["echo", *["x" * 100_000] * 4])

    assert ("failed", "start_failed") == (ended(run).state, certificate(run).verdict)
    told = (
        r"its arguments and environment have 39\d KiB together, and this host takes at most 256 KiB"
    )
    assert re.search(told, run.record.error)


def test_working_directory_that_cannot_be_entered_is_named(worker, tasks, folder):
    worker(executors=1)
    (folder / "plain").touch()

    for name, reason in {
        "nowhere": "No such file or directory",
        "plain": "Not a directory",
    }.items():
        run = tasks.app.run_command(["true"], cwd=str(folder / name))
        assert ("failed", "start_failed") == (ended(run).state, certificate(run).verdict)
        told = (
            f"Could not start: the working directory {folder / name} cannot be entered: {reason}."
        )
        assert told == run.record.error


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
