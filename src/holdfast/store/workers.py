"""Register workers, count their heartbeats, and declare the silent ones dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.core.models import WorkerRecord, WorkerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.core.ids import WorkerId
    from holdfast.core.verdict import WorkerDeath
    from holdfast.store.database import Database, Row, Tx

    Records = list[WorkerRecord]  # named here, because `list` is a verb of Workers
    Ids = list[WorkerId]


class Workers:
    """Give the verbs of a worker: one incarnation of a supervisor, never reused."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, worker: WorkerRecord, tasks: Mapping[str, bool]) -> None:
        """Commit a new worker and the tasks it knows: name -> whether executors may share it."""

        def work(tx: Tx) -> None:
            if tx.row("worker_by_id", worker_id=worker.worker_id) is None:
                tx.execute("register_worker", **worker._asdict())
                _set_tasks(tx, worker.worker_id, tasks)

        self._database.write(work)

    def set_tasks(self, worker_id: WorkerId, tasks: Mapping[str, bool]) -> None:
        """Replace the tasks that a worker knows: its code has changed."""

        def work(tx: Tx) -> None:
            tx.execute("delete_worker_tasks", worker_id=worker_id)
            _set_tasks(tx, worker_id, tasks)

        self._database.write(work)

    def beat(self, worker_id: WorkerId) -> bool:
        """Count one heartbeat; False when others hold this worker for dead."""
        return self._database.write(lambda tx: tx.execute("beat", worker_id=worker_id)) == 1

    def set_state(self, worker_id: WorkerId, state: WorkerState) -> None:
        """Move a worker to a later state."""
        self._database.write(
            lambda tx: tx.execute("set_worker_state", worker_id=worker_id, state=int(state))
        )

    def set_trouble(self, worker_id: WorkerId, trouble: str | None) -> None:
        """Store why a worker takes no new runs; None when it does."""
        self._database.write(
            lambda tx: tx.execute("set_trouble", worker_id=worker_id, trouble=trouble)
        )

    def declare_dead(self, worker_id: WorkerId, *, beat: int, death: WorkerDeath) -> bool:
        """Declare a worker dead if its beat still stands where it was seen; True when it was us."""
        text = msgspec.json.encode(death).decode()
        return (
            self._database.write(
                lambda tx: tx.execute("declare_dead", worker_id=worker_id, beat=beat, death=text)
            )
            == 1
        )

    def list(self, *, gone: bool = False, limit: int = 1000) -> Records:
        """Return the workers that are up or draining; with `gone`, the ended ones too."""
        below = int(WorkerState.DEAD) + 1 if gone else int(WorkerState.STOPPED)
        rows = self._database.read(lambda tx: tx.rows("list_workers", below=below, limit=limit))
        return [_worker(row) for row in rows]

    def get(self, worker_id: str) -> WorkerRecord | None:
        """Return one worker, or None when it was forgotten."""
        row = self._database.read(lambda tx: tx.row("worker_by_id", worker_id=worker_id))
        return _worker(row) if row else None

    def gone_with_leases(self, limit: int = 10) -> Records:
        """Return workers that have ended and still hold attempts."""
        rows = self._database.read(lambda tx: tx.rows("gone_workers_with_leases", limit=limit))
        return [_worker(row) for row in rows]

    def knowing(self, task: str) -> Ids:
        """Return the workers that are up and know a task."""
        rows = self._database.read(lambda tx: tx.rows("workers_with_task", task=task))
        return [row[0] for row in rows]

    def tasks(self, limit: int = 1000) -> dict[str, bool]:
        """Return the tasks of all workers that are up: name -> whether executors may share it."""
        rows = self._database.read(lambda tx: tx.rows("task_names", limit=limit))
        return {row[0]: bool(row[1]) for row in rows}

    def forget(self, *, before: int, limit: int = 100) -> int:
        """Delete ended workers not seen since a time and return how many."""

        def work(tx: Tx) -> int:
            rows = tx.rows("forgettable_workers", before=before, limit=limit)
            for row in rows:
                tx.execute("delete_worker_tasks", worker_id=row[0])
                tx.execute("delete_worker", worker_id=row[0])
            return len(rows)

        return self._database.write(work)


def _set_tasks(tx: Tx, worker_id: WorkerId, tasks: Mapping[str, bool]) -> None:
    rows = [
        {"worker_id": worker_id, "task": name, "shared": int(shared)}
        for name, shared in tasks.items()
    ]
    tx.many("register_worker_task", rows)


def _worker(row: Row) -> WorkerRecord:
    record = WorkerRecord(*row)
    return record._replace(state=WorkerState(record.state))
