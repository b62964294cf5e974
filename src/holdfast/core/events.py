"""Declare every event once: name, level, sentence and fields; `emit` says it through logging."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Be the base of all events; a subclass adds fields, a level and a sentence over them."""

    level: ClassVar[int] = logging.INFO
    layer: ClassVar[str] = "worker"
    sentence: ClassVar[str] = ""

    def __str__(self) -> str:
        return self.sentence.format_map({f.name: getattr(self, f.name) for f in fields(self)})


def emit(event: Event) -> None:
    """Say an event: one record on the logger of its layer, with the event itself as `.event`."""
    logger = logging.getLogger(f"holdfast.{event.layer}")
    if logger.isEnabledFor(event.level):
        logger.log(event.level, "%s", event, extra={"event": event})


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """A worker is ready to claim."""

    sentence = "worker {worker} is up: {executors} executors, queues {queues}, {tasks} tasks"
    worker: str
    executors: int
    queues: str
    tasks: int


@dataclass(frozen=True, slots=True)
class AppUnusable(Event):
    """The app cannot be imported, so the worker does not start."""

    level = logging.ERROR
    sentence = "the app {app!r} cannot be loaded: {problem}\n{traceback}"
    app: str
    problem: str
    traceback: str


@dataclass(frozen=True, slots=True)
class SettingIgnored(Event):
    """Something looks like a setting and is none."""

    level = logging.WARNING
    sentence = "{warning}"
    warning: str


@dataclass(frozen=True, slots=True)
class WorkerDraining(Event):
    """A worker was asked to stop."""

    sentence = "worker {worker} stops: {running} attempts have {grace_seconds:g} s to finish"
    worker: str
    running: int
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class WorkerStopped(Event):
    """A worker has said goodbye."""

    sentence = "worker {worker} stopped"
    worker: str


@dataclass(frozen=True, slots=True)
class WorkerFenced(Event):
    """A worker learned that others hold it for dead."""

    level = logging.ERROR
    sentence = "worker {worker} was declared dead by another one; it stops its attempts"
    worker: str


@dataclass(frozen=True, slots=True)
class WorkerDied(Event):
    """An observer declared another worker dead."""

    level = logging.WARNING
    sentence = "worker {worker} on {host} is dead: {cause}"
    worker: str
    host: str
    cause: str


@dataclass(frozen=True, slots=True)
class AttemptEnded(Event):
    """An attempt ended as it should."""

    sentence = "run {run_id} attempt {attempt}: {task} {outcome} in {duration_ms} ms"
    run_id: str
    attempt: int
    task: str
    outcome: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class AttemptDied(Event):
    """An attempt ended otherwise than by its own return."""

    level = logging.WARNING
    sentence = "run {run_id} attempt {attempt}: {task} {outcome}, now {state}. {reason}"
    run_id: str
    attempt: int
    task: str
    outcome: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptFenced(Event):
    """The outcome of an attempt was refused: its lease was lost."""

    level = logging.WARNING
    sentence = "run {run_id} attempt {attempt}: the outcome was refused, the lease was lost"
    run_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class ExecutorDied(Event):
    """An executor ended without being asked."""

    level = logging.WARNING
    sentence = "executor {pid} is gone ({reason}); a new one takes its place"
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class SidecarDied(Event):
    """The heartbeat or the shipper process ended; the supervisor starts it again."""

    level = logging.WARNING
    sentence = "the {name} process {pid} is gone ({reason}); started again"
    name: str
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class StoreAway(Event):
    """The store cannot be reached; running attempts go on, nothing is claimed."""

    level = logging.ERROR
    sentence = "the store is away, {waiting} outcomes wait: {problem}"
    waiting: int
    problem: str


@dataclass(frozen=True, slots=True)
class StoreBack(Event):
    """The store answers again."""

    sentence = "the store is back"


@dataclass(frozen=True, slots=True)
class DutyFailed(Event):
    """A duty raised; it is tried again."""

    level = logging.ERROR
    sentence = "duty {duty} failed and will be tried again: {problem}"
    duty: str
    problem: str


@dataclass(frozen=True, slots=True)
class SpoolAdopted(Event):
    """Logs that a dead worker left on this host were taken over."""

    sentence = "{attempts} logs left by worker {worker} were taken over"
    attempts: int
    worker: str
