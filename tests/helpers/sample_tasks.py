"""Tasks of every kind, for workers in tests; their working directory is the test's folder."""

# ruff: noqa: T201 - tasks print, and that is what is looked at

from __future__ import annotations

import asyncio
import collections
import ctypes
import itertools
import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from holdfast import App, Retry

app = App()

# A process with a child, and a grandchild that left the session and does not heed SIGTERM.
FAMILY = """
echo $$ >> pids
sh -c 'echo $$ >> pids; exec sleep 1000' &
setsid sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 0.1; done' &
wait
"""
# Writes numbered lines, and each number to a witness once the line is written.
COUNT = """
import os, sys
witness = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
number = 0
while not os.path.exists(sys.argv[2]):
    os.write(1, b"line %d\\n" % number)
    os.write(witness, b"%d\\n" % number)
    number += 1
"""


def note(text, name="witness"):
    """Append a line to a file that Holdfast knows nothing of, by one write."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def wait_for(name):
    """Wait until the test makes a file of this name."""
    while not Path(name).exists():
        time.sleep(0.005)


async def see(condition):
    """Wait until a condition holds, and let the other coroutines run."""
    while not condition():  # noqa: ASYNC110 - it becomes true in another process
        await asyncio.sleep(0.005)


# --- results


@app.task
def add(a, b):
    return a + b


@app.task
async def add_async(a, b):
    await asyncio.sleep(0)
    return a + b


@app.task
def give_back(value):
    return value


@app.task
def length(text):
    return len(text)


@app.task
def not_json():
    return {"when": {1, 2}}


@app.task
def pid():
    return os.getpid()


@app.task
async def pid_async():
    return os.getpid()


# --- many at once

_present = []


@app.task
async def meet(count):
    """Return once so many attempts are in this very process at the same time."""
    _present.append(1)
    await see(lambda: len(_present) >= count)
    return os.getpid()


@app.task
def stay(name, seconds):
    """Note when it starts and ends."""
    note(f"start {name} {os.getpid()}")
    time.sleep(seconds)
    note(f"end {name} {os.getpid()}")


@app.task
async def stay_async(name, seconds):
    note(f"start {name} {os.getpid()}")
    await asyncio.sleep(seconds)
    note(f"end {name} {os.getpid()}")


@app.task
def hold(name, until):
    """Note that it runs, and stay until the test makes a file."""
    note(f"start {name} {os.getpid()}")
    wait_for(until)
    note(f"end {name} {os.getpid()}")


@app.task
async def hold_async(name, until):
    note(f"start {name} {os.getpid()}")
    await see(Path(until).exists)
    note(f"end {name} {os.getpid()}")


# --- failures


class OutOfPaper(Exception):
    pass


@app.task
def boom(text):
    raise OutOfPaper(text)


@app.task(retries=Retry(3, backoff="fixed", delay=0.05), takes_context=True)
def flaky(context, good_attempt):
    if context.attempt < good_attempt:
        raise OutOfPaper(f"attempt {context.attempt}")
    return context.attempt


@app.task
def leave(code):
    sys.exit(code)


@app.task(takes_context=True)
def nap(context, delay):
    if context.attempt == 1:
        context.snooze(delay)
    return context.attempt


# --- context


@app.task(takes_context=True)
def tell(context, until):
    context.log("page %d of %d", 3, 7)
    context.log("50% done")
    context.progress(1, 4, "first")
    context.progress(2, 4, "second")
    wait_for(until)


@app.task(takes_context=True)
async def tell_async(context, until):
    context.progress(0.5, text="half")
    await see(Path(until).exists)
    context.log("seen")


@app.task(takes_context=True)
def look_in_thread(context):
    """Wait for the stop in another thread, as a loop over a library's callback would."""
    seen = threading.Event()

    def look():
        while not context.is_cancelled:
            time.sleep(0.005)
        seen.set()

    threading.Thread(target=look).start()
    note("start")
    try:
        time.sleep(1000)
    finally:
        seen.wait(5)
        note(f"seen {seen.is_set()}")


# --- output


@app.task
def say(*texts):
    for text in texts:
        print(text)


@app.task
def say_surrogate():
    print(b"\xff".decode(errors="surrogateescape"))


@app.task
def say_in_every_way(name):
    """Write through each of the ways that output can take, each with numbered lines."""
    libc = ctypes.CDLL(None)
    for number in range(20):
        print(f"{name} print {number}")
        print(f"{name} part {number}", end="")
        print()
        logging.getLogger("shop").info("%s record %d", name, number)
        sys.stdout.buffer.write(f"{name} buffer {number}\n".encode())
        sys.stderr.write(f"{name} stderr {number}\n")
        os.write(1, f"{name} fd1 {number}\n".encode())
        os.write(2, f"{name} fd2 {number}\n".encode())
        libc.puts(f"{name} puts {number}".encode())
        libc.fflush(None)
    subprocess.run(["sh", "-c", f"for i in 0 1 2; do echo {name} child $i; done"], check=True)
    thread = threading.Thread(target=print, args=(f"{name} thread 0",))
    thread.start()
    thread.join()


@app.task
async def say_slowly(name, count):
    log = logging.getLogger(name)
    for number in range(count):
        print(f"{name} print {number}")
        log.warning("%s record %d", name, number)
        await asyncio.sleep(0)
    await asyncio.to_thread(print, f"{name} thread 0")


@app.task
def write_bytes(numbers):
    sys.stdout.buffer.write(bytes(numbers))
    os.write(1, bytes(numbers))


@app.task
def long_line(how, size):
    if how == "print":
        print("x" * size)
    else:
        os.write(1, b"x" * size + b"\n")


@app.task
def flood(lines):
    for number in range(lines):
        print(f"line {number}")


@app.task
def count_lines(how, witness, until):
    """Write numbered lines for ever, and each number to a witness once its line is written."""
    number = 0
    while not Path(until).exists():
        if how == "print":
            print(f"line {number}")
        else:
            os.write(1, f"line {number}\n".encode())
        note(number, witness)
        number += 1


app.command("count_lines", [sys.executable, "-c", COUNT, "{witness}", "{until}"])

# --- limits


@app.task
def sleep(seconds):
    note(f"start {os.getpid()}")
    time.sleep(seconds)


@app.task
async def sleep_async(seconds):
    note(f"start {os.getpid()}")
    await asyncio.sleep(seconds)


@app.task
def clean_up():
    try:
        note("start")
        time.sleep(1000)
    finally:
        note("cleaned")
        print("cleaned")


@app.task
def with_family():
    subprocess.run(["sh", "-c", FAMILY], check=True)


@app.task
async def with_family_async():
    process = await asyncio.create_subprocess_exec("sh", "-c", FAMILY)
    await process.wait()


@app.task
async def with_process_async(name, until):
    """Wait for a process that waits for a file; return its exit code."""
    script = f"echo $$ >> {name}; until test -e {until}; do sleep 0.05; done"
    process = await asyncio.create_subprocess_exec("sh", "-c", script)
    return await process.wait()


app.command("with_family", FAMILY, shell=True)


@app.task
def swallow():
    """Go on whatever it is asked."""
    note("start")
    while True:
        try:
            time.sleep(1000)
        except BaseException:  # noqa: BLE001 - this is what it is here for
            print("no, I stay")


@app.task
def stuck_in_c():
    """Loop in C code that never lets go of the interpreter."""
    note("start")
    collections.deque(itertools.count(), maxlen=0)


@app.task
def search(pattern, text):
    return bool(re.match(pattern, text))


@app.task
async def stuck_in_c_async():
    note("start")
    collections.deque(itertools.count(), maxlen=0)


@app.task
def eat(megabytes):
    note(f"start {os.getpid()}")
    held = bytearray(megabytes << 20)
    time.sleep(1000)
    return len(held)


@app.task
def eat_in_children(count, megabytes):
    eat_it = f"import time; held = bytearray({megabytes} << 20); time.sleep(1000)"
    for process in [subprocess.Popen([sys.executable, "-c", eat_it]) for _ in range(count)]:
        process.wait()


app.command(
    "eat",
    [sys.executable, "-c", "import time; held = bytearray({megabytes} << 20); time.sleep(1000)"],
)

# --- deaths


@app.task
def kill_itself():
    note("start")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
async def kill_itself_async():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def crash():
    ctypes.string_at(0)


@app.task
def leave_processes():
    """Return while a child, and one that left the session, go on."""
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["setsid", "sh", "-c", 'trap "" TERM; while :; do sleep 0.1; done'])
    return "done"


# --- forks


def _child(text):
    print(text)
    note(text)


@app.task
def fork(how):
    """Fork, and let the child end in one of the ways that people let it end."""
    child = os.fork()
    if not child:
        _child(f"child {how}")
        match how:
            case "return":
                return "the child"
            case "raise":
                raise OutOfPaper("in the child")
            case "exit":
                sys.exit(3)
            case "at once":
                os._exit(3)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@app.task
async def fork_async(how):
    if not (child := os.fork()):
        _child(f"child {how}")
        if how == "return":
            return "the child"
        sys.exit(3)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    return os.waitstatus_to_exitcode(status)


def double(number):
    return 2 * number


@app.task
def map_in_processes(method, count):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(double, range(count))


@app.task
def enqueue_in_child():
    """Use the app in a forked child and in the parent: both have connections of their own."""
    child = os.fork()
    if not child:
        add.enqueue(1, 2)
        os._exit(0)
    os.waitpid(child, 0)
    return add.enqueue(3, 4).id
