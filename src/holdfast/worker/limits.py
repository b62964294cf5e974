"""Hold attempts to their limits: time, memory, and the patience after being asked to stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from holdfast.core.usage import Series
from holdfast.core.verdict import Asked
from holdfast.worker import proc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.config import WorkerSettings
    from holdfast.worker.child import Child
    from holdfast.worker.held import Held
    from holdfast.worker.oom import OomWatch

LOOK = 1.0  # seconds between looks at what an attempt takes, for the record
CLOSE_LOOK = 0.05  # where there is a limit that the kernel does not hold
CLOSEST_LOOK = 0.01  # where half of it is used
FIRST_LOOK = 0.1  # after its start: a shorter attempt is not looked at
_STACK_SECONDS = 0.1  # how long a process may take to write down where it hangs


class Limits:
    """Look at the running attempts and stop those that went too far."""

    def __init__(self, settings: WorkerSettings, oom: OomWatch) -> None:
        self._grace = settings.grace_seconds
        self._oom = oom

    def check(self, children: Sequence[Child], now: float) -> float:
        """Stop what is over its limits and return when to look again, monotonic."""
        again = now + LOOK
        self._oom.look(now, children)
        for child in list(children):
            for held in child.running:
                again = min(again, self._check(child, held, now))
        return again

    def ask(self, child: Child, held: Held, asked: Asked) -> None:
        """Ask an attempt to stop; it is killed when the grace is over."""
        if held.asked is None:
            held.asked = asked
            held.kill_at = time.monotonic() + self._grace
            child.stop(held.lease, asked.reason)

    def kill(self, child: Child) -> None:
        """Kill an executor with everything below it."""
        running = child.running
        for one in running:
            # Where a loop is blocked, all in it seem late, and nobody can tell who blocks it:
            # each runs alone next, and then one can.
            if len(running) > 1 and (one.asked is None or one.asked.reason == "timeout"):
                one.asked = Asked("neighbour")
        child.retired = True
        child.kill()

    def _check(self, child: Child, held: Held, now: float) -> float:
        deadline = held.deadline()
        if deadline is not None and now >= deadline:
            self.ask(child, held, Asked("timeout", limit=held.options.timeout or 0))
        if held.kill_at is not None and now >= held.kill_at and not child.retired:
            self._lose_patience(child, held, now)
        times = (held.deadline(), None if child.retired else held.kill_at)
        return min(*(t for t in times if t is not None), self._sample(child, held, now), now + LOOK)

    def _lose_patience(self, child: Child, held: Held, now: float) -> None:
        if held.stack_asked:
            self.kill(child)
        else:
            child.dump_stack()
            held.stack_asked = True
            held.kill_at = now + _STACK_SECONDS

    def _sample(self, child: Child, held: Held, now: float) -> float:
        limit = held.options.memory
        if child.shared or held.started is None or child.retired:
            return now + LOOK
        due = held.look_at or held.started + (FIRST_LOOK if limit is None else CLOSE_LOOK)
        if now < due:
            return due
        used, cpu = proc.usage(child.pid)
        held.peak_rss = max(held.peak_rss, used)
        held.series = held.series or Series()
        held.series.look(now, used, cpu)
        held.look_at = now + LOOK
        if limit is not None and not self._kernel_holds(child, held, limit):
            held.look_at = now + (CLOSE_LOOK if used < limit / 2 else CLOSEST_LOOK)
            if used > limit and proc.proportional_bytes(child.pid) > limit:
                held.asked = Asked("memory", limit=limit)
                self.kill(child)
        return held.look_at

    def _kernel_holds(self, child: Child, held: Held, limit: int) -> bool:
        """Tell whether the executor's cgroup has the limit, so that nobody else need enforce it."""
        held.bound = held.bound or child.group.holds(child.pid, limit)
        return held.bound
