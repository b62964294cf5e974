"""Tasks that fork in every way in which people fork."""

# ruff: noqa: T201 - tasks print, and that is what is looked at

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from holdfast import App

app = App()
log = logging.getLogger("shop")
ENDS = ("return", "exit", "raise", "at once")
LINES = 20  # of each child


def speak(name, lines=LINES):
    """Write numbered lines through logging, print and the descriptor, each complete."""
    for number in range(lines):
        log.info("%s record %d", name, number)
        print(f"{name} print {number}\n", end="")  # in one write, not in two
        os.write(1, f"{name} fd {number}\n".encode())


@contextmanager
def beside(work):
    """Do something again and again in another thread; yields how often it was done."""
    stop = threading.Event()
    count = [0]

    def go_on():
        while not stop.is_set():
            work(count[0])
            count[0] += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()


def end(how):
    """End a forked child as people let it end."""
    match how:
        case "exit":
            sys.exit(0)
        case "raise":
            raise ValueError("in the child")
        case "at once":
            os._exit(0)


@app.task
def add(a, b):
    return a + b


@app.task
def fork_beside_a_thread_that_logs(children):
    """Fork children that log and end in all ways, while a thread of the parent logs."""

    def say(number):
        log.info("thread record %d", number)
        print(f"thread print {number}\n", end="")

    with beside(say) as said:
        for number in range(children):
            how = ENDS[number % len(ENDS)]
            child = os.fork()
            if not child:
                speak(f"child{number}")
                end(how)
                return None
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == (how == "raise"), (how, status)
    return said[0]


@app.task
def fork_beside_a_thread_that_enqueues(children):
    """Enqueue in a thread and in forked children; return the ids, the children's too."""
    ids = []
    reading, writing = os.pipe()
    with beside(lambda number: ids.append(add.enqueue(number, 1).id)):
        for number in range(children):
            child = os.fork()
            if not child:
                inherited = [f for f in open_files() if f.endswith((".db", "-wal", "-shm", "tcp"))]
                os.write(writing, f"{add.enqueue(number, 1).id} {inherited}\n".encode())
                end(ENDS[number % 2 + 1])
            os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        answers = [line.rstrip().partition(" ") for line in told]
    inherited = {names for _, _, names in answers}
    assert inherited == {"[]"}, inherited
    return [ids, [run_id for run_id, _, _ in answers]]


def open_files():
    """What the descriptors of this process lead to."""
    links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    names = [str(link.readlink()) for link in links if link.is_symlink()]
    lines = Path("/proc/self/net/tcp").read_text().splitlines()
    tcp = {f"socket:[{line.split()[9]}]" for line in lines}
    return [f"{name} of tcp" if name in tcp else name for name in names]


def work(name):
    """Be a process of multiprocessing: log, enqueue, and end by sys.exit."""
    speak(name)
    os.write(1, f"enqueued {add.enqueue(1, 2).id}\n".encode())
    sys.exit(3)


@app.task
def start_processes(method, count):
    """Start processes by a method of multiprocessing, and return their exit codes."""
    context = multiprocessing.get_context(method)
    add.enqueue(1, 2)
    processes = [context.Process(target=work, args=(f"child{n}",)) for n in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@app.task
def run_programs(count):
    """Run programs that use the same app, several at once."""
    program = "import sys, forking_tasks; forking_tasks.work(sys.argv[1])"
    argv = [sys.executable, "-c", program]
    started = [subprocess.Popen([*argv, f"child{number}"]) for number in range(count)]
    return [process.wait() for process in started]
