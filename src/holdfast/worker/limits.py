"""Hold attempts to their limits: time, memory, and the patience after being asked to stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from holdfast.core.verdict import Asked
from holdfast.worker import proc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.config import WorkerSettings
    from holdfast.worker.child import Child
    from holdfast.worker.held import Held

CLOSE_LOOK = 0.05  # seconds between memory samples where there is a limit
LOOK = 1.0  # where there is none: only for the record
_STACK_SECONDS = 0.1  # how long a process may take to write down where it hangs


class Limits:
    """Look at the running attempts and stop those that went too far."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._grace = settings.grace_seconds
        self._next_sample: dict[int, float] = {}
        self._oom_kills = proc.oom_kills()
        self._oom_read = time.monotonic()

    def check(self, children: Sequence[Child], now: float) -> float:
        """Stop what is over its limits and return when to look again, monotonic."""
        again = now + LOOK
        self._count_oom_kills(now)
        for child in list(children):
            for held in child.running:
                again = min(again, self._check(child, held, now))
        self._forget(children)
        return again

    def ask(self, child: Child, held: Held, asked: Asked) -> None:
        """Ask an attempt to stop; it is killed when the grace is over."""
        if held.asked is None:
            held.asked = asked
            held.kill_at = time.monotonic() + self._grace
            child.stop(held.lease, asked.reason)

    def oom_kills_since(self) -> int:
        """Return how many out-of-memory kills the kernel counted since the last look."""
        return proc.oom_kills() - self._oom_kills

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
        pause = LOOK if limit is None else CLOSE_LOOK
        due = self._next_sample.get(child.pid, held.started + pause)
        if now < due:
            return min(due, now + pause)
        used = proc.resident_bytes(child.pid)
        held.peak_rss = max(held.peak_rss, used)
        self._next_sample[child.pid] = now + pause
        if limit is not None and used > limit:
            held.asked = Asked("memory", limit=limit)
            self.kill(child)
        return now + pause

    def _count_oom_kills(self, now: float) -> None:
        if now - self._oom_read >= LOOK:
            self._oom_kills, self._oom_read = proc.oom_kills(), now

    def _forget(self, children: Sequence[Child]) -> None:
        pids = {child.pid for child in children}
        self._next_sample = {pid: at for pid, at in self._next_sample.items() if pid in pids}
