"""Look at the processes and at the store while the torture goes on."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from helpers.workers import all_pids, environment_of
from holdfast import RunState, StoreUnavailable
from holdfast.core.models import Lease
from holdfast.store.runs import RunFilter
from holdfast.worker import proc
from torture.history import Journal, Left, Memory, Running, path_of
from torture.tasks import MARK

LOOK_SECONDS = 0.5
SEARCH_SECONDS = 1.5  # between two searches through all processes
_WORTH_NOTING = 4.0  # seconds that a process outlives its attempt
_PAGE = 4096


class Observer:
    """Write down what supervisors hold, what runs, and what is left of attempts."""

    def __init__(self, fleet):
        self.fleet = fleet
        self.journal = Journal(path_of(fleet.folder / "history", "samples"))
        self.began = time.monotonic()
        self.next_look = self.next_search = 0.0
        self.over = {}  # (pid, its start, run, attempt) -> when the store said that it had ended
        self.memory = []  # (seconds, bytes), for the summary

    def look(self):
        """Look, when it is time."""
        now = time.monotonic()
        if now >= self.next_look:
            self.next_look = now + LOOK_SECONDS
            self.look_at_memory(now)
            with suppress(StoreUnavailable):
                self.look_at_store()
        if now >= self.next_search:
            self.next_search = now + SEARCH_SECONDS
            with suppress(StoreUnavailable):
                self.search()

    def look_at_memory(self, now):
        for worker in self.fleet.workers:
            with suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1])
                resident, age = pages * _PAGE, now - worker.started
                name = f"{self.fleet.name_of(worker)}"
                self.journal.write(Memory(round(now - self.began, 1), name, age, resident))
                self.memory.append((now - self.began, age, resident))

    def look_at_store(self):
        chosen = RunFilter(state=RunState.RUNNING, limit=1000)
        running = tuple(run.run_id for run in self.fleet.store.runs.list(chosen))
        self.journal.write(Running(running))

    def search(self, *, at_the_end=False):
        """Find processes whose attempt has ended."""
        now = time.monotonic()
        before, self.over = self.over, {}
        for pid in all_pids():
            lease = _lease_of(pid)
            start = proc.start_time(pid) if lease else None
            if start is None or not self.has_ended(lease):
                continue
            name = (pid, start, *lease)
            since = self.over[name] = before.get(name, now)
            seconds = float("inf") if at_the_end else now - since
            if seconds > _WORTH_NOTING:
                self.journal.write(Left(*lease, pid, min(seconds, 1e9)))

    def has_ended(self, lease):
        attempts = self.fleet.store.runs.attempts(lease.run_id)
        return any(attempt.attempt == lease.attempt for attempt in attempts)


def _lease_of(pid):
    """Whose a process is, by its environment."""
    found = dict(part.split(b"=", 1) for part in environment_of(pid) if b"=" in part)
    own = found.get(MARK.encode(), b"").decode().rpartition(".")
    if own[0]:
        return Lease(own[0], int(own[2]))
    run, attempt = found.get(b"HOLDFAST_RUN_ID"), found.get(b"HOLDFAST_ATTEMPT")
    return Lease(run.decode(), int(attempt)) if run and attempt else None
