"""Name the states of runs, the outcomes of attempts, and the allowed moves between states."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Say where a run stands."""

    SCHEDULED = "scheduled"  # not due yet: a later start, a retry, a snooze
    QUEUED = "queued"  # may be claimed now
    RUNNING = "running"  # an attempt holds the lease
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the retry limit is used up
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"  # the crash budget is used up; an operator decides


class AttemptOutcome(StrEnum):
    """Say how an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the code raised, or the command ended with a status other than 0
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"  # the executor died under it, or it went over its memory limit
    LOST = "lost"  # its worker died
    CANCELLED = "cancelled"
    RELEASED = "released"  # given back unharmed: deploy, never started
    SNOOZED = "snoozed"  # asked to run later


LIVE_STATES = frozenset({RunState.SCHEDULED, RunState.QUEUED, RunState.RUNNING})
FINAL_STATES = frozenset(RunState) - LIVE_STATES

ALLOWED: dict[RunState, frozenset[RunState]] = {
    RunState.SCHEDULED: frozenset({RunState.QUEUED, RunState.CANCELLED}),
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.CANCELLED}),
    RunState.RUNNING: frozenset(RunState) - {RunState.RUNNING},
    RunState.SUCCEEDED: frozenset({RunState.QUEUED}),  # the rest: an operator's retry
    RunState.FAILED: frozenset({RunState.QUEUED}),
    RunState.CANCELLED: frozenset({RunState.QUEUED}),
    RunState.QUARANTINED: frozenset({RunState.QUEUED}),
}
