"""Claim runs: find those that a worker can carry out, in their order, and take them.

A worker looks only where something is that it knows: `lane` names the pairs of queue and task that
there have ever been, and the claim index begins with them. So a million waiting runs of tasks that
this worker does not know cost it nothing.
"""

from __future__ import annotations

from collections import Counter
from heapq import nsmallest
from typing import TYPE_CHECKING

from holdfast.core.models import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from holdfast.core.ids import WorkerId
    from holdfast.store.database import Row, Tx
    from holdfast.store.queries import Values

    Lane = tuple[str, str]  # queue and task
    Take = Callable[[Mapping[bool, int], int], list[Row]]  # (wanted, budget)

# Columns of claim_candidates; the last two follow Claim's.
_ARGUMENTS, _SHARED, _KEY, _LIMIT, _PRIORITY = 4, 9, 10, 12, 13
_ROUNDS = 20  # how often a claim looks again after it met busy concurrency keys
CLAIM_BYTES = 16 << 20  # of arguments: one claim takes no more than that, and one run
_BLOCKED_AT_ONCE = 1000  # runs of a busy key that one claim takes out of its way


class Keys:
    """Hold the locks of concurrency keys in one transaction: who counts a key's runs counts alone.

    Who has locked rows or keys never waits for another key: two could wait for each other. A key
    that somebody else holds is passed over, with its runs. Only a transaction that has nothing yet
    may wait for one.
    """

    def __init__(self, tx: Tx, awaited: str | None = None) -> None:
        self._tx = tx
        self._held: set[str] = set()
        self.passed: str | None = None  # a key that somebody else held
        if awaited is not None:
            tx.execute("lock_key", concurrency_key=awaited)
            self._held.add(awaited)

    def lock(self, key: str) -> bool:
        """Tell whether a key is ours until the commit."""
        if key in self._held:
            return True
        if self._tx.row("try_key", concurrency_key=key) is None:
            if self._tx.row("key_is_known", concurrency_key=key) is not None:
                self.passed = key
                return False
            self._tx.execute("lock_key", concurrency_key=key)
        self._held.add(key)
        return True


def claim(
    tx: Tx,
    worker_id: WorkerId,
    wanted: Mapping[bool, int],
    queues: Sequence[str],
    keys: Keys | None = None,
) -> list[Claim]:
    """Take as many runs as are wanted for exclusive (False) and for shared (True) executors.

    A worker that others hold for dead gets none.
    """
    keys = keys or Keys(tx)
    take = _taker(tx, worker_id, queues)
    missing = Counter(wanted)
    taken: list[Row] = []
    budget = CLAIM_BYTES
    for _ in range(_ROUNDS):
        if budget <= 0 or not any(missing.values()):
            break
        rows = take(missing, budget)
        budget -= _weight(rows)
        mine = [row for row in rows if row[_KEY] is None or keys.lock(row[_KEY])]
        got = [row for row in mine if row[_KEY] is None or _take_one(tx, worker_id, row)]
        taken += got
        if len(got) == len(mine):
            break  # none was blocked by its key, so there are no more to find
        missing.subtract(bool(row[_SHARED]) for row in got)
    return claims_of(taken)


def claims_of(rows: Iterable[Row]) -> list[Claim]:
    """Return the claims that are in the rows of a query."""
    return [Claim._make(row[:_LIMIT]) for row in rows]


def place_across(worker_id: WorkerId, queues: Sequence[str], wanted: Mapping[bool, int]) -> Values:
    """Return the values of `claim_across`."""
    return {
        "worker_id": worker_id,
        "queues": list(queues),
        "kinds": [int(shared) for shared in wanted],
        "counts": list(wanted.values()),
        "budget": CLAIM_BYTES,
    }


def has_key(row: Row) -> bool:
    """Tell whether a run that was found has a concurrency key: then it was not taken."""
    return row[_KEY] is not None


def _taker(tx: Tx, worker_id: WorkerId, queues: Sequence[str]) -> Take:
    """Return what finds the first runs, and takes those without a concurrency key."""
    if not tx.knows("claim_across"):
        return _lane_by_lane(tx, worker_id, queues)

    def take(wanted: Mapping[bool, int], budget: int) -> list[Row]:
        place = place_across(worker_id, queues, wanted)
        return tx.rows("claim_across", **{**place, "budget": budget})

    return take


def _lane_by_lane(tx: Tx, worker_id: WorkerId, queues: Sequence[str]) -> Take:
    """Look at one lane after the other, and take what is found there together."""
    lanes = [row for row in tx.rows("lanes", worker_id=worker_id) if _serves(queues, row[0])]

    def take(wanted: Mapping[bool, int], budget: int) -> list[Row]:
        taken: list[Row] = []
        for shared, count in wanted.items():
            fitting = [(queue, task) for queue, task, may_share in lanes if may_share or not shared]
            if not fitting or count <= 0:
                continue
            rows: list[Row] = []
            for (queue, task), share in _shares(tx, fitting, shared=shared, limit=count):
                place = {"queue": queue, "task": task, "shared": int(shared), "limit": share}
                found = list(_within(budget, tx.each("claim_candidates", **place)))
                budget -= _weight(found)
                rows += found
            taken += sorted(rows, key=_order) if len(fitting) > 1 else rows
        if run_ids := [row[0] for row in taken if row[_KEY] is None]:
            changed = tx.execute("claim_all", worker_id=worker_id, run_ids=run_ids)
            assert changed == len(run_ids), "who writes finds again what it has found"
        return taken

    return take


def _weight(rows: Iterable[Row]) -> int:
    return sum(len(row[_ARGUMENTS]) for row in rows)


def _order(row: Row) -> tuple[int, str]:
    return -row[_PRIORITY], row[0]


def _serves(queues: Sequence[str], name: str) -> bool:
    return "*" in queues or name in queues


def _within(budget: int, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows until their arguments have so many characters; they may be large."""
    for row in rows:
        if budget <= 0:
            return
        budget -= len(row[_ARGUMENTS])
        yield row


def _shares(
    tx: Tx, lanes: Sequence[Lane], *, shared: bool, limit: int
) -> Iterable[tuple[Lane, int]]:
    """Return how many runs of each lane are among the first of all: priority, then age."""
    if len(lanes) == 1:
        return [(lanes[0], limit)]
    heads: list[tuple[int, str, Lane]] = []
    for lane in lanes:
        queue, task = lane
        rows = tx.rows("claim_heads", queue=queue, task=task, shared=int(shared), limit=limit)
        heads += [(-priority, run_id, lane) for priority, run_id in rows]
    return Counter(lane for _, _, lane in nsmallest(limit, heads)).items()


def _take_one(tx: Tx, worker_id: WorkerId, row: Row) -> bool:
    if has_slot(tx, row[_KEY], row[_LIMIT]):
        return tx.execute("claim", run_id=row[0], worker_id=worker_id) == 1
    _block(tx, row[_KEY])
    return False


def has_slot(tx: Tx, key: str, limit: int) -> bool:
    """Tell whether one more run of a key may run; who asks has locked the key."""
    busy = tx.row("running_with_key", concurrency_key=key)
    return busy is None or busy[0] < limit


def _block(tx: Tx, key: str) -> None:
    """Take the first runs of a busy key out of the way; not those that others look at just now."""
    rows = tx.rows("first_of_key", concurrency_key=key, limit=_BLOCKED_AT_ONCE)
    if rows:
        tx.execute("block_all", run_ids=[row[0] for row in rows])


def hand_on(tx: Tx, key: str) -> int:
    """Let the first run that waits for a concurrency key be claimed; return how many there were."""
    row = tx.row("blocked_with_key", concurrency_key=key)
    return tx.execute("unblock", run_id=row[0]) if row is not None else 0
