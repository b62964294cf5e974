"""Hold what the supervisor knows of an attempt that it has claimed and not yet settled."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.models import Claim, TaskOptions
from holdfast.core.verdict import Asked

if TYPE_CHECKING:
    from holdfast.core.models import Lease
    from holdfast.core.usage import Series, Usage

# Runs of one task have the same options, letter by letter.
_options = lru_cache(maxsize=1024)(msgspec.json.Decoder(TaskOptions).decode)


@dataclass(slots=True)
class Held:
    """Follow one attempt from its claim to its end."""

    claim: Claim
    options: TaskOptions = field(init=False)
    lease: Lease = field(init=False)
    held_since: float = 0.0  # monotonic; when it was claimed
    started: float | None = None  # monotonic; None while it waits for its executor
    peak_rss: int = 0
    bound: bool = False  # the kernel holds it to its memory limit
    series: Series | None = None  # what it takes, once somebody has looked
    look_at: float = 0.0  # monotonic; when to look again
    asked: Asked | None = None  # who asked it to stop
    kill_at: float | None = None  # monotonic; when patience ends
    stack_asked: bool = False  # its executor was asked to write down where it hangs
    paused_since: float | None = None  # monotonic, while it is paused
    paused_seconds: float = 0.0  # how long it was paused before
    paused_why: str = ""  # the last time
    went_on_at: float = 0.0  # monotonic, the last time

    def __post_init__(self) -> None:
        self.options = _options(self.claim.options)
        self.lease = self.claim.lease

    def usage(self) -> Usage | None:
        """Return what it has taken so far, when that is enough to show a course."""
        return None if self.series is None else self.series.usage()

    def deadline(self) -> float | None:
        """Return when its time limit ends, monotonic; it does not run while it is paused."""
        if self.started is None or self.options.timeout is None or self.asked is not None:
            return None
        if self.paused_since is not None:
            return None
        return self.started + self.options.timeout + self.paused_seconds

    def paused_for(self) -> float:
        """Return for how many seconds it was paused."""
        since = self.paused_since
        return self.paused_seconds + (0.0 if since is None else time.monotonic() - since)

    def pause(self, why: str, now: float) -> None:
        """Note that it is paused."""
        if self.paused_since is None:
            self.paused_since, self.paused_why = now, why

    def go_on(self, now: float) -> None:
        """Note that it goes on."""
        if self.paused_since is not None:
            self.paused_seconds += now - self.paused_since
            self.paused_since, self.went_on_at = None, now
