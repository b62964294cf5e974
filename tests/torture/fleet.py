"""Keep workers and clients running, as the service manager of a host would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers.workers import MARK, all_pids, command_line, environment_of, holdfast, is_alive, send
from holdfast.core.config import sqlite_path
from holdfast.worker import proc
from torture.dump import process_name
from torture.history import Trouble
from torture.tasks import HISTORY

TESTS = Path(__file__).parents[1]
SETTINGS = {
    "EXECUTORS": 2,
    "BEAT_SECONDS": 0.5,
    "LEASE_SECONDS": 5,
    "GRACE_SECONDS": 2,
    "DRAIN_SECONDS": 3,
    "POLL_SECONDS": 0.2,
}
STOP_SECONDS = 40.0  # what a worker may take from SIGTERM to its end, on a busy machine
_OK = 0
_BAD_EVENTS = ("DutyFailed", "LogStuck", "AppUnusable")


def faketime(clock):
    """The environment of a process that sees the time of day that a file says."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    assert found, "libfaketime is missing: make system"
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_RESET": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": f"{TESTS}/torture/faked:{TESTS}",
    }


class Member:
    """One process of the fleet: a worker or a client."""

    def __init__(self, process, errors):
        self.process = process
        self.pid = process.pid
        self.errors = errors
        self.started = time.monotonic()
        self.doomed = False  # something was done to it that may end it

    @property
    def is_alive(self):
        return self.process.poll() is None

    def kill(self):
        self.doomed = True
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.doomed = True
        self.process.terminate()


class Worker(Member):
    """A worker process."""

    def __init__(self, process, errors):
        super().__init__(process, errors)
        self.name = process_name(self.pid, proc.start_time(self.pid))

    def processes(self):
        """The supervisor and all below it."""
        return [self.pid, *proc.descendants(self.pid)]

    def parts(self, name):
        """The pids of its executors, its shipper or its heartbeat."""
        module = f"holdfast.worker.{name}"
        return [pid for pid in proc.children(self.pid) if module in command_line(pid)]

    def commands(self):
        """The pids of the commands of its runs."""
        return [
            pid
            for pid in proc.descendants(self.pid)
            if any(part.startswith(b"HOLDFAST_RUN_ID=") for part in environment_of(pid))
        ]


class Fleet:
    """Start workers and clients, start them again when they end, and know why they ended."""

    def __init__(self, folder, store, server, seed, workers, clients):
        self.folder = folder
        self.store = store
        self.server = server  # that may be broken, or None
        self.is_embedded = sqlite_path(store.url) is not None
        self.seed = seed
        self.clock = folder / "clock"
        self.clock.write_text("+0")
        self.troubles = []
        self.leaving = []
        self.all_workers = []
        self.lives = [0] * clients
        self.workers = [self.new_worker(number) for number in range(workers)]
        self.clients = [self.new_client(number) for number in range(clients)]

    def environment(self):
        own = {
            "HOLDFAST_STORE": self.store.url,
            "HOLDFAST_APP": "torture.tasks:app",
            "PYTHONPATH": str(TESTS),
            HISTORY: str(self.folder / "history"),
            MARK: str(self.folder),
        }
        settings = {f"HOLDFAST_WORKER_{name}": str(value) for name, value in SETTINGS.items()}
        return {**os.environ, **settings, **own}

    def start(self, name, argv, more=None):
        errors = self.folder / "said" / f"{name}.stderr"
        with errors.open("ab") as file:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env={**self.environment(), **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return process, errors

    def new_worker(self, number):
        """Start a worker; the first one sees the time of day that the injector chooses."""
        argv = holdfast("worker", "--log-format", "json", "--log-level", "warning")
        more = faketime(self.clock) if number == 0 else None
        name = f"worker {number}.{len(self.all_workers)}"
        worker = Worker(*self.start(name, argv, more))
        self.all_workers.append(worker)
        return worker

    def new_client(self, number):
        argv = [sys.executable, "-m", "torture.client", str(self.seed), str(number)]
        return Member(*self.start(f"client {number}", [*argv, str(self.lives[number])]))

    def replace_worker(self, number):
        self.workers[number] = self.new_worker(number)

    def replace_client(self, number):
        self.lives[number] += 1
        self.clients[number] = self.new_client(number)

    def tend(self):
        """Start again what has ended."""
        for number, worker in enumerate(self.workers):
            if not worker.is_alive:
                self.judge(worker)
                self.replace_worker(number)
        for number, client in enumerate(self.clients):
            if not client.is_alive:
                self.judge(client)
                self.replace_client(number)
        for worker in [*self.leaving]:
            if not worker.is_alive:
                self.judge(worker)
                self.leaving.remove(worker)

    def judge(self, member):
        """Note who ended without a reason, and what it said."""
        code = member.process.returncode
        if not member.doomed or code not in (_OK, -signal.SIGKILL, -signal.SIGTERM):
            text = member.errors.read_text(errors="replace")[-2000:]
            self.troubles.append(Trouble(self.name_of(member), f"it ended with {code}: {text}"))

    def name_of(self, member):
        return member.errors.stem

    def deploy(self, number):
        """Start a new worker, then ask the old one to stop."""
        old = self.workers[number]
        self.replace_worker(number)
        old.terminate()
        self.leaving.append(old)
        return old

    def stop_clients(self):
        for client in self.clients:
            client.terminate()
        for client in self.clients:
            self.end(client)

    def stop_workers(self):
        """Ask all workers to stop, and wait for them."""
        leaving = [*self.workers, *self.leaving]
        for worker in self.workers:
            worker.terminate()
        for worker in leaving:
            self.end(worker)

    def end(self, member):
        try:
            member.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            text = f"it did not stop in {STOP_SECONDS:g} s"
            self.troubles.append(Trouble(self.name_of(member), text))
            member.kill()
        self.judge(member)

    def everything(self):
        """The pids of all living processes that the fleet has started, and of all below them."""
        wanted = f"{MARK}={self.folder}".encode()
        return [pid for pid in all_pids() if wanted in environment_of(pid) and is_alive(pid)]

    def kill_everything(self):
        while pids := self.everything():
            send(pids, signal.SIGKILL)
            time.sleep(0.01)

    def complaints(self):
        """What the workers said of themselves that must not be."""
        for worker in self.all_workers:
            for line in worker.errors.read_text(errors="replace").splitlines():
                if not line.startswith("{"):
                    if line.startswith("Traceback"):
                        yield Trouble(self.name_of(worker), f"{line} in {worker.errors}")
                elif json.loads(line).get("event") in _BAD_EVENTS:
                    yield Trouble(self.name_of(worker), line)
