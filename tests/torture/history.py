"""Declare the records of a history, and write and read them as JSON lines.

A history is written from outside the product: by the clients that use it, by the tasks that it
carries out, by the injector that breaks it, by an observer of its processes, and in the end by
whoever reads the store through the public API. It is a folder of seven files. The order of a file
is the order of what happened; clocks order nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct

OK, FAIL, INFO = "ok", "fail", "info"


class Plan(Struct, frozen=True, omit_defaults=True):
    """Say what a run is told to do, and with that what may come of it."""

    does: str = "succeed"
    times: int = 0  # in how many attempts it does so, the first ones; 0: always
    seconds: float = 0.0  # how long it takes
    ends: tuple[str, ...] = ("succeeded",)  # final states, unless somebody cancels it
    blames: tuple[str, ...] = ()  # beginnings of verdicts that are its own doing
    pens: dict[str, int] = {}  # how many numbered lines an attempt writes, by the way it writes
    sink: bool = False  # it writes to its fenced sink before it ends
    retries: int = 0
    crashes: int = 2
    later: bool = False  # not due before the history ends


# --- clients.jsonl: what was asked of the product, and what it answered


class Invoke(Struct, frozen=True, omit_defaults=True, tag_field="type", tag="invoke"):
    """Say what a client is about to ask."""

    op: str
    verb: str  # enqueue, cancel, retry, look, read
    run: str  # chosen by the client, so that it is known whatever becomes of the answer
    task: str = ""
    arguments: str = ""  # JSON
    plan: Plan = Plan()
    dedupe_key: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int = 1


class Ok(Struct, frozen=True, omit_defaults=True, tag_field="type", tag=OK):
    """Say what the product answered."""

    op: str
    run: str = ""  # enqueue: the run that stands for the one asked for
    state: str = ""  # cancel, look
    attempt: int = 0  # look, read
    result: str | None = None  # look
    size: int = 0  # read: how much of the log there was
    crc: int = 0  # read: its checksum


class Fail(Struct, frozen=True, omit_defaults=True, tag_field="type", tag=FAIL):
    """Say that it was refused: nothing was changed."""

    op: str
    error: str = ""


class Info(Struct, frozen=True, omit_defaults=True, tag_field="type", tag=INFO):
    """Say that nobody knows whether it happened; an answer that is missing says the same."""

    op: str
    error: str = ""


class Strange(Struct, frozen=True, omit_defaults=True, tag_field="type", tag="strange"):
    """Say that the product answered with an error that it does not declare."""

    op: str
    error: str = ""


Answer: TypeAlias = Ok | Fail | Info | Strange
ClientRecord: TypeAlias = Invoke | Ok | Fail | Info | Strange

# --- witness.jsonl and sinks.jsonl: what tasks did


class Mark(Struct, frozen=True, omit_defaults=True):
    """Say what an attempt has done: synced to disk before it does anything else."""

    run: str
    attempt: int
    what: str  # start; line: that one and all before it are written; end: nothing follows
    pen: str = ""
    line: int = 0
    result: str | None = None  # end: JSON of what it returns; None when it raises


class SinkWrite(Struct, frozen=True, omit_defaults=True):
    """Say whether a sink that keeps the highest token took what an attempt wrote."""

    run: str
    attempt: int
    accepted: bool


# --- faults.jsonl


class Fault(Struct, frozen=True, omit_defaults=True):
    """Say what was broken: once when it starts, once when it is healed."""

    number: int
    kind: str
    what: str  # start, healed
    processes: tuple[str, ...] = ()  # the supervisors that it hit, by pid and start
    pids: tuple[int, ...] = ()


# --- samples.jsonl: what an observer saw


class Memory(Struct, frozen=True, tag="memory"):
    """Say how much memory a supervisor held."""

    seconds: float  # since the history began, on the observer's clock
    worker: str
    age: float  # seconds since that supervisor started
    resident: int  # bytes


class Running(Struct, frozen=True, tag="running"):
    """Say what the store called running, all of it at one moment."""

    runs: tuple[str, ...]


class Left(Struct, frozen=True, tag="left"):
    """Say that a process was alive so long after the store said that its attempt had ended."""

    run: str
    attempt: int
    pid: int
    seconds: float


class Trouble(Struct, frozen=True, tag="trouble"):
    """Say that a worker said or did what nothing that was done to it accounts for."""

    worker: str
    text: str


Sample: TypeAlias = Memory | Running | Left | Trouble

# --- workers.jsonl and dump.jsonl: what the store says in the end


class ChunkDump(Struct, frozen=True):
    """Hold one chunk of a log; the data is one character per byte."""

    start: int
    line: int
    lines: int
    source: int
    source_end: int
    crc: int
    data: str


class EndDump(Struct, frozen=True):
    """Hold the final record of a log."""

    size: int
    lines: int
    crc: int
    missing: str | None = None


class WorkerDump(Struct, frozen=True):
    """Say which process a worker was; one that was fenced goes on as another worker."""

    worker: str
    process: str  # pid and start


class AttemptDump(Struct, frozen=True, omit_defaults=True):
    """Hold an attempt that has ended, with its log."""

    attempt: int
    outcome: str
    worker: str
    verdict: str = ""  # of its certificate; "": it has none
    sentence: str = ""
    pid: int = 0  # of the process that died, by its certificate
    raised: str = ""  # type of the exception, by its certificate
    logged: bool = False
    chunks: tuple[ChunkDump, ...] = ()
    end: EndDump | None = None


class RunDump(Struct, frozen=True, omit_defaults=True):
    """Hold a run with all that belongs to it."""

    run: str
    task: str
    state: str
    arguments: str
    dedupe_key: str | None = None
    concurrency_key: str | None = None
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    result: str | None = None
    attempts: tuple[AttemptDump, ...] = ()


@dataclass
class History:
    """Hold everything that is known of what happened."""

    clients: list[ClientRecord] = field(default_factory=list)
    witness: list[Mark] = field(default_factory=list)
    sinks: list[SinkWrite] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    workers: list[WorkerDump] = field(default_factory=list)
    dump: Iterable[RunDump] = field(default_factory=list)  # with all logs: read one by one


KINDS = {
    "clients": ClientRecord,
    "witness": Mark,
    "sinks": SinkWrite,
    "faults": Fault,
    "samples": Sample,
    "workers": WorkerDump,
    "dump": RunDump,
}


def path_of(folder: Path, name: str) -> Path:
    """Return the file of one part of a history."""
    return folder / f"{name}.jsonl"


class Journal:
    """Append records to one file of a history, each by one write.

    A process that is killed in its write leaves a torn record. So each begins on a line of its
    own, and what cannot be read did not happen.
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._sync = sync

    def write(self, record: Struct) -> None:
        """Append a record, and sync it when that was asked for."""
        os.write(self._file, b"\n" + msgspec.json.encode(record) + b"\n")
        if self._sync:
            os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def write_history(folder: Path, history: History) -> None:
    """Write all files of a history."""
    for name in KINDS:
        journal = Journal(path_of(folder, name))
        for record in getattr(history, name):
            journal.write(record)
        journal.close()


class Records:
    """Read the records of one file, afresh each time."""

    def __init__(self, path: Path, kind: type[Struct]) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(kind)

    def __iter__(self) -> Iterator[Struct]:
        if not self._path.exists():
            return
        with self._path.open("rb") as lines:
            for line in lines:
                if line.strip() and (record := self._decoded(line)) is not None:
                    yield record

    def _decoded(self, line: bytes) -> Struct | None:
        try:
            return self._decoder.decode(line)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return None  # torn: its writer was killed


def read_history(folder: Path) -> History:
    """Read all files of a history; those that are missing are empty."""
    parts = {name: Records(path_of(folder, name), kind) for name, kind in KINDS.items()}
    dump = parts.pop("dump")
    return History(dump=dump, **{name: list(records) for name, records in parts.items()})
