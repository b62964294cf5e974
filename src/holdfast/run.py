"""Hold the handle that users keep: one run, read afresh from the store at every look."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from holdfast.core.errors import ResultTimeout, RunNotFound, RunNotSucceeded
from holdfast.core.models import AttemptRecord, Lease, Progress, RunRecord, TaskOptions
from holdfast.core.payload import decode_result
from holdfast.core.states import LIVE_STATES, RunState
from holdfast.logs import PartOptions, lines_of, part_of
from holdfast.search import Pattern, search
from holdfast.tasks import Duration, with_limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.core.ids import RunId
    from holdfast.core.models import LogChunk, LogLine
    from holdfast.core.retry import RetryPolicy
    from holdfast.core.usage import Usage
    from holdfast.store import Store

_LONGEST_POLL = 0.25  # seconds


class Run:
    """Follow one run: its state, its attempts, its log, its result."""

    def __init__(self, run_id: RunId, store: Store, *, joined: bool = False) -> None:
        self.id = run_id
        self._store = store
        self._joined = joined  # to a transaction of which we do not know how it has ended

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def record(self) -> RunRecord:
        """Return everything the store knows now.

        Raises RunNotFound once it is deleted, and as long as the transaction in which it was
        enqueued is not committed.
        """
        try:
            record = self._store.runs.get(self.id)
        except RunNotFound as error:
            if not self._joined:
                raise
            raise RunNotFound(run_id=self.id, joined=True) from error
        self._joined = False
        return record

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
    def usage(self) -> Usage | None:
        """Return what the running attempt has taken of memory and processors so far.

        It is stored every few seconds. That of ended attempts is with `attempts`.
        """
        return self.record.usage

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

    def log(self, attempt: int | None = None, **part: Unpack[PartOptions]) -> bytes:
        """Return the bytes that an attempt (the last one) has written so far, as they were.

        A part of them is chosen by `lines=(1000, 1100)` (counted from 1), `tail=50` (lines),
        `since` and `until` ("10m" ago, a datetime), `stream="err"` or "out" or "log", and
        `offset`; all that are given count. Raises BadOption for what cannot be.
        """
        return b"".join(chunk.data for chunk in self.log_chunks(attempt, **part))

    def log_chunks(
        self, attempt: int | None = None, **part: Unpack[PartOptions]
    ) -> Iterator[LogChunk]:
        """Yield the stored log of an attempt (the last one), or a part of it, in bounded memory."""
        return part_of(part).chunks(self._store.logs, self._lease(attempt))

    def log_lines(
        self, attempt: int | None = None, **part: Unpack[PartOptions]
    ) -> Iterator[LogLine]:
        """Yield the same line by line, each with its number, offset, stream and time."""
        return lines_of(self.log_chunks(attempt, **part))

    def search_log(
        self,
        text: str,
        attempt: int | None = None,
        *,
        regex: bool = False,
        ignore_case: bool = False,
        context: int = 0,
        **part: Unpack[PartOptions],
    ) -> Iterator[LogLine]:
        """Yield the lines of a log that hold a text, and so many lines around each.

        `hits` of a line says where in the log the text stands; it is empty for the lines around.
        Memory is bounded. Raises BadOption for an expression that is none, SearchTooSlow for one
        that needs more than a second for one line.
        """
        pattern = Pattern(text, regex=regex, ignore_case=ignore_case)
        return search(self.log_chunks(attempt, **part), pattern, context)

    def _lease(self, attempt: int | None) -> Lease:
        return Lease(self.id, self.record.attempt if attempt is None else attempt)

    def cancel(self, *, by: str = "the application") -> RunState:
        """Cancel the run: at once while it waits, else its worker stops it.

        Returns `cancelled`, or `running` while the attempt is being stopped. Raises NotAllowed
        when it has ended.
        """
        if self._joined:  # in that transaction an SQLite store would wait for itself
            self.record  # noqa: B018 - it raises
        return self._store.runs.cancel(self.id, by=by)

    def retry(
        self,
        *,
        timeout: Duration | None = None,
        memory: int | str | None = None,
        retries: int | RetryPolicy | None = None,
        crashes: int | None = None,
    ) -> None:
        """Queue the ended run again, with fresh budgets, and with other limits where given.

        Raises BadOption for a limit that is not possible, NotAllowed while the run waits or runs.
        """
        old = msgspec.json.decode(self.record.options, type=TaskOptions)
        new = with_limits(old, timeout=timeout, memory=memory, retries=retries, crashes=crashes)
        options = None if new == old else msgspec.json.encode(new).decode()
        self._store.runs.retry(self.id, options=options)
