"""Hold what the supervisor knows of an attempt that it has claimed and not yet settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.models import Claim, TaskOptions
from holdfast.core.verdict import Asked

if TYPE_CHECKING:
    from holdfast.core.models import Lease

_decode_options = msgspec.json.Decoder(TaskOptions).decode


@dataclass(slots=True)
class Held:
    """Follow one attempt from its claim to its end."""

    claim: Claim
    options: TaskOptions = field(init=False)
    lease: Lease = field(init=False)
    held_since: float = 0.0  # monotonic; when it was claimed
    started: float | None = None  # monotonic; None while it waits for its executor
    started_at: int = 0  # time of day, microseconds
    oom_kills: int = 0  # the kernel's count when it started
    peak_rss: int = 0
    asked: Asked | None = None  # who asked it to stop
    kill_at: float | None = None  # monotonic; when patience ends
    stack_asked: bool = False  # its executor was asked to write down where it hangs

    def __post_init__(self) -> None:
        self.options = _decode_options(self.claim.options)
        self.lease = self.claim.lease

    def deadline(self) -> float | None:
        """Return when its time limit ends, monotonic."""
        if self.started is None or self.options.timeout is None or self.asked is not None:
            return None
        return self.started + self.options.timeout
