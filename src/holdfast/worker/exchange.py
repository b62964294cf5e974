"""Exchange with the store: outcomes go there and claims come back, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.errors import StoreRefused, StoreUnavailable
from holdfast.core.events import AttemptFenced, StoreAway, StoreBack, emit
from holdfast.worker.held import Held
from holdfast.worker.refusals import settle_apart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.core.clock import Clock
    from holdfast.core.ids import WorkerId
    from holdfast.core.models import Claim, Lease
    from holdfast.store import Store
    from holdfast.worker.desk import Desk
    from holdfast.worker.pool import Pool

_FIRST_PAUSE = 0.1  # seconds before the first try while it is away; then twice as long each time
_LONGEST_PAUSE = 1.0
_AT_ONCE = 500  # attempts that nobody here has heard of


class Exchange:
    """Bring the outcomes of the desk to the store, and new attempts from there."""

    def __init__(
        self,
        store: Store,
        worker_id: WorkerId,
        queues: Sequence[str],
        desk: Desk,
        pool: Pool,
        clock: Clock,
    ) -> None:
        self._store = store
        self._worker_id = worker_id
        self._queues = queues
        self._desk = desk
        self._pool = pool
        self._clock = clock
        self._away_until: float | None = None  # monotonic, while the store is away
        self._pause = _FIRST_PAUSE
        self.fenced = False  # whether others hold this worker for dead
        self._in_doubt = False  # whether a claim may be committed that we have not heard of
        self._refused: set[Lease] = set()  # what the store lets nobody end

    def next_try(self, now: float) -> float:
        """Return when the store may be asked, monotonic."""
        return now if self._away_until is None else max(now, self._away_until)

    def run(self, wanted: Mapping[bool, int], now: float) -> list[Claim] | None:
        """Write all outcomes and claim; None when the store is away or this worker is `fenced`."""
        if now < self.next_try(now):
            return None
        try:
            if self._in_doubt:
                self._take_up(now)
            lost, claims = self._write(wanted)
        except (StoreUnavailable, StoreRefused) as error:
            self._lose(error)
            return None
        self._find()
        for lease in lost:
            emit(AttemptFenced(*lease))
        self._desk.settlements.clear()
        self.fenced = claims is None
        return claims

    def _write(self, wanted: Mapping[bool, int]) -> tuple[list[Lease], list[Claim] | None]:
        leases, settlements = self._store.leases, self._desk.settlements
        try:
            return leases.settle_and_claim(self._worker_id, settlements, wanted, self._queues)
        except StoreRefused:
            if not settlements:
                raise
            lost, refused = settle_apart(leases, self._worker_id, settlements)
            self._refused.update(refused)
            return lost, []

    def _take_up(self, now: float) -> None:
        """Take what was claimed for us in an exchange whose answer was lost: it has not begun."""
        claims = [claim for claim in self.unknown() if claim.lease not in self._refused]
        for claim in claims:
            whole = claim._replace(arguments=self._store.runs.get(claim.run_id).arguments)
            self._desk.backlog.append(Held(whole, held_since=now))
        self._in_doubt = bool(claims)  # there may be more

    def unknown(self) -> list[Claim]:
        """Return attempts of ours that nobody here has heard of, without their arguments."""
        known = {held.lease for held in (*self._pool.held(), *self._desk.backlog)}
        known.update(settlement.lease for settlement in self._desk.settlements)
        claims = self._store.leases.held(self._worker_id, len(known) + _AT_ONCE)
        return [claim for claim in claims if claim.lease not in known]

    def _lose(self, error: StoreUnavailable | StoreRefused) -> None:
        self._in_doubt |= isinstance(error, StoreUnavailable) and error.unknown
        if self._away_until is None:
            emit(StoreAway(len(self._desk.settlements), error.problem))
            self._pause = _FIRST_PAUSE
        self._away_until = self._clock.monotonic() + self._pause
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause)

    def _find(self) -> None:
        if self._away_until is not None:
            self._away_until = None
            emit(StoreBack())
