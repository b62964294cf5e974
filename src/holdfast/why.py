"""Explain a run in one sentence, with the evidence under it: why it waits, how it died."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, assert_never

import msgspec

from holdfast.core.clock import SECOND
from holdfast.core.models import Progress, TaskOptions, WorkerState
from holdfast.core.states import AttemptOutcome, RunState
from holdfast.core.units import show_bytes, show_seconds
from holdfast.core.verdict import Certificate, Evidence, OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.models import AttemptRecord, RunRecord, WorkerRecord
    from holdfast.store import Store

SILENT_SECONDS = 30.0  # a worker that was not seen for so long may be gone
_ATTEMPTS_SHOWN = 10
_MOST_AHEAD = 1000  # counting further would cost more than it tells


@dataclass(frozen=True, slots=True)
class Explanation:
    """Hold one English sentence about a run, and the facts that it rests on, a line each."""

    sentence: str
    evidence: list[str]


def explain(store: Store, record: RunRecord) -> Explanation:
    """Say why a run waits, where it runs, or how it ended."""
    match record.state:
        case RunState.SCHEDULED:
            return _scheduled(store, record)
        case RunState.QUEUED:
            return _queued(store, record)
        case RunState.RUNNING:
            return _running(store, record)
        case RunState.SUCCEEDED | RunState.FAILED | RunState.CANCELLED | RunState.QUARANTINED:
            return _ended(store, record)
        case _:
            assert_never(record.state)


def show_time(at: int) -> str:
    """Return a stored time as the clocks here show it, with the zone."""
    moment = datetime.fromtimestamp(at / SECOND, UTC).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def read_certificate(attempt: AttemptRecord) -> Certificate | None:
    """Return the certificate of an attempt, or None when it ended by its own return."""
    if attempt.certificate is None:
        return None
    return msgspec.json.decode(attempt.certificate, type=Certificate)


def describe_attempt(store: Store, attempt: AttemptRecord) -> str:
    """Return one line on how an attempt ended."""
    lasted = show_seconds((attempt.finished_at - attempt.started_at) / SECOND)
    certificate = read_certificate(attempt)
    worker = store.workers.get(attempt.worker_id)
    place = f" on {worker.host}" if worker else ""
    line = f"attempt {attempt.attempt} {_outcome(attempt)}{place} after {lasted}"
    return f"{line}: {certificate.sentence}" if certificate else line


def _outcome(attempt: AttemptRecord) -> str:
    return attempt.outcome.value.replace("_", " ")


def _ago(store: Store, at: int) -> str:
    return f"{show_seconds(max(0, store.database.clock.now() - at) / SECOND)} ago"


def _worker_line(store: Store, worker: WorkerRecord) -> str:
    queues = ", ".join(_queues_of(worker))
    return (
        f"worker {worker.worker_id} on {worker.host}: {worker.state.name.lower()}, "
        f"queues {queues}, executors {worker.executors}, seen {_ago(store, worker.seen_at)}"
        f"{f', takes no new runs: {worker.trouble}' if worker.trouble else ''}"
    )


def _queues_of(worker: WorkerRecord) -> list[str]:
    return msgspec.json.decode(worker.queues, type=list[str])


# Runs that wait


def _scheduled(store: Store, record: RunRecord) -> Explanation:
    now = store.database.clock.now()
    due_at = record.due_at or now
    if due_at <= now:
        return _queued(store, record)
    attempts = store.runs.attempts(record.run_id)
    wait = show_seconds((due_at - now) / SECOND)
    sentence = f"The run is not due before {show_time(due_at)}, in {wait}: "
    sentence += f"{_cause(record, attempts[-1] if attempts else None)}."
    return Explanation(sentence, _earlier(store, attempts))


def _cause(record: RunRecord, last: AttemptRecord | None) -> str:
    if last is None:
        return "it was enqueued to run then"
    options = msgspec.json.decode(record.options, type=TaskOptions)
    match last.outcome:
        case AttemptOutcome.SNOOZED:
            return f"its task asked in attempt {last.attempt} to run later"
        case AttemptOutcome.FAILED | AttemptOutcome.TIMED_OUT:
            return f"it is retry {record.failures} of {options.retries.limit} after a failure"
        case AttemptOutcome.CRASHED | AttemptOutcome.LOST:
            return f"it is tried again after crash {record.crashes}; {options.crashes} are allowed"
        case AttemptOutcome.RELEASED | AttemptOutcome.SUCCEEDED | AttemptOutcome.CANCELLED:
            return f"attempt {last.attempt} was given back"
        case _:
            assert_never(last.outcome)


def _queued(store: Store, record: RunRecord) -> Explanation:
    for reason in (_paused, _key_busy, _unserved):
        found = reason(store, record)
        if found is not None:
            return found
    return _behind_others(store, record)


def _paused(store: Store, record: RunRecord) -> Explanation | None:
    queue = store.queues.get(record.queue)
    if queue is None or queue.paused_at is None:
        return None
    sentence = f"The run waits because queue {queue.name!r} was paused by {queue.paused_by}, "
    sentence += _ago(store, queue.paused_at)
    sentence += f": {queue.reason.rstrip('.')}." if queue.reason else "."
    evidence = [
        f"paused since: {show_time(queue.paused_at)}",
        f"to go on: holdfast queues resume {queue.name}",
    ]
    return Explanation(sentence, evidence)


def _key_busy(store: Store, record: RunRecord) -> Explanation | None:
    if record.concurrency_key is None:
        return None
    holders = store.runs.holding_key(record.concurrency_key)
    if len(holders) < record.concurrency_limit:
        return None
    sentence = (
        f"The run waits because its concurrency key {record.concurrency_key!r} is busy: "
        f"{len(holders)} of {record.concurrency_limit} slots are taken."
    )
    return Explanation(sentence, [f"slot taken by run {run_id}" for run_id in holders])


def _unserved(store: Store, record: RunRecord) -> Explanation | None:
    """Say what is missing: a worker, one for the queue, one for the task, one for both."""
    present = store.workers.list()
    up = [worker for worker in present if worker.state == WorkerState.UP]
    oldest = store.database.clock.now() - int(SILENT_SECONDS * SECOND)
    alive = [worker for worker in up if worker.seen_at >= oldest]
    knowing = set(store.workers.knowing(record.task))
    serving = [w for w in alive if {"*", record.queue} & set(_queues_of(w))]
    able = [worker for worker in alive if worker.worker_id in knowing]
    if not up:
        sentence = "The run waits because no worker is up; `holdfast worker` starts one."
    elif not alive:
        last = max(up, key=lambda worker: worker.seen_at)
        sentence = "The run waits because no worker gives a sign of life: "
        sentence += f"the last one came from {last.host}, {_ago(store, last.seen_at)}."
    elif not serving:
        sentence = f"The run waits because no worker that is up serves queue {record.queue!r}."
    elif not able:
        sentence = f"The run waits because no worker that is up knows task {record.task!r}."
    elif not (fit := [worker for worker in serving if worker in able]):
        sentence = "The run waits because no worker that is up both "
        sentence += f"serves queue {record.queue!r} and knows task {record.task!r}."
    elif all(worker.trouble for worker in fit):
        hosts = ", ".join(sorted({worker.host for worker in fit}))
        sentence = f"The run waits because its worker on {hosts} takes no new runs: "
        sentence += f"{fit[0].trouble}."
    else:
        return None
    return Explanation(sentence, [_worker_line(store, worker) for worker in present])


def _behind_others(store: Store, record: RunRecord) -> Explanation:
    ahead = store.queues.ahead_of(record, limit=_MOST_AHEAD)
    number = f"at least {ahead}" if ahead >= _MOST_AHEAD else str(ahead)
    verb = "run is" if ahead == 1 else "runs are"
    sentence = f"The run waits for a free executor: {number} {verb} ahead of it."
    evidence = [f"queue: {record.queue}, priority {record.priority}"]
    return Explanation(sentence, evidence + [_worker_line(store, w) for w in store.workers.list()])


# Runs that run


def _running(store: Store, record: RunRecord) -> Explanation:
    now = store.database.clock.now()
    worker = store.workers.get(record.worker_id or "")
    place = worker.host if worker else "a worker that is forgotten"
    since = record.claimed_at or now
    sentence = f"Attempt {record.attempt} runs on {place} since {show_time(since)}"
    sentence += f" ({_ago(store, since)} it began)"
    if record.cancel_by is not None:
        sentence += f" and is being stopped, because {record.cancel_by} cancelled it"
    elif record.paused is not None:
        sentence += f", and is paused until there is room for what it writes: {record.paused}"
    if worker is not None:
        sentence += _silence(store, worker)
    evidence = [_progress(record.progress)] if record.progress else []
    evidence += [_worker_line(store, worker)] if worker else []
    evidence += _earlier(store, store.runs.attempts(record.run_id))
    return Explanation(f"{sentence}.", evidence)


def _silence(store: Store, worker: WorkerRecord) -> str:
    if worker.state in (WorkerState.STOPPED, WorkerState.DEAD):
        return f", but its worker is {worker.state.name.lower()}: another one takes the run back"
    if store.database.clock.now() - worker.seen_at < SILENT_SECONDS * SECOND:
        return ""
    return f", but its worker is silent: it was last seen {_ago(store, worker.seen_at)}"


def _progress(text: str) -> str:
    progress = msgspec.json.decode(text, type=Progress)
    total = f" of {progress.total:g}" if progress.total is not None else ""
    words = f" ({progress.text})" if progress.text else ""
    return f"progress: {progress.done:g}{total}{words}"


# Runs that have ended


def _ended(store: Store, record: RunRecord) -> Explanation:
    attempts = store.runs.attempts(record.run_id)
    if not attempts:
        return Explanation(record.error or f"The run {record.state} without an attempt.", [])
    last = attempts[-1]
    evidence = _facts(store, last)
    if record.state == RunState.QUARANTINED:
        evidence.insert(0, _release(record, last))
    if len(attempts) > 1:
        evidence += _earlier(store, attempts)
    return Explanation(_ending(record, last), evidence)


def _release(record: RunRecord, last: AttemptRecord) -> str:
    """Return how an operator releases a quarantined run, with more memory where it needs that."""
    command = f"holdfast retry {record.run_id}"
    certificate = read_certificate(last)
    limit = msgspec.json.decode(record.options, type=TaskOptions).memory
    if limit is not None and certificate and certificate.verdict.startswith("oom"):
        return f"to release it: {command} --memory {show_bytes(2 * limit).replace(' ', '')}"
    return f"to release it, once its cause is mended: {command}"


def _ending(record: RunRecord, last: AttemptRecord) -> str:
    certificate = read_certificate(last)
    how = certificate.sentence if certificate else (record.error or "no certificate was stored.")
    match record.state:
        case RunState.SUCCEEDED:
            lasted = show_seconds((last.finished_at - last.started_at) / SECOND)
            return f"The run succeeded in attempt {last.attempt} after {lasted}."
        case RunState.CANCELLED if last.outcome != AttemptOutcome.CANCELLED:
            return record.error or "The run was cancelled while it waited."
        case RunState.QUARANTINED:
            return record.error or how
        case RunState.CANCELLED:
            return f"The run was cancelled in attempt {last.attempt}: {how}"
        case _:
            return f"The run failed in attempt {last.attempt}: {how}"


def _earlier(store: Store, attempts: Sequence[AttemptRecord]) -> list[str]:
    hidden = len(attempts) - _ATTEMPTS_SHOWN
    lines = [f"{hidden} earlier attempts are not shown"] if hidden > 0 else []
    return lines + [describe_attempt(store, attempt) for attempt in attempts[-_ATTEMPTS_SHOWN:]]


def _facts(store: Store, attempt: AttemptRecord) -> list[str]:
    certificate = read_certificate(attempt)
    if certificate is not None:
        verdict = f"verdict: {certificate.verdict}, {certificate.confidence}"
        return [verdict, *evidence_lines(certificate.evidence)]
    wall = (attempt.finished_at - attempt.started_at) / SECOND
    cpu = None if attempt.cpu_ms is None else attempt.cpu_ms / 1000
    worker = store.workers.get(attempt.worker_id)
    measured = Evidence(
        wall_seconds=wall,
        cpu_seconds=cpu,
        peak_rss=attempt.peak_rss,
        host=worker.host if worker else "",
        worker=attempt.worker_id,
    )
    return evidence_lines(measured)


def evidence_lines(evidence: Evidence) -> list[str]:
    """Return the evidence of a certificate as lines, the most telling first."""
    return [
        *_end_lines(evidence),
        *_cost_lines(evidence),
        *_place_lines(evidence),
        *_texts(evidence),
    ]


def _end_lines(evidence: Evidence) -> list[str]:
    lines = []
    if evidence.exit_code is not None:
        lines.append(f"exit code of the {evidence.of}: {evidence.exit_code}")
    if evidence.signal is not None:
        lines.append(f"signal that ended the {evidence.of}: {_signal(evidence.signal)}")
    asked = evidence.asked
    if asked is not None:
        lines.append(f"asked to stop: {asked.reason}" + (f", by {asked.by}" if asked.by else ""))
        lines.append(f"needed SIGKILL: {'yes' if evidence.needed_kill else 'no'}")
    if evidence.stopped_processes:
        lines.append(f"processes ended with it: {evidence.stopped_processes}")
    if evidence.oom is not None:
        lines.append(_oom_line(evidence.oom))
    if evidence.neighbours:
        lines.append(f"other attempts in the same executor: {evidence.neighbours}")
    death = evidence.worker_death
    if death is not None:
        seen = f", found by worker {death.seen_by}" if death.seen_by else ""
        lines.append(
            f"its worker: {death.cause}{f', {death.detail}' if death.detail else ''}{seen}"
        )
    return lines


def _oom_line(oom: OutOfMemory) -> str:
    limit = f", limit {show_bytes(oom.limit)}" if oom.limit is not None else ""
    where = f" in {oom.cgroup}{limit}" if oom.cgroup else ""
    return f"killed for lack of memory: {oom.kills}{where}, known by: {oom.known_by}"


def _signal(number: int) -> str:
    known = {member.value: member.name for member in signal.Signals}
    return f"{number} ({known[number]})" if number in known else str(number)


def _cost_lines(evidence: Evidence) -> list[str]:
    limit = ""
    if evidence.memory_limit is not None:
        limit = f"limit {show_bytes(evidence.memory_limit)}"
    peak = show_bytes(evidence.peak_rss) if evidence.peak_rss is not None else "not measured"
    memory = f"peak memory: {peak}" + (f", {limit}" if limit else "")
    wall = f"time: {show_seconds(evidence.wall_seconds)}"
    if evidence.cpu_seconds is not None:
        wall += f", {show_seconds(evidence.cpu_seconds)} of CPU"
    if evidence.paused_seconds:
        paused = show_seconds(evidence.paused_seconds)
        wall += f", {paused} paused for want of room for its log"
    return [memory, wall] if evidence.peak_rss is not None or limit else [wall]


def _place_lines(evidence: Evidence) -> list[str]:
    lines = []
    if evidence.host:
        boot = f", boot {evidence.boot_id}" if evidence.boot_id else ""
        lines.append(f"host: {evidence.host}{boot}")
    if evidence.worker:
        version = f", version {evidence.version}" if evidence.version else ""
        lines.append(f"worker: {evidence.worker}{version}")
    if evidence.pid:
        lines.append(f"pid: {evidence.pid}")
    return lines


def _texts(evidence: Evidence) -> list[str]:
    raised = evidence.raised.traceback if evidence.raised is not None else ""
    blocks = (
        ("last lines of the log", evidence.last_lines),
        ("traceback", raised.splitlines()),
        ("stack", evidence.stack.splitlines()),
    )
    return [
        line
        for title, texts in blocks
        if texts
        for line in (f"{title}:", *(f"  {text}" for text in texts))
    ]
