"""Write new runs within one transaction: the ways there are, the quickest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.errors import AlreadyEnqueued, RunNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.ids import RunId
    from holdfast.core.models import NewRun
    from holdfast.store.database import Tx

    Lanes = set[tuple[str, str]]  # queue and task


class OneByOne(Exception):
    """Tell that a batch must be inserted one by one: some of its runs may be there already."""


def insert_all(tx: Tx, new: Sequence[NewRun], lanes: Lanes) -> list[RunId]:
    """Insert runs in as few statements as there can be: whoever enqueues waits for it.

    Raises OneByOne when there are dedupe keys, or an id is there already.
    """
    rows = _plain_rows(tx, new)
    insert_lanes(tx, lanes)
    if tx.many("insert_run", rows) != len(rows):
        raise OneByOne
    tx.many("insert_live", rows)
    return [run.run_id for run in new]


def copy_all(tx: Tx, new: Sequence[NewRun], lanes: Lanes) -> list[RunId]:
    """Insert runs in another way, where the database has one: it refuses an id that is there."""
    rows = _plain_rows(tx, new)
    insert_lanes(tx, lanes)
    tx.many("copy_run", rows)
    tx.many("copy_live", rows)
    return [run.run_id for run in new]


def _plain_rows(tx: Tx, new: Sequence[NewRun]) -> list[dict[str, Any]]:
    """Return the rows of runs; raises OneByOne when there are dedupe keys."""
    if any(run.dedupe_key is not None for run in new):
        raise OneByOne
    return [new_row(run, tx.now) for run in new]


def insert_each(tx: Tx, new: Sequence[NewRun], lanes: Lanes) -> list[RunId]:
    """Insert runs one by one, whatever is there already; the ids are those that are there then.

    Raises AlreadyEnqueued for an id that belongs to other content.
    """
    insert_lanes(tx, lanes)
    return [_insert_one(tx, run) for run in new]


def insert_lanes(tx: Tx, lanes: Lanes) -> None:
    """Make lanes known, and their queues."""
    for queue, task in lanes:
        tx.execute("insert_queue", name=queue)
        tx.execute("insert_lane", queue=queue, task=task)


def _insert_one(tx: Tx, run: NewRun) -> RunId:
    if run.dedupe_key is not None:
        look = "live_run_with_dedupe_key_now" if tx.again else "live_run_with_dedupe_key"
        row = tx.row(look, dedupe_key=run.dedupe_key)
        if row is not None and tx.row("is_enqueued", run_id=run.run_id) is None:
            return row[0]  # type: ignore[no-any-return]
    values = new_row(run, tx.now)
    if not tx.execute("insert_run", **values):
        return _insert_again(tx, run)
    tx.execute("insert_live", **values)
    return run.run_id


def _insert_again(tx: Tx, run: NewRun) -> RunId:
    found = tx.row("enqueued_before", run_id=run.run_id)
    if found is None:
        raise RunNotFound(run_id=run.run_id)
    if found != (run.task, run.arguments):
        raise AlreadyEnqueued(run_id=run.run_id, task=found[0])
    return run.run_id


def new_row(run: NewRun, now: int) -> dict[str, Any]:
    """Return the values of the statements that insert a run, at a time in microseconds."""
    row = msgspec.structs.asdict(run)
    row["created_at"] = now
    row["shared"] = int(run.shared)
    row["state"] = "scheduled" if run.due_at is not None and run.due_at > now else "queued"
    return row
