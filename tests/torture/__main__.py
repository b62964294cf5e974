"""Torture workers on one store, and check that every promise was kept: ``make torture``."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from holdfast import RunState, StoreUnavailable
from holdfast.core.clock import SECOND
from holdfast.core.config import StoreSettings
from holdfast.store import open_store
from holdfast.store.runs import RunFilter
from torture.checker import check
from torture.dump import write_dump
from torture.fleet import Fleet
from torture.history import Journal, path_of, read_history
from torture.injector import Injector
from torture.observer import Observer
from torture.of_servers import DATABASE, SERVERS, start_server
from torture.summary import as_text, summarize
from torture.tasks import HISTORY, app

CLIENTS = 3
DRAIN_SECONDS = 120.0  # what the workers get for the rest of the runs, once all is healed
_LOOK = 0.2
_SOON = 60.0  # seconds: what is due later is not waited for


@dataclass
class Torture:
    """One torture: its parameters and its folder."""

    seed: int
    minutes: float
    workers: int
    store: str  # the kind of a private server, or a URL, or "" for a file of its own
    folder: Path

    @property
    def history(self):
        return self.folder / "history"

    @property
    def command(self):
        """What repeats it."""
        words = f"make torture SEED={self.seed} MINUTES={self.minutes:g} WORKERS={self.workers}"
        return f"{words} STORE={self.store}" if self.store else words

    def run(self):
        """Break, heal, drain, dump, check; return the summary."""
        for name in ("history/sinks", "said"):
            (self.folder / name).mkdir(parents=True)
        os.environ[HISTORY] = str(self.history)
        marks = {"begin": time.monotonic()}
        server = start_server(self.store) if self.store in SERVERS else None
        url = server.url(DATABASE) if server else self.store
        url = url or f"sqlite:///{self.folder}/holdfast.db"
        with closing(open_store(StoreSettings(url=url))) as store:
            store.prepare()
            app.store = store
            fleet = Fleet(self.folder, store, server, self.seed, self.workers, CLIENTS)
            try:
                observer = self.break_things(fleet, marks)
            finally:
                fleet.kill_everything()
            self.note(fleet)
            write_dump(store, self.history)
            marks["dump"] = time.monotonic()
        if server:
            server.stop()
        history = read_history(self.history)
        findings = check(history)
        marks["check"] = time.monotonic()
        summary = summarize(history, observer.memory)
        summary["seconds"] = _durations(marks)
        summary["findings"] = [finding.facts() for finding in findings]
        return {"seed": self.seed, "minutes": self.minutes, "command": self.command, **summary}

    def break_things(self, fleet, marks):
        """Let it happen, then heal, let the runs end, and stop the workers."""
        injector, observer = Injector(fleet, self.seed), Observer(fleet)

        def between():
            fleet.tend()
            observer.look()

        injector.run(time.monotonic() + 60 * self.minutes, between)
        injector.heal_all()
        fleet.stop_clients()
        marks["faults"] = time.monotonic()
        fleet.clients.clear()
        deadline = time.monotonic() + DRAIN_SECONDS
        while not _is_drained(fleet.store) and time.monotonic() < deadline:
            between()
            time.sleep(_LOOK)
        marks["drain"] = time.monotonic()
        fleet.stop_workers()
        observer.search(at_the_end=True)
        marks["stop"] = time.monotonic()
        return observer

    def note(self, fleet):
        """Write down what the fleet has noticed of its workers."""
        journal = Journal(path_of(self.history, "samples"))
        for trouble in (*fleet.troubles, *fleet.complaints()):
            journal.write(trouble)


def _is_drained(store):
    """Tell whether no run is waiting or running, but for those that are not due yet."""
    soon = (time.time() + _SOON) * SECOND
    try:
        live = [
            run
            for state in (RunState.RUNNING, RunState.QUEUED, RunState.SCHEDULED)
            for run in store.runs.list(RunFilter(state=state, limit=10_000))
        ]
    except StoreUnavailable:
        return False
    return all(run.state == RunState.SCHEDULED and run.due_at > soon for run in live)


def _durations(marks):
    names, times = [*marks], [*marks.values()]
    pairs = zip(names[1:], times, times[1:], strict=False)
    return {name: round(end - begin, 1) for name, begin, end in pairs}


def _arguments():
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--SEED", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--MINUTES", type=float, default=10.0)
    parser.add_argument("--WORKERS", type=int, default=3)
    parser.add_argument(
        "--STORE",
        default="",
        help=f"{' or '.join(SERVERS)}: a server of its own; or a URL; else an SQLite file",
    )
    return parser.parse_args()


def main():
    """Torture, and tell how it went; 1 when anything was found."""
    given = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="holdfast-torture-"))
    torture = Torture(given.SEED, given.MINUTES, given.WORKERS, given.STORE, folder)
    sys.stdout.write(f"{torture.command}\nin {folder}\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    summary = torture.run()
    report = Path(tempfile.gettempdir()) / f"{folder.name}.json"
    report.write_text(f"{json.dumps(summary, indent=2)}\n")
    sys.stdout.write(f"{as_text(summary)}\n{'report':10} {report}\n")
    if summary["findings"]:
        sys.stdout.write(f"The working folder is kept: {folder}\nAgain: {torture.command}\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
