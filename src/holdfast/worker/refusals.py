"""Write outcomes of which the store refuses some, so that none keeps the others from their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.core.events import OutcomeRefused, emit
from holdfast.core.states import AttemptOutcome, RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.ids import WorkerId
    from holdfast.core.models import Lease, Settlement
    from holdfast.store.leases import Leases


def settle_apart(
    leases: Leases, worker_id: WorkerId, settlements: Sequence[Settlement]
) -> tuple[list[Lease], list[Lease]]:
    """Write outcomes of which the store refuses some; return what is lost and what is refused.

    A refused outcome is replaced by its bare failure, so that the run ends and says why. If even
    that is refused, the run stays as it is.
    """
    lost, refused = leases.settle_apart(worker_id, settlements)
    bare = [_bare(s, refused[s.lease]) for s in settlements if s.lease in refused]
    more_lost, still_refused = leases.settle_apart(worker_id, bare)
    for lease, problem in refused.items():
        emit(OutcomeRefused(*lease, problem))
    return lost + more_lost, list(still_refused)


def _bare(settlement: Settlement, problem: str) -> Settlement:
    return msgspec.structs.replace(
        settlement,
        outcome=AttemptOutcome.FAILED,
        state=RunState.FAILED,
        due_at=None,
        result=None,
        error=f"Its outcome was {settlement.outcome.value}, but the store refuses it: {problem}.",
        certificate=None,
        usage=None,
    )
