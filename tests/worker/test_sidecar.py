"""The processes beside the supervisor speak with its voice, and come back when they die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager

import msgspec
import pytest

from helpers.waiting import wait_until
from helpers.workers import PATIENCE, lines_of, wait_for_lines
from holdfast.worker.loop import Waiter
from holdfast.worker.sidecar import Sidecar

FAILING = """
from holdfast.core.events import LogsBack, emit
from holdfast.worker.beside import speak_through_supervisor
speak_through_supervisor("failing")
with open("starts", "a") as file:
    file.write("start\\n")
emit(LogsBack())
raise ZeroDivisionError("ink is dry")
"""

NOTING = """
from holdfast import App
app = App()
with open("loaded", "a") as file:
    file.write("loaded\\n")
"""


class Nothing(msgspec.Struct):
    """A setup without content."""


@pytest.fixture
def failing(folder, monkeypatch):
    """The name of a module that fails, in a place where Python finds it."""
    (folder / "failing.py").write_text(FAILING)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "failing"


@pytest.fixture
def told(monkeypatch):
    """The events that the supervisor says."""
    events = []
    monkeypatch.setattr("holdfast.worker.sidecar.emit", events.append)
    return events


@contextmanager
def beside(module):
    """A sidecar as the supervisor has it, and a function that lets it live on for a moment."""
    waiter = Waiter()
    sidecar = Sidecar(module, Nothing(), waiter, set(), lambda _line: None)

    def live_on():
        waiter.wait(0.01)
        sidecar.revive()

    try:
        yield sidecar, live_on
    finally:
        sidecar.close()
        sidecar.wait(PATIENCE)
        waiter.close()


def test_a_process_that_fails_says_why_through_its_supervisor(failing, told):
    with beside(failing) as (sidecar, live_on):
        wait_until(lambda: live_on() or len(told) >= 3, within=PATIENCE)

    back, failed, died = told[:3]
    assert ("the store takes logs again", "failing") == (str(back), failed.name)
    assert "ZeroDivisionError: ink is dry" == failed.problem
    assert 'raise ZeroDivisionError("ink is dry")' in failed.traceback
    assert (sidecar.name, "exit code 1", 0.0) == (died.name, died.reason, died.pause_seconds)


def test_a_process_that_cannot_live_is_started_again_ever_more_seldom(failing, told):
    with beside(failing) as (_, live_on):
        wait_until(lambda: live_on() or len(told) >= 12, within=PATIENCE)

    pauses = [event.pause_seconds for event in told if type(event).__name__ == "SidecarDied"]
    assert [0.0, 0.1, 0.2, 0.4] == pauses[:4]


def test_a_process_that_cannot_be_started_again_now_is_tried_again_later(
    failing, told, monkeypatch
):
    def refuse(*_arguments, **_options):
        raise BlockingIOError

    with beside(failing) as (sidecar, live_on):
        with monkeypatch.context() as machine:
            machine.setattr(subprocess, "Popen", refuse)
            wait_until(lambda: sidecar._waiter.wait(0.01) or len(told) >= 3, within=PATIENCE)
            with pytest.raises(BlockingIOError):
                sidecar.revive()  # a duty of the supervisor, which outlives that
            sidecar.revive()  # and not at once

        assert ["start"] == lines_of("starts")
        wait_until(lambda: live_on() or len(lines_of("starts")) > 1, within=PATIENCE)


def test_all_that_a_worker_says_is_json_when_that_was_asked_for(worker, tasks, folder):
    here = worker(executors=1)
    neighbour = worker(executors=1)
    neighbour.kill()
    here.replace_sidecar("shipper")
    wait_until(lambda: here.events("WorkerDied"), within=PATIENCE)

    (died,) = here.events("WorkerDied")
    assert (neighbour.worker_id, "process gone") == (died["worker"], died["cause"])
    assert "warning" == died["level"]
    assert "signal 9" == here.events("SidecarDied")[0]["reason"]
    for line in here.errors.read_text().splitlines():
        assert json.loads(line)["event"]


def test_a_worker_is_not_known_before_its_heart_can_beat(worker, folder):
    """Otherwise others would count the time that its heartbeat process takes to start."""
    (folder / "noting.py").write_text(NOTING)
    here = worker(app="noting:app", executors=1, ready=False)
    heart = wait_until(lambda: here.sidecar("heartbeat"), within=PATIENCE)
    os.kill(heart, signal.SIGSTOP)
    wait_for_lines("loaded", 1)
    loaded_at = time.monotonic()

    wait_until(lambda: time.monotonic() > loaded_at + 1, within=PATIENCE)

    assert [] == here.store.workers.list()
    os.kill(heart, signal.SIGCONT)
    here.wait_ready()
    wait_until(lambda: here.record().beat > 0, within=PATIENCE)
