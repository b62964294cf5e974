"""Write down what the store says in the end, through the public API."""

from __future__ import annotations

import msgspec

from holdfast import Run
from holdfast.core.models import Lease
from holdfast.core.verdict import Certificate
from holdfast.store.runs import RunFilter
from torture.history import AttemptDump, ChunkDump, EndDump, Journal, RunDump, WorkerDump, path_of

PAGE = 500


def write_dump(store, folder):
    """Write all workers, and all runs with their attempts, certificates and logs."""
    journal = Journal(path_of(folder, "workers"))
    for worker in store.workers.list(gone=True, limit=100_000):
        journal.write(WorkerDump(worker.worker_id, process_name(worker.pid, worker.pid_start)))
    journal.close()
    journal = Journal(path_of(folder, "dump"))
    for record in all_runs(store):
        journal.write(dumped(store, record))
    journal.close()


def process_name(pid, start):
    """Name one process for good."""
    return f"{pid} from {start}"


def all_runs(store):
    """Yield the records of all runs, newest first."""
    before = None
    while page := store.runs.list(RunFilter(limit=PAGE, before=before)):
        yield from page
        before = page[-1].run_id


def dumped(store, record):
    """Return everything about a run."""
    run = Run(record.run_id, store)
    return RunDump(
        run.id,
        record.task,
        record.state.value,
        record.arguments,
        dedupe_key=record.dedupe_key,
        concurrency_key=record.concurrency_key,
        attempt=record.attempt or 0,
        failures=record.failures or 0,
        crashes=record.crashes or 0,
        result=record.result,
        attempts=tuple(_attempt(store, run, attempt) for attempt in run.attempts),
    )


def _attempt(store, run, attempt):
    facts = {"chunks": (), "end": None}
    if attempt.logged:
        end = store.logs.end(Lease(run.id, attempt.attempt))
        facts["chunks"] = tuple(_chunk(chunk) for chunk in run.log_chunks(attempt.attempt))
        facts["end"] = EndDump(end.size, end.lines, end.crc, end.missing) if end else None
    if attempt.certificate:
        said = msgspec.json.decode(attempt.certificate, type=Certificate)
        raised = said.evidence.raised
        facts |= {"verdict": said.verdict, "sentence": said.sentence, "pid": said.evidence.pid}
        facts["raised"] = raised.type if raised else ""
    return AttemptDump(
        attempt.attempt,
        attempt.outcome.value,
        attempt.worker_id,
        logged=attempt.logged,
        **facts,
    )


def _chunk(chunk):
    return ChunkDump(
        chunk.start,
        chunk.line,
        chunk.lines,
        chunk.source,
        chunk.source_end,
        chunk.crc,
        chunk.data.decode("latin-1"),
    )
