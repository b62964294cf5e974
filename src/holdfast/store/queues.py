"""List, pause and resume queues."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from holdfast.core import names
from holdfast.core.models import QueueRecord
from holdfast.core.texts import who

if TYPE_CHECKING:
    from holdfast.core.models import RunRecord
    from holdfast.store.bell import Bell
    from holdfast.store.database import Database, Tx

_LONGEST_REASON = 500  # characters


class Queues:
    """Give the verbs of a queue; a queue exists from its first run on."""

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell

    def list(self) -> list[QueueRecord]:
        """Return all queues with how many of their runs wait and run."""

        def work(tx: Tx) -> list[QueueRecord]:
            counts = Counter({(q, state): count for q, state, count in tx.rows("count_live")})
            return [
                QueueRecord(*row)._replace(
                    queued=counts[row[0], "queued"],
                    running=counts[row[0], "running"],
                    scheduled=counts[row[0], "scheduled"],
                )
                for row in tx.rows("list_queues")
            ]

        return self._database.read(work)

    def get(self, name: str) -> QueueRecord | None:
        """Return one queue without its counts, or None when nothing was ever enqueued to it."""
        row = self._database.read(lambda tx: tx.row("queue_by_name", name=name))
        return QueueRecord(*row) if row else None

    def pause(self, name: str, *, by: str, reason: str | None = None) -> bool:
        """Stop workers from claiming runs of a queue; False when it was paused already.

        Raises BadOption for what can be no queue, or no reason.
        """
        names.check_queue_name(name, option="queue")
        names.check_words(reason, option="reason", longest=_LONGEST_REASON)

        def work(tx: Tx) -> int:
            tx.execute("insert_queue", name=name)
            return tx.execute("pause_queue", name=name, by=who(by), reason=reason)

        return self._database.write(work) == 1

    def resume(self, name: str) -> bool:
        """Let workers claim runs of a queue again; False when it was not paused."""
        changed = self._database.write(lambda tx: tx.execute("resume_queue", name=name))
        self._bell.ring()
        return changed == 1

    def ahead_of(self, run: RunRecord, limit: int = 1000) -> int:
        """Return how many runs would be claimed before this one, counted up to a limit."""

        def work(tx: Tx) -> int:
            ahead = 0
            for task, shared in tx.rows("lanes_of_queue", queue=run.queue):
                row = tx.row(
                    "waiting_before",
                    queue=run.queue,
                    task=task,
                    shared=shared,
                    priority=run.priority,
                    run_id=run.run_id,
                    limit=limit - ahead,
                )
                ahead += row[0] if row else 0
            return ahead

        return self._database.read(work)
