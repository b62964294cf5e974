"""Follow the log of a run: one stream addressed by byte offsets, without gap or repetition."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from holdfast.core.models import AttemptRecord, Lease, LogChunk, LogEnd, RunRecord
from holdfast.core.states import LIVE_STATES, RunState

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from holdfast.core.ids import RunId
    from holdfast.store import Store

PATIENCE_SECONDS = 5.0  # how long a shipper usually needs at most to send the rest of a log
_RENEW_SECONDS = 5.0  # how often interest is renewed
NOTHING_WRITTEN = LogEnd(size=0, lines=0, crc=0, missing=None)


class Quiet(NamedTuple):
    """Say that nothing new was there at this look: the moment to see to other things."""

    run: RunRecord
    ended: AttemptRecord | None  # the attempt has ended, but the end of its log is not here yet
    seconds: float  # since the last change
    offset: int  # up to where the log was yielded


Item: TypeAlias = tuple[int, LogChunk | LogEnd | Quiet]


def follow(
    store: Store,
    run_id: RunId,
    *,
    attempt: int | None = None,
    first: int = 1,
    offset: int = 0,
    poll: float = 0.05,
    patience: float = PATIENCE_SECONDS,
) -> Iterator[Item]:
    """Yield the log of a run with the number of the attempt, until it is complete.

    First come the chunks of an attempt in their order, then its LogEnd; then the next attempt,
    until the run has ended. With `attempt`, only that one; else from the `first` one on. `offset`
    is the first byte wanted of the first attempt. Whenever there is nothing to read, one Quiet is
    yielded before the wait of `poll` seconds, so that a caller keeps control; ignore it freely.

    A log whose end is missing `patience` seconds after its attempt ended, because its host is
    away, does not hold up the attempts after it: they are read, and it is waited for at the end.
    Memory is bounded. Raises RunNotFound when the run is deleted meanwhile.
    """
    follower = _Follower(store, run_id, attempt)
    follower.open(attempt or first, offset)
    return follower.items(poll, patience)


@dataclass
class _Log:
    """Keep how far the log of one attempt was yielded."""

    attempt: int
    offset: int = 0
    ended: AttemptRecord | None = None
    complete: bool = False
    changed_at: float = field(default_factory=time.monotonic)

    def quiet_seconds(self) -> float:
        """Return how long nothing of it has changed."""
        return time.monotonic() - self.changed_at

    def is_settled(self, patience: float) -> bool:
        """Tell whether the attempts after it need not wait for it: complete, or late."""
        return self.complete or (self.ended is not None and self.quiet_seconds() > patience)


class _Follower:
    def __init__(self, store: Store, run_id: RunId, only: int | None) -> None:
        self._store = store
        self._run_id = run_id
        self._only = only
        self._logs: list[_Log] = []  # not complete yet, oldest first
        self._newest = 0
        self._watched_at: float | None = None

    def open(self, attempt: int, offset: int = 0) -> None:
        """Add the log of an attempt, which may not have begun."""
        self._newest = attempt
        self._logs.append(_Log(attempt, offset))

    def items(self, poll: float, patience: float) -> Iterator[Item]:
        """Yield until no log is left to wait for."""
        while True:
            moved = yield from self._read(patience)
            run = None if moved else self._store.runs.get(self._run_id)
            if run is None or self._learn(run, patience):
                continue
            if not self._logs:
                return
            log = self._logs[0]
            yield log.attempt, Quiet(run, log.ended, log.quiet_seconds(), log.offset)
            self._watch()
            time.sleep(poll)

    def _read(self, patience: float) -> Generator[Item, None, bool]:
        """Yield what is new in the logs and return whether there was anything."""
        moved = False
        for log in self._logs:
            moved |= yield from self._drain(log)
            if not log.is_settled(patience):
                break
        self._logs = [log for log in self._logs if not log.complete]
        return moved

    def _drain(self, log: _Log) -> Generator[Item, None, bool]:
        """Yield what is new in one log and return whether there was anything."""
        lease = Lease(self._run_id, log.attempt)
        moved = False
        while not log.complete:
            chunks = self._store.logs.read(lease, log.offset)
            if not chunks:
                end = self._end(log, lease)
                if end is None:
                    break
                # The end is stored with the last chunk or after it: now all of them are there.
                chunks = self._store.logs.read(lease, log.offset)
                if not chunks:
                    log.complete = True
                    yield log.attempt, end
            for chunk in chunks:
                log.offset = chunk.start + len(chunk.data)
                yield log.attempt, chunk
            moved = True
            log.changed_at = time.monotonic()
            if self._watched_at is not None:
                self._watch()
        return moved

    def _end(self, log: _Log, lease: Lease) -> LogEnd | None:
        if log.ended is not None and not log.ended.logged:
            return NOTHING_WRITTEN
        return self._store.logs.end(lease)

    def _learn(self, run: RunRecord, patience: float) -> bool:
        """Take in how the run stands; True when there may be more to read now."""
        before = self._newest
        is_final = run.state not in LIVE_STATES
        more = self._only is None and (not is_final or self._newest < run.attempt)
        if more and all(log.is_settled(patience) for log in self._logs):
            self.open(self._newest + 1)
        ended = [log for log in self._logs if log.ended is None and self._has_ended(run, log)]
        if is_final:  # an attempt that has not begun by now never will
            self._logs = [log for log in self._logs if log.ended is not None]
        return bool(ended) or before < self._newest <= run.attempt

    def _has_ended(self, run: RunRecord, log: _Log) -> bool:
        """Find the record of an attempt, once the run has left it."""
        if log.attempt > run.attempt or (run.state, run.attempt) == (RunState.RUNNING, log.attempt):
            return False
        found = [a for a in self._store.runs.attempts(self._run_id) if a.attempt == log.attempt]
        if found:
            log.ended = found[0]
            log.changed_at = time.monotonic()
        return bool(found)

    def _watch(self) -> None:
        """Tell the shipper, now and then, that somebody looks: it sends at once."""
        now = time.monotonic()
        if self._watched_at is None or now - self._watched_at > _RENEW_SECONDS:
            self._store.logs.watch(self._run_id)
            self._watched_at = now
