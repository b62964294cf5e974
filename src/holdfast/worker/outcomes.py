"""Decide what becomes of a run when its attempt has ended: facts in, settlement out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.core.clock import SECOND
from holdfast.core.models import Claim, Settlement, TaskOptions
from holdfast.core.retry import crash_delay
from holdfast.core.states import AttemptOutcome, RunState
from holdfast.core.verdict import Asked, Evidence, judge

if TYPE_CHECKING:
    from holdfast.worker.held import Held
    from holdfast.worker.protocol import Done

MOST_LOSSES = 10  # workers that may die under a run before it is quarantined

_OUTCOME_OF_STOP = {
    "timeout": AttemptOutcome.TIMED_OUT,
    "cancel": AttemptOutcome.CANCELLED,
    "memory": AttemptOutcome.CRASHED,
    "deploy": AttemptOutcome.RELEASED,
    "busy": AttemptOutcome.RELEASED,
    "neighbour": AttemptOutcome.RELEASED,
    "fenced": AttemptOutcome.LOST,
    "hung_up": AttemptOutcome.CRASHED,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """Hold an outcome with its evidence, before it is decided what follows from it."""

    outcome: AttemptOutcome
    evidence: Evidence
    result: str | None = None
    snooze: float | None = None


def of_done(held: Held, done: Done, evidence: Evidence) -> Ending:
    """Return the ending of an attempt whose executor lived to tell."""
    if done.result is not None:
        peak = max(held.peak_rss, done.peak_rss or 0) or None
        evidence = Evidence(wall_seconds=done.wall, cpu_seconds=done.cpu, peak_rss=peak)
        return Ending(AttemptOutcome.SUCCEEDED, evidence, done.result)
    evidence = msgspec.structs.replace(
        evidence,
        wall_seconds=done.wall,
        cpu_seconds=round(done.cpu, 3),
        peak_rss=max(held.peak_rss, done.peak_rss or 0) or None,
        exit_code=done.exit_code,
        signal=done.signal,
        of="command",
        raised=done.raised,
        start_failed=done.start_failed,
        stopped_processes=done.stopped_processes,
        stack=done.stack,
        asked=held.asked,
    )
    return Ending(_outcome_of_done(held, done), evidence, snooze=done.snooze)


def _outcome_of_done(held: Held, done: Done) -> AttemptOutcome:
    if done.snooze is not None:
        return AttemptOutcome.SNOOZED
    if held.asked is not None:
        return _OUTCOME_OF_STOP[held.asked.reason]
    return AttemptOutcome.FAILED


def of_death(held: Held, evidence: Evidence) -> Ending:
    """Return the ending of an attempt whose executor died under it."""
    if held.asked is not None:
        evidence = msgspec.structs.replace(evidence, asked=held.asked, needed_kill=True)
        return Ending(_OUTCOME_OF_STOP[held.asked.reason], evidence)
    if evidence.neighbours:
        return Ending(AttemptOutcome.LOST, evidence)  # nobody can tell whose fault it was
    return Ending(AttemptOutcome.CRASHED, evidence)


def of_loss(evidence: Evidence) -> Ending:
    """Return the ending of an attempt whose worker died."""
    return Ending(AttemptOutcome.LOST, evidence)


def of_release(evidence: Evidence, reason: Literal["busy", "deploy"]) -> Ending:
    """Return the ending of an attempt that is given back before it began."""
    asked = Asked(reason)
    return Ending(AttemptOutcome.RELEASED, msgspec.structs.replace(evidence, asked=asked))


def settle(
    claim: Claim, options: TaskOptions, ending: Ending, now: int, *, logged: bool
) -> Settlement:
    """Return what is written: the attempt's outcome and the run's next state.

    `logged` says whether there is a log to wait for; `now` is the time of day in microseconds,
    and the attempt began `wall_seconds` before it.
    """
    certificate = None
    error = None
    if ending.outcome not in (AttemptOutcome.SUCCEEDED, AttemptOutcome.SNOOZED):
        judged = judge(ending.evidence)
        error = judged.sentence
        certificate = msgspec.json.encode(judged).decode()
    cpu = ending.evidence.cpu_seconds
    return Settlement(
        lease=claim.lease,
        outcome=ending.outcome,
        started_at=now - int(ending.evidence.wall_seconds * SECOND),
        finished_at=now,
        result=ending.result,
        error=error,
        certificate=certificate,
        cpu_ms=None if cpu is None else int(cpu * 1000),
        peak_rss=ending.evidence.peak_rss,
        logged=logged,
        concurrency_key=claim.concurrency_key,
        **_what_follows(claim, options, ending, now),
    )


def _what_follows(claim: Claim, options: TaskOptions, ending: Ending, now: int) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "failures": claim.failures,
        "crashes": claim.crashes,
        "losses": claim.losses,
        "shared": claim.shared,
    }
    match ending.outcome:
        case AttemptOutcome.SUCCEEDED:
            return {"state": RunState.SUCCEEDED, **counts}
        case AttemptOutcome.CANCELLED:
            return {"state": RunState.CANCELLED, **counts}
        case AttemptOutcome.RELEASED:
            asked = ending.evidence.asked
            alone = asked is not None and asked.reason == "neighbour"
            shared = claim.shared and not alone  # nobody can tell whose fault it was
            return {**counts, "state": RunState.QUEUED, "shared": shared}
        case AttemptOutcome.SNOOZED:
            return {**_later(ending.snooze, now), **counts}
        case AttemptOutcome.FAILED | AttemptOutcome.TIMED_OUT:
            counts["failures"] += 1
            delay = options.retries.next_delay(counts["failures"])
            return {**_later(delay, now, otherwise=RunState.FAILED), **counts}
        case AttemptOutcome.CRASHED:
            counts["crashes"] += 1
            given_up = counts["crashes"] > options.crashes
            delay = None if given_up else crash_delay(counts["crashes"])
            return {**_later(delay, now, otherwise=RunState.QUARANTINED), **counts}
        case AttemptOutcome.LOST:
            counts["losses"] += 1
            delay = None if counts["losses"] > MOST_LOSSES else 0.0
            shared = claim.shared and not ending.evidence.neighbours  # alone from now on
            state = _later(delay, now, otherwise=RunState.QUARANTINED)
            return {**counts, **state, "shared": shared}


def _later(delay: float | None, now: int, otherwise: RunState = RunState.QUEUED) -> dict[str, Any]:
    if delay is None:
        return {"state": otherwise}
    if delay == 0:
        return {"state": RunState.QUEUED}
    return {"state": RunState.SCHEDULED, "due_at": now + int(delay * SECOND)}
