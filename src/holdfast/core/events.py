"""Declare every event once: name, level, sentence and fields; `emit` says it through logging."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from holdfast.core.texts import visible


@dataclass(frozen=True, slots=True)
class Event:
    """Be the base of all events; a subclass adds fields, a level and a sentence over them."""

    level: ClassVar[int] = logging.INFO
    layer: ClassVar[str] = "worker"
    sentence: ClassVar[str] = ""

    def __str__(self) -> str:
        values = values_of(self)
        for name, value in values.items():
            if isinstance(value, str):
                values[name] = visible(value)
        return self.sentence.format_map(values)


def values_of(event: Event) -> dict[str, Any]:
    """Return the fields of an event by name."""
    names: tuple[str, ...] = type(event).__match_args__
    return {name: getattr(event, name) for name in names}


@cache
def _logger(layer: str) -> logging.Logger:
    return logging.getLogger(f"holdfast.{layer}")


def is_heard(kind: type[Event]) -> bool:
    """Tell whether anybody listens to events of a kind: for those that are as many as runs."""
    return _logger(kind.layer).isEnabledFor(kind.level)


def emit(event: Event) -> None:
    """Say an event: one record on the logger of its layer, with the event itself as `.event`."""
    if is_heard(type(event)):
        _logger(event.layer).log(event.level, "%s", event, extra={"event": event})


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """A worker is ready to claim."""

    sentence = (
        "worker {worker} is up: {executors} executors, queues {queues}, {tasks} tasks, "
        "memory limits by {limits}"
    )
    worker: str
    executors: int
    queues: str
    tasks: int
    limits: str


@dataclass(frozen=True, slots=True)
class AppUnusable(Event):
    """The app cannot be imported, so the worker does not start."""

    level = logging.ERROR
    sentence = "the app {app!r} cannot be loaded: {problem}\n{traceback}"
    app: str
    problem: str
    traceback: str


@dataclass(frozen=True, slots=True)
class SpoolUnusable(Event):
    """No folder can be made for the logs, so the worker does not start."""

    level = logging.ERROR
    sentence = "the folder {folder} cannot be made, so no log would be kept: {problem}"
    folder: str
    problem: str


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
class ProcessesLeft(Event):
    """An attempt ended well and left processes running; they were ended."""

    level = logging.WARNING
    sentence = "run {run_id} attempt {attempt}: {task} left {count} processes, which were ended"
    run_id: str
    attempt: int
    task: str
    count: int


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
class AttemptsReleased(Event):
    """Attempts were given back before they began: the worker stops, or has no free executor."""

    sentence = "{count} attempts given back before they began: {reason}"
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptFenced(Event):
    """The outcome of an attempt was refused: its lease was lost."""

    level = logging.WARNING
    sentence = "run {run_id} attempt {attempt}: the outcome was refused, the lease was lost"
    run_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class OutcomeRefused(Event):
    """The database does not take the outcome of an attempt; its run fails and says so."""

    level = logging.ERROR
    sentence = "run {run_id} attempt {attempt}: the store refuses the outcome: {problem}"
    run_id: str
    attempt: int
    problem: str


@dataclass(frozen=True, slots=True)
class AttemptPaused(Event):
    """An attempt has to wait with what it writes, because there is no room for it."""

    level = logging.WARNING
    sentence = "run {run_id} attempt {attempt} is paused: {reason}"
    run_id: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptResumed(Event):
    """An attempt that was paused goes on; the time is that of all its pauses."""

    sentence = "run {run_id} attempt {attempt} goes on, after a pause of {paused_ms} ms"
    run_id: str
    attempt: int
    paused_ms: int


@dataclass(frozen=True, slots=True)
class ClaimingPaused(Event):
    """A worker takes no new runs, because it has no room for their logs."""

    level = logging.ERROR
    sentence = "worker {worker} takes no new runs: {problem}"
    worker: str
    problem: str


@dataclass(frozen=True, slots=True)
class ClaimingResumed(Event):
    """A worker has room for logs again."""

    sentence = "worker {worker} takes new runs again"
    worker: str


@dataclass(frozen=True, slots=True)
class ExecutorDied(Event):
    """An executor ended without being asked."""

    level = logging.WARNING
    sentence = "executor {pid} is gone ({reason}); a new one takes its place"
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class ExecutorLeft(Event):
    """An executor ended by itself between two attempts, and nothing was lost."""

    sentence = "executor {pid} makes way for a new one: {reason}"
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class SidecarDied(Event):
    """The heartbeat or the shipper process ended; the supervisor starts it again."""

    level = logging.WARNING
    sentence = "the {name} process {pid} is gone ({reason}); started again in {pause_seconds:g} s"
    name: str
    pid: int
    reason: str
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class SidecarFailed(Event):
    """The heartbeat or the shipper process raised and ends."""

    level = logging.ERROR
    sentence = "the {name} process fails: {problem}\n{traceback}"
    name: str
    problem: str
    traceback: str


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
class LogsRetired(Event):
    """The retention had logs deleted, the oldest first."""

    sentence = "{logs} logs are deleted by the retention: {size} bytes in the store"
    logs: int
    size: int


@dataclass(frozen=True, slots=True)
class DutyFailed(Event):
    """A duty raised; it is tried again."""

    level = logging.ERROR
    sentence = "duty {duty} failed and will be tried again: {problem}"
    duty: str
    problem: str


@dataclass(frozen=True, slots=True)
class ClockAhead(Event):
    """The clock jumped forward, or is far ahead of what the store has seen."""

    level = logging.WARNING
    sentence = "the clock is {hours:.0f} hours ahead of this store; nothing is deleted for its age"
    hours: float


@dataclass(frozen=True, slots=True)
class SpoolAdopted(Event):
    """Logs that a dead worker left on this host were taken over."""

    sentence = "{attempts} logs left by worker {worker} were taken over"
    attempts: int
    worker: str


@dataclass(frozen=True, slots=True)
class LogsAway(Event):
    """The store does not take logs; they wait in the spool."""

    level = logging.ERROR
    sentence = "the store takes no logs, they wait in the spool: {problem}"
    problem: str


@dataclass(frozen=True, slots=True)
class LogsBack(Event):
    """The store takes logs again."""

    sentence = "the store takes logs again"


@dataclass(frozen=True, slots=True)
class SpoolStuck(Event):
    """The logs of a dead worker cannot be taken over; it is tried again."""

    level = logging.ERROR
    sentence = "the logs left by worker {worker} cannot be taken over yet. {problem}"
    worker: str
    problem: str


@dataclass(frozen=True, slots=True)
class LogStuck(Event):
    """The files of a log cannot be read or deleted; it is tried again, and the others go on."""

    level = logging.ERROR
    sentence = "run {run_id} attempt {attempt}: its log cannot be shipped yet. {problem}"
    run_id: str
    attempt: int
    problem: str
