"""Whatever names, errors and output hold, no command lets a terminal obey it, and none hides it."""

from __future__ import annotations

import io
import json
import logging
import unicodedata

import msgspec
import pytest
from typer.testing import CliRunner

from helpers.factories import a_settlement, a_worker, claim_one, enqueue
from helpers.workers import ended, whole_log
from holdfast.cli.logformat import LogFormat, LogLevel, set_up_logging
from holdfast.cli.main import commands
from holdfast.core.events import AttemptDied, emit
from holdfast.core.models import Lease, Progress
from holdfast.core.verdict import Asked, Evidence, Raised, judge

BAD = (
    "\x1b]0;title\x07 \x1b[2J \x1b[31m \x1b]8;;javascript:x\x07link\x1b]8;;\x07 "
    "\x1b]52;c;AAAA\x07 \x1bP dcs \x1b\\ \x9b1m \r overwritten \b\b \x7f "
    "\u202e turned \u2066 \u200b hidden \ufeff \x00 \x0b \x0c \x85 \u2028 line \x1b["
)
LINES = f"{BAD}\n{BAD}\rfake: holdfast: all is well"


@pytest.fixture
def typed(store, monkeypatch):
    """Call the command line and return what a terminal would get."""
    monkeypatch.setenv("HOLDFAST_STORE", store.url)

    def run(*arguments):
        result = CliRunner().invoke(commands, list(arguments), catch_exceptions=False)
        assert 0 == result.exit_code, result.stderr
        return result.stdout + result.stderr

    return run


@pytest.fixture
def run_id(store):
    """A run in whose every text there is what a terminal would obey."""
    names = {"task": BAD, "queue": BAD, "dedupe_key": BAD, "concurrency_key": BAD}
    arguments = msgspec.json.encode({"args": [BAD], "kwargs": {BAD: BAD}}).decode()
    run_id = enqueue(store, **names, arguments=arguments)
    store.database.write(lambda tx: tx.execute("pause_queue", name=BAD, by=BAD, reason=BAD))
    return run_id


def carry_out(store, **evidence):
    """Let an attempt of the run end badly."""
    store.queues.resume(BAD)
    worker_id = a_worker(store, tasks=[BAD], host=BAD, queues=json.dumps([BAD]))
    claim = claim_one(store, worker_id)
    judged = judge(Evidence(host=BAD, worker=worker_id, version=BAD, **evidence))
    certificate = msgspec.json.encode(judged).decode()
    settlement = a_settlement(claim, "failed", error=LINES, certificate=certificate)
    store.leases.settle(worker_id, [settlement])


def assert_harmless(text):
    """Only what is drawn: no control, no invisible letter, no line separator but the newline."""
    found = {
        f"{ord(char):x}"
        for char in text
        if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    }
    assert not found


WAITING = [("list",), ("show", "{}"), ("why", "{}"), ("queues",), ("queues", "list")]


@pytest.mark.parametrize("verb", WAITING, ids=" ".join)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_waiting_run_is_shown_harmlessly(typed, run_id, verb, form):
    words = [word.format(run_id) for word in verb]

    shown = typed(*words, *form)

    assert_harmless(shown)
    assert ("\\u001b" if form else r"\x1b") in shown


@pytest.mark.parametrize("verb", [*WAITING, ("workers",), ("tasks",)], ids=" ".join)
@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize(
    "evidence",
    [
        {"raised": Raised(BAD, LINES, LINES), "last_lines": [BAD, LINES]},
        {"start_failed": LINES},
        {"asked": Asked("cancel", by=LINES), "stack": LINES},
        {"exit_code": 1, "of": "executor", "stack": LINES},
    ],
    ids=["raised", "start failed", "cancelled", "said last"],
)
def test_a_run_that_ended_badly_is_shown_harmlessly(typed, store, run_id, verb, form, evidence):
    carry_out(store, **evidence)
    words = [word.format(run_id) for word in verb]

    shown = typed(*words, *form)

    assert_harmless(shown)
    assert ("\\u001b" if form else r"\x1b") in shown


def test_the_sentence_on_a_death_is_one_line_whatever_the_task_said(typed, store, run_id):
    carry_out(store, raised=Raised(LINES, LINES, LINES))

    told = typed("why", run_id).splitlines()

    assert told[0].startswith("The run failed in attempt 1: Raised ")
    assert told[1].startswith("  verdict: error")
    assert all(line.startswith("  ") for line in told[1:])


def test_json_for_programs_holds_the_very_bytes(typed, store, run_id):
    carry_out(store, raised=Raised("Error", BAD, BAD))

    shown = json.loads(typed("show", run_id, "--json"))

    assert (BAD, BAD, LINES) == (shown["task"], shown["queue"], shown["error"])
    assert {"args": [BAD], "kwargs": {BAD: BAD}} == shown["arguments"]
    assert BAD == shown["attempts"][0]["certificate"]["evidence"]["raised"]["message"]


def test_progress_of_a_running_task_is_shown_harmlessly(typed, store, run_id):
    store.queues.resume(BAD)
    claim = claim_one(store, a_worker(store, tasks=[BAD]))
    text = msgspec.json.encode(Progress(1.0, 2.0, LINES)).decode()
    store.leases.set_progress({Lease(claim.run_id, claim.attempt): text})

    for words in (["list"], ["show", run_id], ["why", run_id]):
        shown = typed(*words)
        assert_harmless(shown)
        assert "1 of 2" in shown


@pytest.mark.parametrize("form", LogFormat)
def test_the_log_of_a_worker_has_one_harmless_line_for_an_event(monkeypatch, form):
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    before = logging.root.handlers, logging.root.level
    try:
        set_up_logging(LogLevel.INFO, form)
        reason = judge(Evidence(start_failed=LINES)).sentence
        emit(AttemptDied("7", 1, BAD, "failed", "failed", reason))
    finally:
        logging.basicConfig(handlers=before[0], level=before[1], force=True)

    (line,) = out.getvalue().splitlines()
    assert_harmless(line)
    assert "all is well" in line


def test_what_a_command_says_last_is_shown_harmlessly_and_kept_whole(typed, worker, tasks):
    worker(app="", executors=1)
    text = LINES.replace("\0", "")

    run = tasks.app.run_command(["sh", "-c", 'printf %s "$1" >&2; exit 3', "sh", text])

    assert "failed" == ended(run).state
    for words in (["list"], ["show", run.id], ["why", run.id]):
        assert_harmless(typed(*words))
        assert_harmless(typed(*words, "--json"))
    assert text == whole_log(tasks.app.store, run).decode()
