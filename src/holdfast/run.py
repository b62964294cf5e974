"""Hold the handle that users keep: one run, read afresh from the store at every look."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.errors import ResultTimeout, RunNotSucceeded
from holdfast.core.models import AttemptRecord, Lease, Progress, RunRecord, TaskOptions
from holdfast.core.payload import decode_result
from holdfast.core.states import LIVE_STATES, RunState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.core.ids import RunId
    from holdfast.core.models import LogChunk
    from holdfast.store import Store

_LONGEST_POLL = 0.25  # seconds


class Run:
    """Follow one run: its state, its attempts, its log, its result."""

    def __init__(self, run_id: RunId, store: Store) -> None:
        self.id = run_id
        self._store = store

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def record(self) -> RunRecord:
        """Return everything the store knows now; raises RunNotFound once it is deleted."""
        return self._store.runs.get(self.id)

    @property
    def state(self) -> RunState:
        """Return where the run stands now."""
        return self.record.state

    @property
    def is_finished(self) -> bool:
        """Tell whether the run has ended, one way or the other."""
        return self.state not in LIVE_STATES

    @property
    def progress(self) -> Progress | None:
        """Return what the running task last said of its progress."""
        text = self.record.progress
        return msgspec.json.decode(text, type=Progress) if text else None

    @property
    def attempts(self) -> list[AttemptRecord]:
        """Return the attempts that have ended, the first first."""
        return self._store.runs.attempts(self.id)

    def result(self, timeout: float | None = None) -> Any:
        """Wait until the run has ended and return its result.

        Raises RunNotSucceeded when it ended otherwise, ResultTimeout after `timeout` seconds
        (the run goes on); None waits without end.
        """
        record = self.wait(timeout)
        if record.state != RunState.SUCCEEDED:
            reason = record.error or "no reason was stored"
            raise RunNotSucceeded(run_id=self.id, state=record.state, reason=reason)
        return decode_result(record.result or "null")

    def wait(self, timeout: float | None = None) -> RunRecord:
        """Wait until the run has ended and return its record; raises ResultTimeout."""
        started = time.monotonic()
        pause = 0.002
        while (record := self.record).state in LIVE_STATES:
            if timeout is not None and time.monotonic() - started >= timeout:
                raise ResultTimeout(run_id=self.id, state=record.state, seconds=timeout)
            time.sleep(pause)
            pause = min(_LONGEST_POLL, pause * 1.5)
        return record

    def log(self, attempt: int | None = None) -> bytes:
        """Return the bytes that an attempt (the last one) has written so far, as they were."""
        return b"".join(chunk.data for chunk in self.log_chunks(attempt))

    def log_chunks(self, attempt: int | None = None, offset: int = 0) -> Iterator[LogChunk]:
        """Yield the stored log of an attempt (the last one) from a byte offset on."""
        number = self.record.attempt if attempt is None else attempt
        return self._store.logs.iterate(Lease(self.id, number), offset)

    def cancel(self, *, by: str = "the application") -> RunState:
        """Cancel the run: at once while it waits, else its worker stops it.

        Returns `cancelled`, or `running` while the attempt is being stopped. Raises NotAllowed
        when it has ended.
        """
        return self._store.runs.cancel(self.id, by=by)

    def retry(self, *, options: TaskOptions | None = None) -> None:
        """Queue the ended run again, with fresh budgets; `options` replaces its limits.

        Raises NotAllowed while it waits or runs.
        """
        text = msgspec.json.encode(options).decode() if options is not None else None
        self._store.runs.retry(self.id, options=text)
