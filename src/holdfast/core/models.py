"""Describe the records that pass between the layers; all frozen, all times in microseconds."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import msgspec

from holdfast.core.ids import RunId, WorkerId
from holdfast.core.retry import RetryPolicy
from holdfast.core.states import AttemptOutcome, RunState
from holdfast.core.usage import Usage

COMMAND_TASK = "holdfast.command"  # the built-in task of `holdfast run -- CMD`


class TaskOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hold the limits of a run, as they were when it was enqueued."""

    timeout: float | None = None  # seconds
    memory: int | None = None  # bytes, of the whole process tree
    retries: RetryPolicy = RetryPolicy()
    crashes: int = 2  # deaths of the executor that are tried again; one more: quarantined


class Durability(NamedTuple):
    """Say what a commit of a store survives."""

    settings: str  # that decide it, as the database names them
    survives: str  # "a commit survives a power cut"; "" when there is a danger
    danger: str = ""  # what its settings put at risk


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """Describe a run to enqueue."""

    run_id: RunId
    task: str
    queue: str
    priority: int
    arguments: str  # JSON
    options: str  # JSON of TaskOptions
    due_at: int | None = None  # None: at once
    shared: bool = False  # it may share its executor with others: `async def` tasks
    dedupe_key: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int = 1


class RunRecord(NamedTuple):
    """Hold everything the store knows of one run."""

    run_id: RunId
    task: str
    queue: str
    priority: int
    state: RunState
    arguments: str
    options: str
    created_at: int
    due_at: int | None
    attempt: int  # how many attempts were claimed; the number of the last one
    failures: int
    crashes: int
    dedupe_key: str | None
    concurrency_key: str | None
    concurrency_limit: int
    blocked: bool  # queued, but its concurrency key is taken
    worker_id: WorkerId | None  # only while running
    claimed_at: int | None  # only while running
    cancel_by: str | None  # who asked to cancel, while the attempt is being stopped
    progress: str | None  # JSON of Progress, only while running
    usage: Usage | None  # of the running attempt so far
    paused: str | None  # why the running attempt is paused
    finished_at: int | None
    result: str | None  # JSON
    error: str | None  # one sentence, when it ended otherwise than succeeded


class Progress(msgspec.Struct, frozen=True):
    """Hold what a running task says of its own progress."""

    done: float
    total: float | None = None
    text: str = ""


class Ending(NamedTuple):
    """Say how and when a run ended."""

    run_id: RunId
    state: RunState
    finished_at: int


class AttemptRecord(NamedTuple):
    """Hold the history of one attempt that has ended."""

    run_id: RunId
    attempt: int
    outcome: AttemptOutcome
    worker_id: WorkerId
    started_at: int
    finished_at: int
    cpu_ms: int | None
    peak_rss: int | None  # bytes, of the whole process tree
    logged: bool  # whether it wrote anything
    certificate: str | None  # JSON of Certificate; None when it ended by its own return
    usage: Usage | None  # None when it was too short to show a course


class Lease(NamedTuple):
    """Name the right to one attempt: the fencing token."""

    run_id: RunId
    attempt: int


class Claim(NamedTuple):
    """Hold what a worker needs to carry out an attempt that it has just claimed."""

    run_id: RunId
    attempt: int
    task: str
    queue: str
    arguments: str
    options: str
    failures: int
    crashes: int
    losses: int
    shared: bool  # it may share its executor with others
    concurrency_key: str | None
    claimed_at: int

    @property
    def lease(self) -> Lease:
        """Return the fencing token of this attempt."""
        return Lease(self.run_id, self.attempt)


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """Describe what becomes of an attempt and of its run, to be written in one transaction."""

    run_id: RunId
    attempt: int
    outcome: AttemptOutcome
    state: RunState  # of the run, from now on
    started_at: int
    finished_at: int
    failures: int
    crashes: int
    losses: int = 0
    shared: bool = False
    due_at: int | None = None  # None: at once
    result: str | None = None
    error: str | None = None
    certificate: str | None = None
    cpu_ms: int | None = None
    peak_rss: int | None = None
    usage: Usage | None = None
    logged: bool = False
    concurrency_key: str | None = None
    reaped: bool = False  # written by another in the name of a worker that is dead

    @property
    def lease(self) -> Lease:
        """Return the fencing token that the write needs."""
        return Lease(self.run_id, self.attempt)


class WorkerState(IntEnum):
    """Say where a worker stands."""

    UP = 0
    DRAINING = 1  # stops claiming, finishes what it runs
    STOPPED = 2  # said goodbye
    DEAD = 3  # others saw its heartbeat stand still, or its process is gone


class WorkerRecord(NamedTuple):
    """Hold what the store knows of one worker: one incarnation, never reused."""

    worker_id: WorkerId
    state: WorkerState
    beat: int
    host: str
    host_id: str  # machine id: the same machine under another name is the same host
    boot_id: str
    pid: int
    pid_start: int  # clock ticks since boot: tells a reused pid apart
    version: str
    queues: str  # JSON list; "*" serves every queue
    executors: int
    started_at: int
    seen_at: int
    death: str | None  # JSON of WorkerDeath, once dead
    trouble: str | None = None  # why it takes no new runs


class QueueRecord(NamedTuple):
    """Hold what the store knows of one queue."""

    name: str
    paused_by: str | None
    paused_at: int | None
    reason: str | None
    queued: int = 0
    running: int = 0
    scheduled: int = 0


class Stream(IntEnum):
    """Say where bytes of a log came from."""

    OUT = 1  # standard output
    ERR = 2  # standard error
    LOG = 3  # logging records and context.log


class LogChunk(NamedTuple):
    """Hold consecutive bytes of one stream of an attempt's log."""

    start: int  # offset of the first byte in the whole log of the attempt
    line: int  # newlines before it
    lines: int  # newlines in it
    stream: Stream
    source: int  # which spool file it came from
    source_end: int  # offset in that file after these bytes
    at: int  # when the last of them was written, or found by the shipper
    crc: int  # CRC-32 of the whole log up to the end of this chunk
    data: bytes


class LogLine(NamedTuple):
    """Hold a line of a log, or a part of one that is very long, unfinished or interrupted."""

    number: int  # counted from 1, over all streams
    offset: int  # of its first byte in the whole log of the attempt
    stream: Stream
    at: int  # of the chunk it ends in
    data: bytes  # without the newline
    ends: bool  # whether the newline follows
    hits: tuple[tuple[int, int], ...] = ()  # (offset in the log, length) of what was searched


class LogPosition(NamedTuple):
    """Say how far the log of an attempt is stored."""

    size: int = 0  # bytes
    lines: int = 0
    crc: int = 0
    sources: tuple[tuple[int, int], ...] = ()  # spool file -> offset up to which it is stored
    ended: bool = False  # the final record is there: nothing follows, and no sources are known


class Hole(NamedTuple):
    """Say where bytes are missing in a log, and how many."""

    offset: int  # in the log: what should stand there is missing
    size: int  # bytes


class LogEnd(NamedTuple):
    """Hold the final record of an attempt's log: proof that it is complete, or what is missing."""

    size: int  # bytes
    lines: int
    crc: int  # CRC-32 of all bytes
    missing: str | None  # None: complete; else one sentence on what is missing and why
    holes: tuple[Hole, ...] = ()  # the first of those whose place and size are known
    deleted_at: int | None = None  # when the retention deleted the bytes
