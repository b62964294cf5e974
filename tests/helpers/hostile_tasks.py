"""Tasks that do what tasks should not do."""

# ruff: noqa: ASYNC240 - blocking the loop is the point

from __future__ import annotations

import asyncio
import ctypes
import errno
import io
import os
import signal
import stat
import sys
import threading
import time
from contextlib import suppress
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
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.umask(0o777)
    os.environ.update(LD_PRELOAD="/evil.so", PATH=".", BASH_ENV="/evil")
    del os.environ["HOLDFAST_STORE"]


@app.task
def replace_environment():
    os.environ = {}  # noqa: B003 - it is what bad tasks do


@app.task
def look_around():
    mask = os.umask(0)
    os.umask(mask)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return [mask, sorted(blocked), dict(os.environ), os.getcwd()]


@app.task
def leave_open(count):
    with suppress(OSError):
        for _ in range(count):
            os.open("/dev/null", os.O_RDONLY)


class Unnamed(Exception):
    """An exception of which nothing can be told."""

    def __str__(self):
        raise KeyboardInterrupt


class NoText:
    def __eq__(self, other):
        raise RuntimeError("do not compare me")

    __hash__ = None


def in_groups(error, depth):
    for _ in range(depth):
        error = ExceptionGroup("group", [error])
    return error


def in_a_chain(error, length):
    for _ in range(length):
        error, error.__cause__ = ValueError("link"), error
    return error


def in_a_circle():
    error = ValueError("round and round")
    error.__cause__ = KeyError()
    error.__cause__.__cause__ = error
    return error


STRANGE = {
    "text": Unnamed,
    "module": type("Unnamed", (Unnamed,), {"__module__": NoText()}),
    "name": lambda: type("N" * 5_000_000 + "\n\x1b[31m", (Exception,), {})("x" * 5_000_000),
    "groups": lambda: in_groups(ValueError(), 3000),
    "chain": lambda: in_a_chain(ValueError("link"), 50_000),
    "circle": in_a_circle,
    "full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "file": lambda: OSError(errno.ENOSPC, "No space left on device", "a\0b"),
    "exit": lambda: SystemExit("\x1b]0;title\x07"),
}


@app.task
def raise_strangely(how):
    raise STRANGE[how]()  # noqa: RSE102 - not all of them are classes


@app.task(timeout=1)
def stop_itself():
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)


@app.task
def speak_false_frames():
    """Write to the line to the supervisor what no executor says."""
    for descriptor in range(3, 64):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.set_blocking(descriptor, False)
                os.write(descriptor, b"\xff" * 100_000)
    time.sleep(60)


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
