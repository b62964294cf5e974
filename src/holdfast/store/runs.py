"""Create, find, cancel and retry runs."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.errors import NotAllowed, RunNotFound, StoreRefused
from holdfast.core.ids import is_id, is_prefix, oldest_id
from holdfast.core.models import AttemptRecord, Ending, RunRecord
from holdfast.core.names import check_words
from holdfast.core.states import LIVE_STATES, AttemptOutcome, RunState
from holdfast.core.texts import who
from holdfast.core.usage import Usage
from holdfast.store.claiming import hand_on
from holdfast.store.inserting import (
    OneByOne,
    copy_all,
    insert_all,
    insert_each,
    insert_lanes,
    new_row,
)
from holdfast.store.joining import Joining

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from holdfast.core.ids import RunId
    from holdfast.core.models import NewRun
    from holdfast.store.bell import Bell
    from holdfast.store.database import Database, Row, Tx
    from holdfast.store.patience import Patience

    Ids = list[RunId]  # named here, because `list` is a verb of Runs
    Texts = list[str]
    Records = list[RunRecord]
    Attempts = list[AttemptRecord]
    Endings = list[Ending]
    Lanes = set[tuple[str, str]]  # queue and task
    Insert = Callable[[Tx, Sequence[NewRun], Lanes], Ids]

BATCH = 1000  # rows written in one transaction
_LAST_ID = "g"  # above every id
_PAGE = 50  # runs in memory at once; each may have megabytes
_LONGEST_FILTER = 1000  # characters


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

    def __post_init__(self) -> None:
        for option in ("task", "queue", "error"):
            check_words(getattr(self, option), option=option, longest=_LONGEST_FILTER)


class Runs:
    """Give the verbs of a run, its attempts' leases aside."""

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell
        self._joining = Joining(database)
        self._known_lanes: set[tuple[str, str]] = set()
        self._alone = database.knows("insert_alone")

    def insert(self, new: Sequence[NewRun]) -> Ids:
        """Commit new runs and return their ids.

        A run whose id is there already is not made again. Where a waiting or running run has the
        same dedupe key, its id is returned instead. Raises AlreadyEnqueued for an id that belongs
        to other content, StoreUnavailable when nothing was committed (or nobody knows: `unknown`).
        """
        ids: list[RunId] = []
        for index in range(0, len(new), BATCH):
            ids += self._insert(
                new[index : index + BATCH], self._database.patience(repeatable=True)
            )
        self._bell.ring()
        return ids

    def insert_one(self, run: NewRun) -> RunId:
        """Do as `insert` for one run: in one statement, where that can be and it is a new one.

        Whoever enqueues waits for it, so nothing is made on the way that it can do without.
        """
        database, patience = self._database, self._database.patience(repeatable=True)
        is_plain = run.dedupe_key is None and (run.queue, run.task) in self._known_lanes
        if is_plain and self._alone and not database.dialect.limits:  # a statement alone has none
            row = new_row(run, database.now())
            row["rings"] = rings = self._bell.goes_along()
            with suppress(StoreRefused):  # `_insert` finds out why
                database.write_alone("insert_alone", row, patience)
                self._bell.went_along() if rings else self._bell.ring()
                return run.run_id
        (run_id,) = self._insert((run,), patience)
        self._bell.ring()
        return run_id

    def _insert(self, new: Sequence[NewRun], patience: Patience) -> Ids:
        """Insert runs; a commit whose answer is lost is repeated, for ids tell what is there."""
        lanes = {(run.queue, run.task) for run in new} - self._known_lanes
        insert = copy_all if self._database.knows("copy_run") else insert_all
        try:
            ids = self._database.write(lambda tx: insert(tx, new, lanes), patience=patience)
        except (OneByOne, StoreRefused):
            ids = self._database.write(lambda tx: insert_each(tx, new, lanes), patience=patience)
        self._known_lanes |= lanes
        return ids

    def insert_within(self, new: Sequence[NewRun], connection: Any) -> Ids:
        """Write new runs in the transaction of a caller, all or none, and return their ids.

        They are there once he commits; where he has no transaction, and his connection commits
        by itself, at once. Raises as `insert` does, BadOption and OtherDatabase for a connection
        that cannot be used. Nothing is repeated: that is for the caller to do.
        """
        guest = self._joining.guest(connection)
        lanes = {(run.queue, run.task) for run in new} - self._known_lanes
        if lanes and not self._database.dialect.one_writer:
            # All who enqueue to a new lane would wait for the end of the caller's transaction.
            self._database.write(lambda tx: insert_lanes(tx, lanes))
            self._known_lanes |= lanes
            lanes = set()

        def work(tx: Tx, insert: Insert) -> Ids:
            ids: list[RunId] = []
            for index in range(0, len(new), BATCH):
                ids += insert(tx, new[index : index + BATCH], lanes)
            self._bell.ring_within(tx, guest)
            return ids

        try:
            return self._joining.write(guest, lambda tx: work(tx, insert_all))
        except OneByOne:
            return self._joining.write(guest, lambda tx: work(tx, insert_each))

    def get(self, run_id: str) -> RunRecord:
        """Return a run; raises RunNotFound."""
        if not is_id(run_id):
            raise RunNotFound(run_id=run_id)
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
        elif chosen.state in LIVE_STATES:
            query = "list_live_runs"
        elif chosen.state == RunState.SUCCEEDED:
            query = "list_succeeded_runs"
        elif chosen.state is not None:
            query = "list_badly_ended_runs"
        values = asdict(chosen)
        values["before"] = chosen.before or _LAST_ID
        values["since"] = oldest_id(chosen.since) if chosen.since else ""
        values["error"] = _containing(chosen.error) if chosen.error else None
        return [_run(row) for row in self._database.read(lambda tx: tx.rows(query, **values))]

    def each(self, chosen: RunFilter) -> Iterator[RunRecord]:
        """Yield the newest runs that fit, newest first, in bounded memory."""
        left = chosen.limit
        while page := self.list(replace(chosen, limit=min(left, _PAGE))):
            yield from page
            left -= len(page)
            chosen = replace(chosen, before=page[-1].run_id)

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
        state = self._database.write(lambda tx: self._cancel(tx, run_id, who(by)))
        self._bell.ring()
        return state

    def _cancel(self, tx: Tx, run_id: str, by: str) -> RunState:
        run = _get(tx, run_id)
        if tx.execute("cancel_waiting", run_id=run_id):
            sentence = f"Cancelled by {by} before it started."
            state = RunState.CANCELLED
            tx.execute("end_unstarted", **_ended(run, state), error=sentence)
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
        if not tx.execute("reinsert_live", run_id=run_id):
            raise NotAllowed(run_id=run_id, action="retried", state=_get(tx, run_id).state)
        tx.execute("keep_last_attempt", run_id=run_id)
        if not tx.execute("delete_ended", run_id=run_id):
            raise RunNotFound(run_id=run_id)  # deleted meanwhile: its retention is over
        if options is not None:
            tx.execute("change_options", run_id=run_id, options=options)

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

    def live_among(self, run_ids: Iterable[RunId]) -> set[RunId]:
        """Return which of these runs have not ended."""

        def work(tx: Tx) -> set[RunId]:
            return {run_id for run_id in run_ids if tx.row("is_live", run_id=run_id)}

        return self._database.read(work)

    def ended_from(self, after: str, limit: int = 500) -> Endings:
        """Return ended runs above an id, by their ids."""
        rows = self._database.read(lambda tx: tx.rows("ended_from", after=after, limit=limit))
        return [Ending(run_id, RunState(state), at) for run_id, state, at in rows]

    def delete(self, run_ids: Sequence[RunId]) -> None:
        """Delete runs with their attempts; one that is not ended, or not any more, stays."""

        def work(tx: Tx) -> None:
            for run_id in run_ids:
                if tx.execute("delete_ended", run_id=run_id):
                    tx.execute("delete_attempts", run_id=run_id)
                    tx.execute("delete_run", run_id=run_id)

        self._database.write(work)


def _containing(text: str) -> str:
    """Return the pattern of LIKE for texts that contain this one, whatever it holds."""
    literal = re.sub("([!%_])", r"!\1", text)
    return f"%{literal}%"


def _get(tx: Tx, run_id: str) -> RunRecord:
    row = tx.row("run_by_id", run_id=run_id)
    if row is None:
        raise RunNotFound(run_id=run_id)
    return _run(row)


def _ended(run: RunRecord, state: RunState) -> dict[str, Any]:
    names = ("run_id", "attempt", "failures", "crashes")
    return {"state": state.value, **{name: getattr(run, name) for name in names}}


def _run(row: Row) -> RunRecord:
    record = RunRecord(*row)
    return record._replace(
        state=RunState(record.state), blocked=bool(record.blocked), usage=_usage(record.usage)
    )


def _attempt(row: Row) -> AttemptRecord:
    record = AttemptRecord(*row)
    return record._replace(
        outcome=AttemptOutcome(record.outcome),
        logged=bool(record.logged),
        usage=_usage(record.usage),
    )


def _usage(stored: Any) -> Usage | None:
    return None if stored is None else msgspec.json.decode(stored, type=Usage)
