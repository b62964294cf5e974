"""Tasks that do what tasks should not do."""

# ruff: noqa: ASYNC240 - blocking the loop is the point

from __future__ import annotations

import asyncio
import ctypes
import io
import os
import signal
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

from holdfast import App, Snooze

app = App()
WRONG = {"text": "50%", "decimal": Decimal(3), "nan": float("nan"), "object": object()}


@app.task
def noop():
    """Do nothing."""


@app.task
def length(text):
    return len(text)


@app.task
def wait_for(name):
    while not Path(name).exists():
        time.sleep(0.01)


@app.task(takes_context=True)
def progress(context, kind):
    context.progress(1, 2)
    context.progress(WRONG[kind])


@app.task
def snooze(seconds):
    raise Snooze(seconds)


@app.task
def fail_on(text):
    raise ValueError("file " + text.replace("?", "\udcff"))


@app.task
def say(text):
    print(text)  # noqa: T201 - it is what is looked at


@app.task
def say_below(text):
    sys.__stdout__.write(text)
    ctypes.CDLL(None).printf(text.encode())


@app.task
def spoil():
    sys.stdout = sys.stderr = io.StringIO()
    os.chdir("/")
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@app.task
def close_standard_output():
    os.close(1)


@app.task
def close_everything():
    os.closerange(3, 4096)
    time.sleep(60)


@app.task(takes_context=True)
def speak_later(context):
    def late():
        while not Path("late").exists():
            time.sleep(0.01)
        try:
            context.log("too late")
        except ValueError:
            Path("refused").touch()

    threading.Thread(target=late, daemon=True).start()
    context.log("in time")


@app.task
async def block_the_loop():
    Path("blocking").touch()
    while not Path("go").exists():
        time.sleep(0.01)  # noqa: ASYNC251 - blocking the loop is the point


@app.task(timeout=1)
async def victim():
    await asyncio.sleep(0.01)
    return "unharmed"
