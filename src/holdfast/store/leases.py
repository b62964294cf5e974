"""Claim runs and settle attempts: every change of a run that needs the right to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.errors import StoreRefused
from holdfast.core.models import Claim, Lease, Settlement
from holdfast.core.states import FINAL_STATES, AttemptOutcome, RunState
from holdfast.core.usage import Usage
from holdfast.core.verdict import Certificate, brief, quarantine
from holdfast.store.claiming import Keys, claim, claims_of, hand_on, has_key, has_slot, place_across

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.core.ids import WorkerId
    from holdfast.store.database import Database, Tx

_SUCCEEDED = AttemptOutcome.SUCCEEDED
_WAITS = 5  # how often a claim that got nothing waits for a key that another worker looks at
_decode = msgspec.json.Decoder(Usage).decode


class Leases:
    """Give the verbs of the right to an attempt; the token is (run_id, attempt)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unblocked_up_to = ""  # the key where the next look for idle ones goes on

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
        if not settlements and any(wanted.values()) and self._can_claim_alone():
            rows = self._database.ask_alone("claim_across", place_across(worker_id, queues, wanted))
            claims = claims_of(row for row in rows if not has_key(row))
            if claims or not rows:  # else they wait for their concurrency keys: that takes more
                return [], claims or self._nothing(worker_id)
        return self._settle_and_claim(worker_id, settlements, wanted, queues)

    def _can_claim_alone(self) -> bool:
        """Tell whether one statement is enough: an idle worker begins sooner by four round trips.

        Behind a pooler, a statement that is a transaction by itself has no limits.
        """
        return self._database.knows("claim_across") and not self._database.dialect.limits

    def _nothing(self, worker_id: WorkerId) -> list[Claim] | None:
        """Return no claims; None when others hold this worker for dead."""
        return [] if self._database.ask_alone("living_worker", {"worker_id": worker_id}) else None

    def _settle_and_claim(
        self,
        worker_id: WorkerId,
        settlements: Sequence[Settlement],
        wanted: Mapping[bool, int],
        queues: Sequence[str],
    ) -> tuple[list[Lease], list[Claim] | None]:
        def work(tx: Tx, *, one_by_one: bool) -> tuple[list[Lease], list[Claim] | None, str | None]:
            lost = self._settle(tx, worker_id, settlements, one_by_one=one_by_one)
            return lost, *_claim(tx, worker_id, wanted, queues)

        try:
            lost, claims, passed = self._database.write(partial(work, one_by_one=False))
        except _SomeLost:
            lost, claims, passed = self._database.write(partial(work, one_by_one=True))
        for _ in range(_WAITS):
            if passed is None or claims != []:
                break  # who got something looks again anyway
            again = partial(_claim, worker_id=worker_id, wanted=wanted, queues=queues)
            claims, passed = self._database.write(partial(again, awaited=passed))
        return lost, claims

    def settle(self, worker_id: WorkerId, settlements: Sequence[Settlement]) -> list[Lease]:
        """Write outcomes and return the leases that turned out to be lost."""
        return self.settle_and_claim(worker_id, settlements, {}, ())[0]

    def settle_apart(
        self, worker_id: WorkerId, settlements: Sequence[Settlement]
    ) -> tuple[list[Lease], dict[Lease, str]]:
        """Write outcomes each by itself; return the leases that were lost, and the refused ones."""
        lost: list[Lease] = []
        refused: dict[Lease, str] = {}
        for settlement in settlements:
            try:
                lost += self.settle(worker_id, [settlement])
            except StoreRefused as error:
                refused[settlement.lease] = error.problem
        return lost, refused

    def held(self, worker_id: WorkerId, limit: int = 500) -> list[Claim]:
        """Return attempts that the store says a worker holds; their arguments are left out."""
        rows = self._database.read(
            lambda tx: tx.rows("held_by_worker", worker_id=worker_id, limit=limit)
        )
        return [Claim(*row) for row in rows]

    def cancel_requests(self, worker_id: WorkerId) -> list[tuple[Lease, str]]:
        """Return the running attempts of a worker that somebody asked to cancel, and who."""
        rows = self._database.read(lambda tx: tx.rows("cancel_requests", worker_id=worker_id))
        return [(Lease(row[0], row[1]), row[2]) for row in rows]

    def set_progress(self, progress: Mapping[Lease, str]) -> None:
        """Store what running tasks say of their progress."""
        rows = [{**lease._asdict(), "progress": text} for lease, text in progress.items()]
        self._database.write(lambda tx: tx.many("set_progress", rows))

    def set_paused(self, reasons: Mapping[Lease, str | None]) -> None:
        """Store why running attempts are paused; None for those that go on."""
        rows = [{**lease._asdict(), "paused": reason} for lease, reason in reasons.items()]
        self._database.write(lambda tx: tx.many("set_paused", rows))

    def set_usage(self, usages: Mapping[Lease, Usage]) -> None:
        """Store what running attempts have taken so far."""
        rows = [{**lease._asdict(), "usage": _encode(usage)} for lease, usage in usages.items()]
        self._database.write(lambda tx: tx.many("set_usage", rows))

    def usages(self, worker_id: WorkerId, limit: int = 500) -> dict[Lease, Usage]:
        """Return what running attempts of a worker have taken, as far as that was stored."""
        rows = self._database.read(
            lambda tx: tx.rows("usages_of_worker", worker_id=worker_id, limit=limit)
        )
        return {Lease(row[0], row[1]): _decode(row[2]) for row in rows}

    def unblock_idle_keys(self, limit: int = 500) -> int:
        """Free runs whose concurrency key has a free slot that nobody handed on.

        Looks at so many keys, and at the next ones when it is called again. Most of them are busy:
        so it looks without keeping others from writing.
        """

        def idle_keys(tx: Tx) -> tuple[list[tuple[str, int]], str]:
            found: list[tuple[str, int]] = []
            after = self._unblocked_up_to
            for _ in range(limit):
                row = tx.row("next_key_with_blocked", after=after)
                if row is None:
                    return found, ""
                after, slots, running = row
                if running < slots:
                    found.append((after, slots))
            return found, after

        def free(tx: Tx, key: str, slots: int) -> int:
            Keys(tx, key)
            return hand_on(tx, key) if has_slot(tx, key, slots) else 0

        idle, self._unblocked_up_to = self._database.read(idle_keys)
        return sum(self._database.write(partial(free, key=key, slots=n)) for key, n in idle)

    def _settle(
        self,
        tx: Tx,
        worker_id: WorkerId,
        settlements: Sequence[Settlement],
        *,
        one_by_one: bool,
    ) -> list[Lease]:
        written: list[Settlement] = []
        settlements, lost = _believed(tx, worker_id, settlements)
        if not one_by_one:
            written = [s for s in settlements if s.state in FINAL_STATES]
            _end_all(tx, written)
            settlements = [s for s in settlements if s.state not in FINAL_STATES]
        for wanted in settlements:
            settled = _move(tx, wanted)
            if settled is not None:
                written.append(settled)
            elif not _was_written(tx, worker_id, wanted):
                lost.append(wanted.lease)
        _record(tx, worker_id, written)
        return lost


def _claim(
    tx: Tx,
    worker_id: WorkerId,
    wanted: Mapping[bool, int],
    queues: Sequence[str],
    awaited: str | None = None,
) -> tuple[list[Claim] | None, str | None]:
    """Return what is claimed, None for a dead worker, and a key that was passed over, if any was.

    It waits for the `awaited` one first; that only a transaction may do that has changed nothing.
    """
    if not any(wanted.values()):
        return [], None
    keys = Keys(tx, awaited)
    claims = claim(tx, worker_id, wanted, queues, keys)
    if not claims and tx.row("living_worker", worker_id=worker_id) is None:
        return None, None
    return claims, keys.passed


def _believed(
    tx: Tx, worker_id: WorkerId, settlements: Sequence[Settlement]
) -> tuple[Sequence[Settlement], list[Lease]]:
    """Return what may be written, and the leases of what may not.

    Whoever holds a worker for dead kills what it runs: the end that it tells of now may be that
    very kill. So only its successes count, and what a reaper writes in its name.
    """
    doubtful = [s for s in settlements if s.outcome is not _SUCCEEDED and not s.reaped]
    if not doubtful or tx.row("living_worker", worker_id=worker_id) is not None:
        return settlements, []
    lost = [s.lease for s in doubtful if not _was_written(tx, worker_id, s)]
    return [s for s in settlements if s.outcome is _SUCCEEDED or s.reaped], lost


class _SomeLost(Exception):
    """Tell that not every attempt of a batch was still held; which, a second look finds out."""


def _end_all(tx: Tx, settlements: Sequence[Settlement]) -> None:
    """Take the runs out of the hands of their attempts; raises _SomeLost unless all held them."""
    by_attempt: dict[int, list[str]] = {}
    for settled in settlements:
        by_attempt.setdefault(settled.attempt, []).append(settled.run_id)
    for attempt, run_ids in by_attempt.items():
        if tx.execute("end_all_live", attempt=attempt, run_ids=run_ids) != len(run_ids):
            raise _SomeLost


def _record(tx: Tx, worker_id: WorkerId, written: Sequence[Settlement]) -> None:
    """Write how attempts ended: those that ended their run with it, the others on their own."""
    rows: dict[str, list[dict[str, Any]]] = {
        "end_succeeded": [],
        "end_run": [],
        "insert_attempt": [],
    }
    for settled in written:
        if settled.outcome is _SUCCEEDED and settled.usage is None and settled.peak_rss is None:
            query, row = "end_succeeded", _brief_row(settled)
        else:
            query = "end_run" if settled.state in FINAL_STATES else "insert_attempt"
            row = _row(tx, settled)
        row["worker_id"] = worker_id
        rows[query].append(row)
        if settled.concurrency_key is not None:
            hand_on(tx, settled.concurrency_key)
    for query, of_query in rows.items():
        tx.many(query, of_query)


def _brief_row(settled: Settlement) -> dict[str, Any]:
    return {
        "run_id": settled.run_id,
        "state": "succeeded",
        "attempt": settled.attempt,
        "outcome": "succeeded",
        "failures": settled.failures,
        "crashes": settled.crashes,
        "result": settled.result,
        "started_at": settled.started_at,
        "finished_at": settled.finished_at,
        "cpu_ms": settled.cpu_ms,
        "logged": int(settled.logged),
    }


def _row(tx: Tx, settled: Settlement) -> dict[str, Any]:
    row = msgspec.structs.asdict(settled)
    if settled.state is RunState.QUARANTINED:
        row["error"] = _causes(tx, settled)
    if settled.usage is not None:
        row["usage"] = _encode(settled.usage)
    row["outcome"] = settled.outcome._value_  # the driver adapts what is not a plain text
    row["state"] = settled.state._value_
    row["logged"] = int(settled.logged)
    return row


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


def _causes(tx: Tx, settled: Settlement) -> str:
    """Return the error of a quarantined run: the cause of each of its crashes."""
    crashed = settled.outcome == AttemptOutcome.CRASHED
    rows = tx.rows(
        "certificates_of_run",
        run_id=settled.run_id,
        outcome=settled.outcome.value,
        limit=max(0, (settled.crashes if crashed else settled.losses) - 1),
    )
    causes = {attempt: _brief(paper) for attempt, paper in rows[::-1]}
    last = settled.certificate
    causes[settled.attempt] = settled.error or "" if last is None else _brief(last)
    return quarantine(causes, what="crash" if crashed else "lost worker")


def _brief(certificate: str) -> str:
    return brief(msgspec.json.decode(certificate, type=Certificate))


def _was_written(tx: Tx, worker_id: WorkerId, wanted: Settlement) -> bool:
    """Tell whether an earlier try has gone through and only its answer was lost."""
    row = tx.row("ending_of_attempt", run_id=wanted.run_id, attempt=wanted.attempt)
    return row == (worker_id, wanted.outcome.value, wanted.finished_at)


def _encode(usage: Usage) -> str:
    return msgspec.json.encode(usage).decode()


def _returned(settled: Settlement) -> dict[str, Any]:
    return {
        "run_id": settled.run_id,
        "attempt": settled.attempt,
        "state": settled.state.value,
        "due_at": settled.due_at,
        "failures": settled.failures,
        "crashes": settled.crashes,
        "losses": settled.losses,
        "shared": int(settled.shared),
    }
