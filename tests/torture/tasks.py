"""Do what a plan says, and tell the witness of it: the tasks of a torture.

Whatever is told to the witness is synced before the task does anything else, in files that the
product knows nothing of.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import msgspec

from holdfast import App, Retry
from torture.history import Journal, Mark, Plan, SinkWrite, path_of
from torture.lines import line_of

HISTORY = "TORTURE_HISTORY"  # the folder of the history
MARK = "TORTURE_ATTEMPT"  # in the environment of every process that a task starts
EVERY = 500  # lines between two words to the witness
COMMAND = Path(__file__).with_name("command.py")
_PIECE = 4 << 20  # bytes that a hog takes at a time

app = App()


class Planned(Exception):
    """Be the failure that a plan asked for."""


@cache
def journal(name, pid):
    """The journal of this process."""
    return Journal(path_of(Path(os.environ[HISTORY]), name), sync=True)


class Attempt:
    """Carry out the plan of one attempt."""

    def __init__(self, context, plan):
        self.plan = msgspec.convert(plan, Plan)
        self.context = context
        self.token = (context.run_id, context.attempt)
        self.mark("start")

    def mark(self, what, **facts):
        journal("witness", os.getpid()).write(Mark(*self.token, what, **facts))

    @property
    def is_its_time(self):
        return not self.plan.times or self.context.attempt <= self.plan.times

    def write_all(self):
        for pen, count in self.plan.pens.items():
            for _ in self.write(pen, count):
                pass

    def write(self, pen, count):
        """Write the lines of a pen, and stop after each part that the witness has heard of."""
        for number in range(1, count + 1):
            PENS[pen](self.context, line_of(*self.token, pen, number))
            if number % EVERY == 0 or number == count:
                self.mark("line", pen=pen, line=number)
                yield number

    def end(self):
        """Say that the code came to its end, and return what it returns."""
        if self.plan.sink:
            offer(*self.token)
        does = self.plan.does if self.is_its_time else "succeed"
        if does in ("fail", "snooze"):
            self.mark("end")
            if does == "fail":
                raise Planned(f"attempt {self.context.attempt}")
            self.context.snooze(0.2)
        result = [*self.token, os.getpid()]
        self.mark("end", result=msgspec.json.encode(result).decode())
        return result


def _print(_context, line):
    sys.stdout.write(f"{line}\n")


def _say(context, line):
    context.log("%s", line)


def _log(_context, line):
    logging.getLogger("torture").info("%s", line)


def _write(_context, line):
    os.write(1, f"{line}\n".encode())


def _complain(_context, line):
    os.write(2, f"{line}\n".encode())


PENS = {"print": _print, "say": _say, "log": _log, "fd": _write, "err": _complain}


def offer(run, attempt):
    """Write to a sink that takes no lower token than the highest it has seen."""
    folder = Path(os.environ[HISTORY]) / "sinks"
    file = os.open(folder / run, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        accepted = attempt >= int(os.read(file, 20) or 0)
        if accepted:
            os.pwrite(file, b"%20d" % attempt, 0)
        journal("sinks", os.getpid()).write(SinkWrite(run, attempt, accepted=accepted))
    finally:
        os.close(file)


# --- what else a plan may ask for


def _die(_attempt):
    os.kill(os.getpid(), signal.SIGKILL)


def _crash(_attempt):
    ctypes.string_at(0)


def _hog(_attempt):
    held = []
    while True:
        held.append(bytearray(_PIECE))
        time.sleep(0.01)


def _hang(_attempt):
    time.sleep(1000)


def _escape(attempt):
    """Leave a process behind that has left the session and does not heed SIGTERM."""
    script = 'trap "" TERM; while :; do sleep 0.2; done'
    environment = {**os.environ, MARK: "{}.{}".format(*attempt.token)}
    subprocess.Popen(["setsid", "sh", "-c", f"({script}) &"], env=environment)


def _fork(_attempt):
    """Let a child come back through all of Holdfast's code as well."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    else:
        raise Planned("in the child")


DOINGS = {
    "fork": _fork,
    "die": _die,
    "crash": _crash,
    "hog": _hog,
    "hang": _hang,
    "escape": _escape,
}


@app.task(takes_context=True)
def work(context, plan):
    attempt = Attempt(context, plan)
    attempt.write_all()
    time.sleep(attempt.plan.seconds)
    if attempt.plan.does in DOINGS and attempt.is_its_time:
        DOINGS[attempt.plan.does](attempt)
    return attempt.end()


@app.task(takes_context=True)
async def work_async(context, plan):
    attempt = Attempt(context, plan)
    for pen, count in attempt.plan.pens.items():
        for _ in attempt.write(pen, count):
            await asyncio.sleep(0)
    await asyncio.sleep(1000 if attempt.plan.does == "hang" else attempt.plan.seconds)
    return attempt.end()


command = app.command("torture.command", [sys.executable, "-I", "-S", str(COMMAND), "{plan}"])


def task_for(plan, kind):
    """The task that carries out a plan, with the limits of the plan; kind: sync, async, command."""
    task = {"sync": work, "async": work_async, "command": command}[kind]
    again = Retry(plan.retries, backoff="fixed", delay=0.2)
    limits = {"crashes": plan.crashes, "retries": again}
    if plan.does == "hog":
        limits["memory"] = "90MiB"
    if plan.does == "hang":
        limits["timeout"] = 1
    return task.using(**limits)


def call_for(plan, kind, **options):
    """What to enqueue."""
    task = task_for(plan, kind).using(**options)
    value = msgspec.to_builtins(plan)
    return task.call(plan=json.dumps(value)) if kind == "command" else task.call(value)
