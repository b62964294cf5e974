"""Create, find, cancel and retry runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import AlreadyEnqueued, NotAllowed, RunNotFound
from holdfast.core.ids import is_id, is_prefix, oldest_id
from holdfast.core.models import AttemptRecord, NewRun, RunRecord
from holdfast.core.states import LIVE_STATES, AttemptOutcome, RunState
from holdfast.store.leases import hand_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.ids import RunId
    from holdfast.store.bell import Bell
    from holdfast.store.database import Database, Row, Tx

    Ids = list[RunId]  # named here, because `list` is a verb of Runs
    Texts = list[str]
    Records = list[RunRecord]
    Attempts = list[AttemptRecord]

BATCH = 1000  # rows written in one transaction
_LAST_ID = "g"  # above every id


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Choose runs; None means any."""

    state: RunState | None = None
    task: str | None = None
    queue: str | None = None
    since: int | None = None  # created at or after, in microseconds
    error: str | None = None  # part of the error sentence
    before: str | None = None  # only ids below: where the last page ended
    limit: int = 50


class Runs:
    """Give the verbs of a run, its attempts' leases aside."""

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell
        self._known_queues: set[str] = set()

    def insert(self, new: Sequence[NewRun]) -> Ids:
        """Commit new runs and return their ids.

        A run whose id is there already is not made again. Where a waiting or running run has the
        same dedupe key, its id is returned instead. Raises AlreadyEnqueued for an id that belongs
        to other content, StoreUnavailable when nothing was committed.
        """
        ids: list[RunId] = []
        for index in range(0, len(new), BATCH):
            batch = new[index : index + BATCH]
            ids += self._database.write(partial(self._insert, new=batch))
            self._known_queues.update(run.queue for run in batch)
        self._bell.ring()
        return ids

    def _insert(self, tx: Tx, new: Sequence[NewRun]) -> Ids:
        for name in {run.queue for run in new} - self._known_queues:
            tx.execute("insert_queue", name=name)
        return [self._insert_one(tx, run) for run in new]

    def _insert_one(self, tx: Tx, run: NewRun) -> RunId:
        if run.dedupe_key is not None:
            row = tx.row("live_run_with_dedupe_key", dedupe_key=run.dedupe_key)
            if row is not None and tx.row("run_by_id", run_id=run.run_id) is None:
                return row[0]  # type: ignore[no-any-return]
        values = {name: getattr(run, name) for name in NewRun.__struct_fields__}
        if not tx.execute("insert_run", **values):
            return self._insert_again(tx, run)
        later = run.due_at is not None and run.due_at > tx.now
        tx.execute("insert_live", state="scheduled" if later else "queued", **values)
        return run.run_id

    def _insert_again(self, tx: Tx, run: NewRun) -> RunId:
        found = _get(tx, run.run_id)
        if (found.task, found.arguments) != (run.task, run.arguments):
            raise AlreadyEnqueued(run_id=run.run_id, task=found.task)
        return run.run_id

    def get(self, run_id: str) -> RunRecord:
        """Return a run; raises RunNotFound."""
        return self._database.read(lambda tx: _get(tx, run_id))

    def find(self, text: str) -> RunRecord:
        """Return the run whose id is, begins or ends with a text; raises RunNotFound."""
        text = text.strip().lower()
        if is_id(text):
            return self.get(text)
        ids = self._database.read(lambda tx: self._matches(tx, text)) if is_prefix(text) else []
        if len(ids) != 1:
            raise RunNotFound(run_id=text, matches=ids)
        return self.get(ids[0])

    def _matches(self, tx: Tx, text: str) -> Texts:
        rows = tx.rows("ids_with_prefix", low=text, high=text + _LAST_ID)
        return [r[0] for r in rows or tx.rows("ids_with_ending", pattern=f"%{text}")]

    def list(self, chosen: RunFilter) -> Records:
        """Return the newest runs that fit, newest first."""
        query = "list_runs"
        if chosen.task is not None:
            query = "list_runs_of_task"
        elif chosen.state is not None:
            query = "list_live_runs" if chosen.state in LIVE_STATES else "list_ended_runs"
        values = asdict(chosen)
        values["before"] = chosen.before or _LAST_ID
        values["since"] = oldest_id(chosen.since) if chosen.since else ""
        values["error"] = f"%{chosen.error}%" if chosen.error else None
        return [_run(row) for row in self._database.read(lambda tx: tx.rows(query, **values))]

    def attempts(self, run_id: str) -> Attempts:
        """Return the attempts of a run that have ended, the first first."""
        rows = self._database.read(lambda tx: tx.rows("attempts_of_run", run_id=run_id))
        return [_attempt(row) for row in rows]

    def holding_key(self, key: str, limit: int = 100) -> Ids:
        """Return the running runs that take the slots of a concurrency key."""
        rows = self._database.read(
            lambda tx: tx.rows("runs_with_key", concurrency_key=key, limit=limit)
        )
        return [row[0] for row in rows]

    def cancel(self, run_id: str, *, by: str) -> RunState:
        """Cancel a waiting run at once, or ask the worker of a running one to stop it.

        Returns `cancelled`, or `running` while the worker stops it. Raises NotAllowed for a run
        that has ended.
        """
        state = self._database.write(lambda tx: self._cancel(tx, run_id, by))
        self._bell.ring()
        return state

    def _cancel(self, tx: Tx, run_id: str, by: str) -> RunState:
        run = _get(tx, run_id)
        if tx.execute("cancel_waiting", run_id=run_id):
            sentence = f"Cancelled by {by} before it started."
            state = RunState.CANCELLED
            tx.execute("end_run", **_ended(run, state), result=None, error=sentence)
            if run.concurrency_key is not None and not run.blocked:
                hand_on(tx, run.concurrency_key)  # it may have held the way to a free slot
            return state
        if tx.execute("request_cancel", run_id=run_id, by=by) or run.state == RunState.RUNNING:
            return RunState.RUNNING
        raise NotAllowed(run_id=run_id, action="cancelled", state=run.state)

    def retry(self, run_id: str, *, options: str | None = None) -> None:
        """Queue an ended run again, with fresh budgets; `options` replaces its limits.

        Raises NotAllowed while it waits or runs.
        """
        self._database.write(lambda tx: self._retry(tx, run_id, options))
        self._bell.ring()

    def _retry(self, tx: Tx, run_id: str, options: str | None) -> None:
        run = _get(tx, run_id)
        options = options or run.options
        if not tx.execute("reopen_run", run_id=run_id, state=run.state, options=options):
            raise NotAllowed(run_id=run_id, action="retried", state=run.state)
        tx.execute("reinsert_live", run_id=run_id)

    def promote(self, limit: int = 500) -> int:
        """Move scheduled runs that are due to queued and return how many."""

        def work(tx: Tx) -> int:
            due = tx.rows("promote_candidates", limit=limit)
            return tx.many("promote", [{"run_id": row[0]} for row in due]) if due else 0

        return self._database.write(work)

    def next_due(self) -> int | None:
        """Return when the next scheduled run is due, in microseconds."""
        row = self._database.read(lambda tx: tx.row("next_due"))
        return row[0] if row else None

    def ended_before(self, before: int, *, succeeded: bool, limit: int = 500) -> Ids:
        """Return runs that ended before a time, in microseconds, the oldest first."""
        rows = self._database.read(
            lambda tx: tx.rows(
                "ended_before",
                before=before,
                oldest=oldest_id(before),
                succeeded=int(succeeded),
                limit=limit,
            )
        )
        return [row[0] for row in rows]

    def delete(self, run_ids: Sequence[RunId]) -> None:
        """Delete runs with their attempts; one that is not ended, or not any more, stays."""

        def work(tx: Tx) -> None:
            for run_id in run_ids:
                if tx.execute("delete_run", run_id=run_id):
                    tx.execute("delete_attempts", run_id=run_id)

        self._database.write(work)


def _get(tx: Tx, run_id: str) -> RunRecord:
    row = tx.row("run_by_id", run_id=run_id)
    if row is None:
        raise RunNotFound(run_id=run_id)
    return _run(row)


def _ended(run: RunRecord, state: RunState) -> dict[str, Any]:
    names = ("run_id", "attempt", "failures", "crashes")
    return {"state": state, **{name: getattr(run, name) for name in names}}


def _run(row: Row) -> RunRecord:
    record = RunRecord(*row)
    return record._replace(state=RunState(record.state), blocked=bool(record.blocked))


def _attempt(row: Row) -> AttemptRecord:
    record = AttemptRecord(*row)
    return record._replace(outcome=AttemptOutcome(record.outcome), logged=bool(record.logged))
