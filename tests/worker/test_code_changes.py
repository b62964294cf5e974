"""Executors load the app when they start: code that changes meets a worker piece by piece."""

from __future__ import annotations

import os
import signal

import pytest

from helpers.waiting import wait_until
from helpers.workers import PATIENCE, certificate, ended, outcomes, wait_for_lines
from holdfast import App

BEFORE = """
import os, time
from pathlib import Path
from holdfast import App

app = App()

@app.task
def old():
    return "old"

@app.task
def wait():
    with open("witness", "a") as file:
        file.write(f"start {os.getpid()}\\n")
    while not Path("go").exists():
        time.sleep(0.01)
"""
AFTER = BEFORE.replace("def old", "def new")


@pytest.fixture
def shop(folder, store):
    """Write the code of an app, and enqueue to its tasks whether it has them or not."""
    app = App(store=store.url)

    def write(code):
        (folder / "shop.py").write_text(code)

    for name in ("old", "new", "wait"):
        app.task(name=f"shop.{name}")(lambda: None)
    write.app = app
    yield write
    app.store.close()


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def test_attempt_that_no_executor_knows_any_more_is_given_back_and_says_so(shop, worker, store):
    """It was claimed before the store was told what the new executor knows."""
    shop(BEFORE)
    here = worker(app="shop:app", executors=1)
    first = shop.app.find_task("shop.wait").enqueue()
    (line,) = wait_for_lines("witness")
    shop(AFTER)
    here.pause()
    kill(int(line.split()[1]))
    second = shop.app.find_task("shop.old").using(priority=100).enqueue()
    here.signal(signal.SIGCONT)
    wait_until(lambda: outcomes(second), within=PATIENCE)

    assert ["released"] == outcomes(second)
    judged = certificate(second)
    assert ("no_handler", "certain") == (judged.verdict, judged.confidence)
    assert "they know holdfast.command, shop.new, shop.wait." in judged.sentence
    assert (0, 0) == (second.record.failures, second.record.crashes)
    shop(BEFORE)
    worker(app="shop:app", executors=1)
    assert "old" == second.result(PATIENCE)
    first.cancel()
    ended(first)
