"""Claim runs and settle attempts: every change of a run that needs the right to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.models import Claim, Lease, Settlement
from holdfast.core.states import FINAL_STATES, RunState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.core.ids import WorkerId
    from holdfast.store.database import Database, Row, Tx

_KEY, _LIMIT, _PRIORITY = 10, 12, 13  # columns of claim_candidates; the last two follow Claim's
_ROUNDS = 20  # how often a claim looks again after it met busy concurrency keys
_BLOCKED_AT_ONCE = 1000  # runs of a busy key that one claim takes out of its way


class Leases:
    """Give the verbs of the right to an attempt; the token is (run_id, attempt)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def settle_and_claim(
        self,
        worker_id: WorkerId,
        settlements: Sequence[Settlement],
        wanted: Mapping[bool, int],
        queues: Sequence[str],
    ) -> tuple[list[Lease], list[Claim] | None]:
        """Write outcomes and take new runs in one transaction.

        `wanted` says how many runs to claim for exclusive (False) and shared (True) executors,
        `queues` from where; ``"*"`` is every queue. Returns the leases that turned out to be
        lost, and the claims; None instead of claims when others hold this worker for dead.
        Safe to repeat when the answer was lost: an outcome that is there already is recognised, a
        claim nobody knows of is found by `held`.
        """

        def work(tx: Tx) -> tuple[list[Lease], list[Claim] | None]:
            lost = self._settle(tx, worker_id, settlements)
            claims: list[Claim] = []
            if any(wanted.values()):
                if tx.row("living_worker", worker_id=worker_id) is None:
                    return lost, None
                names = self._open(tx, queues)
                for shared, count in wanted.items():
                    claims += self._claim(tx, worker_id, names, shared=shared, count=count)
            return lost, claims

        return self._database.write(work)

    def settle(self, worker_id: WorkerId, settlements: Sequence[Settlement]) -> list[Lease]:
        """Write outcomes and return the leases that turned out to be lost."""
        return self.settle_and_claim(worker_id, settlements, {}, ())[0]

    def held(self, worker_id: WorkerId, limit: int = 500) -> list[Claim]:
        """Return attempts that the store says a worker holds; their arguments are left out."""
        rows = self._database.read(
            lambda tx: tx.rows("held_by_worker", worker_id=worker_id, limit=limit)
        )
        return [_claim(row) for row in rows]

    def cancel_requests(self, worker_id: WorkerId) -> list[tuple[Lease, str]]:
        """Return the running attempts of a worker that somebody asked to cancel, and who."""
        rows = self._database.read(lambda tx: tx.rows("cancel_requests", worker_id=worker_id))
        return [(Lease(row[0], row[1]), row[2]) for row in rows]

    def set_progress(self, progress: Mapping[Lease, str]) -> None:
        """Store what running tasks say of their progress."""
        rows = [
            {"run_id": lease.run_id, "attempt": lease.attempt, "progress": text}
            for lease, text in progress.items()
        ]
        self._database.write(lambda tx: tx.many("set_progress", rows))

    def unblock_idle_keys(self, limit: int = 500) -> int:
        """Free runs whose concurrency key has a free slot that nobody handed on."""

        def work(tx: Tx) -> int:
            freed = 0
            for key, slots in tx.rows("keys_with_blocked", limit=limit):
                row = tx.row("running_with_key", concurrency_key=key)
                if row is not None and row[0] < slots:
                    freed += hand_on(tx, key)
            return freed

        return self._database.write(work)

    def _open(self, tx: Tx, queues: Sequence[str]) -> list[str]:
        names = [row[0] for row in tx.rows("open_queues")]
        return names if "*" in queues else [name for name in names if name in queues]

    def _claim(
        self, tx: Tx, worker_id: WorkerId, names: Sequence[str], *, shared: bool, count: int
    ) -> list[Claim]:
        claims: list[Claim] = []
        for _ in range(_ROUNDS):
            missing = count - len(claims)
            if missing <= 0:
                break
            found = self._candidates(tx, worker_id, names, shared=shared, limit=missing)
            taken = _take(tx, worker_id, found)
            claims += taken
            if len(taken) == len(found):
                break  # none was blocked by its key, so there are no more to find
        return claims

    def _candidates(
        self, tx: Tx, worker_id: WorkerId, names: Sequence[str], *, shared: bool, limit: int
    ) -> list[Row]:
        rows: list[Row] = []
        for name in names:
            rows += tx.rows(
                "claim_candidates",
                queue=name,
                worker_id=worker_id,
                shared=int(shared),
                limit=limit,
            )
        if len(names) > 1:
            rows.sort(key=lambda row: (-row[_PRIORITY], row[0]))
        return rows[:limit]

    def _settle(
        self, tx: Tx, worker_id: WorkerId, settlements: Sequence[Settlement]
    ) -> list[Lease]:
        written, lost = [], []
        for wanted in settlements:
            settled = _move(tx, wanted)
            if settled is not None:
                written.append(settled)
            elif not _was_written(tx, worker_id, wanted):
                lost.append(wanted.lease)
        tx.many("end_run", [_ended(s) for s in written if s.state in FINAL_STATES])
        tx.many("insert_attempt", [_attempt(s, worker_id) for s in written])
        for settled in written:
            if settled.concurrency_key is not None:
                hand_on(tx, settled.concurrency_key)
        return lost


def _move(tx: Tx, wanted: Settlement) -> Settlement | None:
    """Take the run out of the attempt's hands; None when they do not hold it."""
    run_id, attempt = wanted.lease
    if wanted.state in FINAL_STATES:
        return wanted if tx.execute("end_live", run_id=run_id, attempt=attempt) else None
    if tx.execute("return_live", **_returned(wanted)):
        return wanted
    row = tx.row("cancel_of_running", run_id=run_id, attempt=attempt)
    if row is None:
        return None
    tx.execute("end_live", run_id=run_id, attempt=attempt)
    return msgspec.structs.replace(
        wanted, state=RunState.CANCELLED, error=f"Cancelled by {row[0]}."
    )


def _was_written(tx: Tx, worker_id: WorkerId, wanted: Settlement) -> bool:
    """Tell whether an earlier try has gone through and only its answer was lost."""
    row = tx.row("ending_of_attempt", run_id=wanted.lease.run_id, attempt=wanted.lease.attempt)
    return row == (worker_id, wanted.outcome.value, wanted.finished_at)


def _take(tx: Tx, worker_id: WorkerId, candidates: Sequence[Row]) -> list[Claim]:
    taken: list[Row] = []
    plain = [row for row in candidates if row[_KEY] is None]
    tx.many("claim", [{"run_id": row[0], "worker_id": worker_id} for row in plain])
    taken += plain
    for row in candidates:
        if row[_KEY] is not None and _take_keyed(tx, worker_id, row):
            taken.append(row)
    return [_claim(row) for row in taken]


def _take_keyed(tx: Tx, worker_id: WorkerId, row: Row) -> bool:
    busy = tx.row("running_with_key", concurrency_key=row[_KEY])
    if busy is not None and busy[0] >= row[_LIMIT]:
        tx.execute("block_key", concurrency_key=row[_KEY], limit=_BLOCKED_AT_ONCE)
        return False
    return tx.execute("claim", run_id=row[0], worker_id=worker_id) == 1


def hand_on(tx: Tx, key: str) -> int:
    """Let the first run that waits for a concurrency key be claimed; return how many there were."""
    row = tx.row("blocked_with_key", concurrency_key=key)
    return tx.execute("unblock", run_id=row[0]) if row is not None else 0


def _claim(row: Row) -> Claim:
    return Claim._make(row[:_LIMIT])


def _ended(settled: Settlement) -> dict[str, Any]:
    return {
        "run_id": settled.lease.run_id,
        "attempt": settled.lease.attempt,
        "state": settled.state.value,
        "failures": settled.failures,
        "crashes": settled.crashes,
        "result": settled.result,
        "error": settled.error,
    }


def _returned(settled: Settlement) -> dict[str, Any]:
    return {
        "run_id": settled.lease.run_id,
        "attempt": settled.lease.attempt,
        "state": settled.state.value,
        "due_at": settled.due_at,
        "failures": settled.failures,
        "crashes": settled.crashes,
        "losses": settled.losses,
        "shared": int(settled.shared),
    }


def _attempt(settled: Settlement, worker_id: WorkerId) -> dict[str, Any]:
    return {
        "run_id": settled.lease.run_id,
        "attempt": settled.lease.attempt,
        "outcome": settled.outcome.value,
        "worker_id": worker_id,
        "started_at": settled.started_at,
        "finished_at": settled.finished_at,
        "cpu_ms": settled.cpu_ms,
        "peak_rss": settled.peak_rss,
        "logged": int(settled.logged),
        "certificate": settled.certificate,
    }
