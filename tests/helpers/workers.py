"""Start workers as real processes, break them, and end them with the test.

Every process that a test starts carries the folder of the test in its environment, and so does
all that it starts in turn. So the end of the test finds them all, whoever their parent is by now.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import msgspec
import pytest

from helpers.databases import settings_for
from helpers.waiting import wait_until
from holdfast.core.models import Lease
from holdfast.core.verdict import Certificate
from holdfast.store import open_store
from holdfast.worker import cgroup, proc

MARK = "TEST_FOLDER"
SAMPLE = Path(__file__).with_name("sample_tasks.py")
PATIENCE = 20  # seconds that anything may take on a busy machine


class Worker:
    """One worker process of a test."""

    def __init__(self, store, process, errors):
        self.store = store
        self.process = process
        self.pid = process.pid
        self.errors = errors
        self.worker_id = None

    def wait_ready(self):
        """Wait until it has its row in the store."""
        self.worker_id = wait_until(self._registered, within=PATIENCE).worker_id

    def _registered(self):
        assert self.process.poll() is None, self.errors.read_text()
        return next((w for w in self.store.workers.list() if w.pid == self.pid), None)

    def record(self):
        """What the store knows of it now."""
        return self.store.workers.get(self.worker_id)

    def executors(self):
        """The pids of its executors."""
        return self._children("holdfast.worker.executor")

    def sidecar(self, name):
        """The pid of its heartbeat or shipper process, once there is one."""
        found = self._children(f"holdfast.worker.{name}")
        return found[0] if found else None

    def _children(self, module):
        return [pid for pid in proc.children(self.pid) if module in command_line(pid)]

    def replace_sidecar(self, name):
        """Kill its heartbeat or shipper process and wait until another is there."""
        old = wait_until(lambda: self.sidecar(name), within=PATIENCE)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: self.sidecar(name) not in (old, None), within=PATIENCE)

    def leftovers(self):
        """The living processes that its attempts have started, executors aside."""
        found = proc.marked(self.worker_id)
        own = {self.pid, *proc.children(self.pid)}  # looked up last: an executor may just begin
        return [pid for pid in found if pid not in own and is_alive(pid)]

    def signal(self, number):
        """Send a signal to the supervisor."""
        os.kill(self.pid, number)

    def pause(self):
        """Stop the supervisor; `signal(SIGCONT)` lets it go on."""
        pause_all([self.pid], self.store)

    def kill(self):
        """End the supervisor with SIGKILL."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self, within=PATIENCE):
        """Ask it to stop and return its exit code."""
        self.process.terminate()
        return self.process.wait(within)

    def spool_files(self):
        """The files of the attempts whose logs are not stored yet."""
        folder = Path(self.process.args[self.process.args.index("--store") + 1][10:]).parent
        return list((folder / "spool" / self.worker_id).glob("*.*/*"))

    def events(self, name):
        """The events of one kind that it has told so far."""
        lines = self.errors.read_text(errors="replace").splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in records if record.get("event") == name]


class Workers:
    """All processes of one test."""

    def __init__(self, folder, store):
        self._folder = folder
        self.store = store
        self._workers = []
        self._processes = []

    def __call__(
        self, *arguments, app="sample_tasks:app", ready=True, under=(), env=None, **settings
    ):
        """Start a worker; `executors=1`, `lease_seconds=1` and so on are its settings."""
        options = ["--store", self.store.url, "--app", app]
        environment = {f"HOLDFAST_WORKER_{k.upper()}": str(v) for k, v in settings.items()}
        environment |= env or {}
        errors = self._folder / f"worker-{len(self._workers)}.stderr"
        with errors.open("wb") as file:
            process = self.start(
                *under,
                *holdfast(*options, "worker", "--log-format", "json", *arguments),
                stderr=file,
                env=environment,
            )
        worker = Worker(self.store, process, errors)
        self._workers.append(worker)
        if ready:
            worker.wait_ready()
        return worker

    def start(self, *argv, env=None, **options):
        """Start any process in the folder of the test."""
        own = {"HOLDFAST_STORE": self.store.url, MARK: str(self._folder)}
        environment = {**os.environ, **own, **(env or {})}
        process = subprocess.Popen(
            argv, cwd=self._folder, env=environment, start_new_session=True, **options
        )
        self._processes.append(process)
        return process

    def run(self, *argv, **options):
        """Run a process to its end and return its output."""
        process = self.start(*argv, stdout=subprocess.PIPE, **options)
        output, _ = process.communicate(timeout=60)
        return output

    def everything(self):
        """The pids of all living processes of this test."""
        wanted = f"{MARK}={self._folder}".encode()
        return [pid for pid in all_pids() if wanted in environment_of(pid) and is_alive(pid)]

    def end(self):
        """Kill what is left, and tell what the workers said, for the report of a failure."""
        while pids := self.everything():
            send(pids, signal.SIGKILL)
        for process in self._processes:
            process.communicate()
        for record in self.store.workers.list():
            cgroup.find().end_all(record.worker_id)
        for worker in self._workers:
            sys.stdout.write(f"--- {worker.errors.name}\n{worker.errors.read_text()}")


def holdfast(*arguments):
    """The command line of Holdfast, as arguments for a new process."""
    return [sys.executable, "-m", "holdfast", *arguments]


def all_pids():
    """All processes of this machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def environment_of(pid):
    """The environment that a process was started with."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def command_line(pid):
    """The arguments that a process was started with."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return []


def is_alive(pid):
    """Tell whether a process is there and no zombie."""
    return proc.start_time(pid) is not None


def pause_all(pids, store):
    """Stop processes at a moment at which none of them holds a lock of the store.

    Whoever is stopped within a transaction keeps all others out of an SQLite file.
    """
    files = [store.database.dialect.path, store.log_database.dialect.path]
    send(pids, signal.SIGSTOP)
    while not all(map(is_free, files)):
        send(pids, signal.SIGCONT)
        send(pids, signal.SIGSTOP)


def send(pids, number):
    """Send a signal to those processes that are there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def is_free(path):
    """Tell whether nobody holds the write lock of an SQLite file."""
    with closing(sqlite3.connect(path, timeout=0.1, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


def ended(run, within=PATIENCE):
    """Wait for the end of a run and return its record."""
    wait_until(lambda: run.is_finished, within)
    return run.record


def ended_all(runs, within=PATIENCE):
    """Wait for the end of all runs and return their records."""
    return [ended(run, within) for run in runs]


def running(run):
    """Wait until a run is being carried out and return its record."""
    wait_until(lambda: run.state == "running", within=PATIENCE)
    return run.record


def outcomes(run):
    """The outcomes of the attempts that have ended."""
    return [attempt.outcome.value for attempt in run.attempts]


def certificate(run, attempt=-1):
    """The certificate of one attempt, the last one unless told."""
    return msgspec.json.decode(run.attempts[attempt].certificate, type=Certificate)


def end_of(store, run, attempt):
    """Wait for the final record of the log of an attempt and return it."""
    return wait_until(lambda: store.logs.end(Lease(run.id, attempt)), within=PATIENCE)


def whole_log(store, run, attempt=None):
    """Wait until the log of an attempt is complete and return it."""
    number = run.record.attempt if attempt is None else attempt
    end = end_of(store, run, number)
    log = run.log(number)
    assert (end.size, end.missing) == (len(log), None)
    return log


def assert_holds_every_line(log, witness):
    """The log is an unbroken row of lines, and none that was written is missing."""
    count = log.count(b"\n")
    torn = log[log.rfind(b"\n") + 1 :]  # the last one may have been cut by the kill
    assert "".join(f"line {n}\n" for n in range(count)).encode() + torn == log
    assert f"line {count}".encode().startswith(torn)
    assert count > int(witness[-1])


def lines_of(path):
    """The whole lines that tasks have written to a file so far."""
    path = Path(path)
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def wait_for_lines(path, count=1):
    """Wait until a file has so many lines and return them."""

    def enough():
        lines = lines_of(path)
        return lines if len(lines) >= count else None

    return wait_until(enough, within=PATIENCE)


def most_at_once(lines):
    """How many were between their "start" and their "end" at the same time, at most."""
    inside = most = 0
    for line in lines:
        inside += {"start": 1, "end": -1}[line.split()[0]]
        most = max(most, inside)
    return most


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory of the test and of its processes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(folder):
    """A new store on the real clock."""
    with closing(open_store(settings_for(folder))) as store:
        store.prepare()
        yield store


@pytest.fixture
def tasks(folder, store):
    """The sample tasks, enqueued to the store of this test."""
    path = shutil.copy(SAMPLE, folder)
    spec = spec_from_file_location("sample_tasks", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.app.store = store
    return module


@pytest.fixture
def worker(folder, store, tasks):
    """Start workers: `worker(executors=1)`; all of them end with the test."""
    workers = Workers(folder, store)
    yield workers
    workers.end()
