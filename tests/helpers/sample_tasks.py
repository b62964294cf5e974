"""Tasks of every kind, for workers in tests; their working directory is the test's folder."""

# ruff: noqa: T201 - tasks print, and that is what is looked at

from __future__ import annotations

import asyncio
import collections
import ctypes
import fcntl
import itertools
import logging
import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
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


@app.task(takes_context=True)
def hold_and_deliver(context, name, until):
    """Wait for a file, then write to a sink that refuses those who come late."""
    note(f"start {name} {os.getpid()}")
    wait_for(until)
    accepted = deliver(context.run_id, context.attempt)
    note(f"{'accepted' if accepted else 'refused'} {name} {context.attempt}")


def deliver(run_id, attempt):
    """Write to a file of deliveries, unless a later attempt has been there before."""
    with Path("sink").open("a+") as sink:
        fcntl.flock(sink, fcntl.LOCK_EX)
        sink.seek(0)
        before = [line.split() for line in sink]
        if any(run == run_id and int(number) > attempt for run, number in before):
            return False
        sink.write(f"{run_id} {attempt}\n")
        return True


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
def say_any(code):
    """Say a character through each way that takes text."""
    print("out", chr(code))
    sys.stderr.write(f"err {chr(code)}\n")
    logging.getLogger("shop").info("log %s", chr(code))


@app.task
def pour(megabytes):
    """Write to descriptor 1, as code in C does, as fast as it goes."""
    try:
        for _ in range(megabytes):
            data = memoryview(bytes(1 << 20))
            while data:
                data = data[os.write(1, data) :]
    finally:
        note("cleaned")


@app.task
def pour_in_transactions(how, until):
    """Write while it holds the lock of the store, again and again."""
    path = os.environ["HOLDFAST_STORE"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        while not Path(until).exists():
            connection.execute("BEGIN IMMEDIATE")
            data = "x" * 300_000
            if how == "print":
                print(data)
            else:
                os.write(1, data.encode())
            connection.execute("ROLLBACK")
            time.sleep(0.005)


@app.task
def pour_twice(megabytes, until):
    """Write much, and a little more once a file is there."""
    pour(megabytes)
    wait_for(until)
    os.write(1, b"x")


@app.task
def shell(script):
    subprocess.run(["sh", "-c", script], check=True)


@app.task
async def pour_async(megabytes):
    note("start")
    for _ in range(megabytes * 16):
        sys.stdout.buffer.write(bytes(1 << 16))
        await asyncio.sleep(0)


@app.task
def speak_when(until, how, lines):
    """Wait for a file, then write lines in one of three ways."""
    note("start")
    wait_for(until)
    for number in range(lines):
        match how:
            case "print":
                print(f"line {number}")
            case "fd":
                os.write(1, f"line {number}\n".encode())
            case "child":
                subprocess.run(["echo", f"line {number}"], check=True)


app.command(
    "speak_when",
    "until test -e {until}; do sleep 0.01; done; seq -f 'line %.0f' 0 {last}",
    shell=True,
)


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


@app.task
async def count_lines_async(witness, until):
    number, is_over = 0, Path(until).exists
    while not is_over():
        print(f"line {number}\n", end="")
        note(number, witness)
        number += 1
        await asyncio.sleep(0)


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


def _hang(event):
    event.wait()


@app.task
def wait_in_thread():
    thread = threading.Thread(
        target=_hang, args=[threading.Event()], name="the-one-that-hangs", daemon=True
    )
    thread.start()
    thread.join()


async def _deeper(levels):
    if levels > 1:
        await _deeper(levels - 1)
    await asyncio.sleep(1000)


@app.task
async def wait_deep_async(levels):
    await _deeper(levels)


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
async def eat_async(megabytes):
    held = bytearray(megabytes << 20)
    await asyncio.sleep(1000)
    return len(held)


@app.task
def take(megabytes):
    """Hold memory for a moment."""
    return len(bytearray(megabytes << 20))


@app.task
def take_and_sleep(megabytes):
    held = bytearray(megabytes << 20)
    note(f"start {os.getpid()}")
    time.sleep(1000)
    return len(held)


def _stay_forked(work):
    child = os.fork()
    if not child:
        held = work()
        time.sleep(1000)
        os._exit(len(held) & 1)
    return child


@app.task
def eat_in_forks(count, megabytes):
    for child in [_stay_forked(lambda: bytearray(megabytes << 20)) for _ in range(count)]:
        os.waitpid(child, 0)
    time.sleep(1000)


@app.task
def share_with_forks(count, megabytes, seconds):
    """Hold memory that forked children share, page by page."""
    held = bytearray(megabytes << 20)
    for _ in range(count):
        _stay_forked(lambda: held)
    time.sleep(seconds)
    return len(held)


def _hungry_child(megabytes):
    return [sys.executable, "-c", f"held = bytearray({megabytes} << 20)"]


@app.task
def survive_a_hungry_child(megabytes):
    return subprocess.run(_hungry_child(megabytes), check=False).returncode


@app.task
def fail_with_a_hungry_child(megabytes):
    subprocess.run(_hungry_child(megabytes), check=True)


@app.task
def eat_in_children(count, megabytes):
    eat_it = f"import time; held = bytearray({megabytes} << 20); time.sleep(1000)"
    for process in [subprocess.Popen([sys.executable, "-c", eat_it]) for _ in range(count)]:
        process.wait()


app.command(
    "eat_in_shell",
    f"{sys.executable} -c 'import time; held = bytearray('{{megabytes}}' << 20); time.sleep(99)'",
    shell=True,
)
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


def _crash(name):
    if name == "SIGSEGV":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.Signals[name])  # as the processor or the C library does
    time.sleep(1000)


@app.task
def crash_by(name, how):
    if how == "main thread":
        _crash(name)
    thread = threading.Thread(target=_crash, args=[name])
    thread.start()
    thread.join()


@app.task
async def crash_by_async(name, how):
    _crash(name)


@app.task
def hold_stuck(name, until):
    """Hold the interpreter in C code, in the first attempt, until somebody kills it."""
    note(f"start {name} {os.getpid()}")
    if len(Path("witness").read_text().splitlines()) == 1:
        collections.deque(itertools.count(), maxlen=0)


@app.task
def vanish(code):
    os._exit(code)


@app.task
def close_everything():
    """Close the descriptors that join the executor to its supervisor."""
    os.closerange(3, 4096)
    time.sleep(1000)


@app.task
def crash():
    ctypes.string_at(0)


@app.task
def leave_processes():
    """Return while a child, and one that left the session, go on."""
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["setsid", "sh", "-c", 'trap "" TERM; while :; do sleep 0.1; done'])
    return "done"


@app.task
def fill_disk(folder, how):
    """Write to a small disk until it is full, and meet that in several ways."""
    file = Path(folder, "file").open("wb", buffering=0)  # noqa: SIM115 - it stays open on purpose
    try:
        while True:
            file.write(bytes(65536))
    except OSError as error:
        if how == "by name":
            Path(folder, "other").mkdir()
        if how == "as a cause":
            raise OutOfPaper("the disk") from error
        if how == "without a name":
            Path(folder, "file").unlink()
        if how == "and clean up":
            file.close()
            Path(folder, "file").unlink()
        raise


@app.task
def fill_inodes(folder):
    for number in range(100):
        Path(folder, str(number)).touch()


# --- escapes

STAY = 'trap "" TERM HUP; echo $$ >> escaped; exec sleep 1000'


def _daemonize():
    """Leave parent, session and descriptors behind, as daemons do."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    note(os.getpid(), "escaped")
    os.closerange(0, 1000)
    time.sleep(1000)
    os._exit(0)


def _fork():
    if not os.fork():
        os.setsid()
        note(os.getpid(), "escaped")
        time.sleep(1000)
        os._exit(0)


def _stay():
    note(os.getpid(), "escaped")
    time.sleep(1000)


def _escape(way):
    match way:
        case "session":
            subprocess.Popen(["setsid", "sh", "-c", STAY])
        case "daemon":
            _daemonize()
        case "empty environment":
            subprocess.Popen(["env", "-i", "/usr/bin/setsid", "/bin/sh", "-c", STAY])
        case "fork":
            _fork()
        case "thread":
            thread = threading.Thread(target=_fork)
            thread.start()
            thread.join()
        case "multiprocessing":
            multiprocessing.get_context("fork").Process(target=_stay).start()
    wait_for("escaped")


def _then(end):
    """End in one of the ways in which attempts end; True when there is nothing left to do."""
    match end:
        case "return":
            return True
        case "raise":
            raise OutOfPaper
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "memory":
            return len(bytearray(300 << 20)) > 0
    return False


@app.task
def escape(way, end):
    """Let a process leave the session, and end."""
    _escape(way)
    while not _then(end):
        try:
            time.sleep(1000)
        except BaseException:
            if end != "swallow":
                raise


@app.task
async def escape_async(way, end):
    _escape(way)
    while not _then(end):
        try:
            await asyncio.sleep(1000)
        except BaseException:
            if end != "swallow":
                raise


app.command(
    "escape",
    f"""
echo $$ >> shell
case {{way}} in
    session) setsid sh -c '{STAY}' & ;;
    daemon) (setsid sh -c '{STAY}' < /dev/null > /dev/null 2>&1 &) ;;
    *) (env -i setsid /bin/sh -c '{STAY}' &) ;;
esac
until test -e escaped; do sleep 0.01; done
eval {{then}}
""",
    shell=True,
)


@app.task
async def with_fork_async(name, until):
    """Fork a child that waits for a file; return its exit code."""
    child = os.fork()
    if not child:
        note(os.getpid(), name)
        wait_for(until)
        os._exit(0)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    return os.waitstatus_to_exitcode(status)


@app.task
def start_worker(path):
    """Start a worker on a store of its own; note its pid, and those of its executors."""
    command = [sys.executable, "-m", "holdfast", "--store", f"sqlite:///{path}", "worker"]
    process = subprocess.Popen([*command, "--executors", "1"])
    note(process.pid, "inner")
    known = set()
    while process.poll() is None:
        for pid in subprocess.run(
            ["pgrep", "-P", str(process.pid), "-f", "holdfast.worker.executor"],
            check=False,
            stdout=subprocess.PIPE,
        ).stdout.split():
            if pid not in known:
                known.add(pid)
                note(pid.decode(), "inner")
        time.sleep(0.1)


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
def stop_a_child(witness, until):
    """Fork a child and stop it with SIGTERM, as multiprocessing does; then wait for a file."""
    os.write(1, b"before\n")
    child = os.fork()
    if not child:
        signal.pause()
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert signal.SIGTERM == os.WTERMSIG(status)
    Path(witness).write_text("stopped\n")
    while not Path(until).exists():
        time.sleep(0.01)


@app.task
def enqueue_in_child():
    """Use the app in a forked child and in the parent: both have connections of their own."""
    child = os.fork()
    if not child:
        add.enqueue(1, 2)
        os._exit(0)
    os.waitpid(child, 0)
    return add.enqueue(3, 4).id


# Secrets: values come turned round, so that they stand nowhere but where a task lets them out.


@app.task(takes_context=True)
def let_out(context, turned, how):
    """Name a secret and say it in many ways, then end in one of them."""
    secret = turned[::-1]
    context.mask(secret)
    print(f"the password is {secret}")
    for part in (secret[:3], secret[3:7], secret[7:], "\n"):
        sys.stdout.write(part)
    logging.getLogger("shop").warning("logged %s", secret)
    context.log("said %s", secret)
    context.progress(1, 2, f"with {secret}")
    os.write(1, f"written {secret}\n".encode())
    subprocess.run(["printf", "%s", f"child {secret}\n"], check=True)
    if how == "raise":
        raise ValueError(f"{'x' * 1990}{secret}{'y' * 30000}\n{secret}\n{'z' * 19000}")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        exec(f"def {secret}():\n    time.sleep(1000)\n{secret}()", {"time": time})  # noqa: S102
    print("done")


@app.task(takes_context=True)
def name_too_short(context):
    """Name a secret that is too short."""
    context.mask("12345")
    print("it is 12345")
