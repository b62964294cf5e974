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
    from collections.abc import Collection

    from holdfast.core.usage import Usage
    from holdfast.worker.held import Held
    from holdfast.worker.protocol import Done

_MOST_NAMES = 20  # of the tasks that a worker knows, in a certificate
UNKNOWN_SECONDS = 5.0  # before a run is offered again whose task was not known
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


def succeed(held: Held, done: Done, now: int, *, logged: bool) -> Settlement:
    """Return what is written for an attempt that returned: the short way, as most runs go."""
    claim = held.claim
    return Settlement(
        run_id=claim.run_id,
        attempt=claim.attempt,
        outcome=AttemptOutcome.SUCCEEDED,
        state=RunState.SUCCEEDED,
        started_at=now - int(done.wall * SECOND),
        finished_at=now,
        failures=claim.failures,
        crashes=claim.crashes,
        losses=claim.losses,
        result=done.result,
        cpu_ms=int(done.cpu * 1000),
        peak_rss=max(held.peak_rss, done.peak_rss or 0) or None,
        usage=held.usage(),
        logged=logged,
        concurrency_key=claim.concurrency_key,
    )


def of_done(held: Held, done: Done, evidence: Evidence) -> Ending:
    """Return the ending of an attempt that did not return, and whose executor lived to tell."""
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
        snooze=done.snooze,
        pid=done.pid,
        stopped_processes=done.stopped_processes,
        stack=done.stack,
        asked=held.asked,
    )
    return Ending(_outcome_of_done(held, done, evidence), evidence)


def _outcome_of_done(held: Held, done: Done, evidence: Evidence) -> AttemptOutcome:
    if done.snooze is not None:
        return AttemptOutcome.SNOOZED
    if held.asked is not None:
        return _OUTCOME_OF_STOP[held.asked.reason]
    return AttemptOutcome.FAILED if evidence.oom is None else AttemptOutcome.CRASHED


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


def of_unknown_task(evidence: Evidence, known: Collection[str]) -> Ending:
    """Return the ending of an attempt whose task no executor of the worker knows any more."""
    names = sorted(known)[:_MOST_NAMES]
    return Ending(AttemptOutcome.RELEASED, msgspec.structs.replace(evidence, known_tasks=names))


def settle(
    claim: Claim,
    options: TaskOptions,
    ending: Ending,
    now: int,
    *,
    logged: bool,
    usage: Usage | None = None,
) -> Settlement:
    """Return what is written: the attempt's outcome and the run's next state.

    `logged` says whether there is a log to wait for; `now` is the time of day in microseconds,
    and the attempt began `wall_seconds` before it.
    """
    judged = judge(ending.evidence)
    cpu = ending.evidence.cpu_seconds
    return Settlement(
        run_id=claim.run_id,
        attempt=claim.attempt,
        outcome=ending.outcome,
        started_at=now - int(ending.evidence.wall_seconds * SECOND),
        finished_at=now,
        error=judged.sentence,
        certificate=msgspec.json.encode(judged).decode(),
        cpu_ms=None if cpu is None else int(cpu * 1000),
        peak_rss=ending.evidence.peak_rss,
        usage=usage,
        logged=logged,
        concurrency_key=claim.concurrency_key,
        reaped=ending.evidence.worker_death is not None,
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
        case AttemptOutcome.SUCCEEDED | AttemptOutcome.CANCELLED:
            return {"state": RunState(ending.outcome.value), **counts}
        case AttemptOutcome.RELEASED:
            asked = ending.evidence.asked
            alone = asked is not None and asked.reason == "neighbour"
            shared = claim.shared and not alone  # nobody can tell whose fault it was
            unknown = ending.evidence.known_tasks is not None
            later = _later(UNKNOWN_SECONDS if unknown else 0.0, now)
            return {**counts, **later, "shared": shared}
        case AttemptOutcome.SNOOZED:
            return {**_later(ending.evidence.snooze, now), **counts}
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
