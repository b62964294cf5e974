"""Faults 7, 26, 27 and 28: output that comes too fast, in one line, in bytes; a dying shipper."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256

import pytest

from helpers.pressure import (
    FLOOD_BYTES,
    MIB,
    Watch,
    digest_of_log,
    digest_of_output,
    end_of_log,
    family,
    peak_bytes,
)
from helpers.workers import (
    ended,
    ended_all,
    holdfast,
    outcomes,
    running,
    whole_log,
)

LONG = 60 + FLOOD_BYTES / 10e6  # seconds that the largest log may take
BOUND = 100 * MIB  # memory of each process of a worker, whatever the size of a log
LINES = "yes 0123456789abcdef | head -c 400000000"
ONE_LINE = f"head -c {FLOOD_BYTES} /dev/zero | tr '\\0' x"


@pytest.fixture
def spool(disk):
    """A disk for the spool that is much smaller than the logs."""
    return disk("256M")


@pytest.mark.parametrize("script", [LINES, ONE_LINE], ids=["many lines", "one line"])
def test_a_flood_passes_through_a_small_disk_and_disturbs_nobody(
    worker, tasks, store, spool, folder, script
):
    here = worker(executors=2, spool=spool.path)
    quiet = tasks.tell.enqueue("go")
    running(quiet)
    with Watch(spool) as seen:
        flood = tasks.app.run_command(["sh", "-c", script])
        running(flood)
        (folder / "go").touch()
        others = [quiet, *(tasks.add.enqueue(1, n) for n in range(20))]
        ended_all(others)
        first = flood.state
        ended(flood, within=LONG)
    members = family(here)

    assert ("running", "succeeded", ["succeeded"]) == (first, flood.state, outcomes(flood))
    assert seen.least > 0
    assert digest_of_output("sh", "-c", script) == digest_of_log(store, flood)
    assert [] == [pid for pid in members if peak_bytes(pid) > BOUND]
    assert {flood.id} >= {event["run_id"] for event in here.events("AttemptPaused")}


def test_a_million_lines_from_python_are_kept_in_order(worker, tasks, store, spool):
    here = worker(executors=1, spool=spool.path)
    ended(tasks.add.enqueue(1, 2))
    before = peak_bytes(here.executors()[0])

    run = tasks.flood.enqueue(1_000_000)
    ended(run, within=LONG)

    assert digest_of_output("seq", "-f", "line %.0f", "0", "999999") == digest_of_log(store, run)
    assert 1_000_000 == end_of_log(store, run).lines
    assert peak_bytes(here.executors()[0]) < before + 8 * MIB


def test_a_flood_past_pythons_streams_is_paused_and_kept_too(worker, tasks, store, spool):
    """The executor itself writes: it waits within its system call."""
    here = worker(executors=1, spool=spool.path)
    with Watch(spool) as seen:
        run = tasks.pour.enqueue(400)
        ended(run, within=LONG)

    assert ("succeeded", ["succeeded"]) == (run.state, outcomes(run))
    assert seen.least > 0
    assert (400 * MIB, sha256(bytes(400 * MIB)).hexdigest()) == digest_of_log(store, run)
    assert {run.id} >= {event["run_id"] for event in here.events("AttemptPaused")}


def test_the_shipper_may_be_killed_eight_times_within_a_flood(worker, tasks, store, spool):
    here = worker(executors=1, spool=spool.path)
    flood = tasks.app.run_command(["sh", "-c", LINES])
    running(flood)
    for _ in range(8):
        here.replace_sidecar("shipper")
    state = flood.state
    ended(flood, within=LONG)

    assert ("running", "succeeded", ["succeeded"]) == (state, flood.state, outcomes(flood))
    assert digest_of_output("sh", "-c", LINES) == digest_of_log(store, flood)


COPIES = """
import os, sys
data = os.urandom({size})
open("sent", "wb").write(data)
sys.{stream}.buffer.write(data)
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_random_bytes_of_a_command_come_back_as_they_were(worker, tasks, store, folder, stream):
    worker(executors=1)
    program = COPIES.format(size=8 * MIB, stream=stream)

    run = tasks.app.run_command([sys.executable, "-c", program], cwd=str(folder))
    ended(run)

    sent = (folder / "sent").read_bytes()
    assert (len(sent), sha256(sent).hexdigest()) == digest_of_log(store, run)
    raw = subprocess.run(
        holdfast("--store", store.url, "logs", run.id), capture_output=True, check=True
    )
    assert sha256(sent).hexdigest() == sha256(raw.stdout).hexdigest()


HOSTILE = [
    b"\xff\xfe\xfd",
    b"\0" * 5000,
    b"\xf5\xfa\x01\xff\xff\xff\x7f" * 100,  # as a record begins, with a length that is too large
    b"\xc3",  # half a character
    "\ud800".encode("utf-8", "surrogatepass"),
    b"\r\x1b[2J\x1b]0;title\x07",
    b"\n" * 100,
    b"no newline at the end",
]


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: repr(data[:7]))
def test_bytes_that_are_no_text_come_back_as_they_were(worker, tasks, store, data):
    worker(executors=1)

    run = tasks.write_bytes.enqueue(list(data))
    ended(run)

    assert data * 2 == whole_log(store, run)


@pytest.mark.parametrize(
    ("code", "shown"),
    [(0xD800, rb"\ud800"), (0xDFFF, rb"\udfff"), (0xDCFF, b"\xff")],
)
def test_text_that_has_no_bytes_is_escaped_and_breaks_nothing(worker, tasks, store, code, shown):
    worker(executors=1)

    run = tasks.say_any.enqueue(code)

    assert "succeeded" == ended(run).state
    log = whole_log(store, run)
    assert [b"out " + shown, b"err " + shown] == log.splitlines()[:2]
    assert log.endswith(b"log " + shown + b"\n")
