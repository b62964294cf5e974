"""Follow a run in the terminal: its log byte for byte, its end as exit code."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from holdfast.cli import errors
from holdfast.cli.errors import say
from holdfast.cli.options import user
from holdfast.core.errors import NotAllowed
from holdfast.core.models import LogChunk, LogEnd, Stream
from holdfast.core.states import LIVE_STATES, AttemptOutcome, RunState
from holdfast.follow import PATIENCE_SECONDS, Quiet, follow
from holdfast.why import explain, read_certificate

if TYPE_CHECKING:
    from types import FrameType

    from holdfast.core.ids import RunId
    from holdfast.core.models import AttemptRecord, RunRecord
    from holdfast.store import Store

_UNSERVED_SECONDS = 2.0  # a run that waits longer makes the person wonder why


def write_apart(chunk: LogChunk) -> None:
    """Write a chunk where the command wrote it: standard output, or standard error."""
    _write(sys.stdout.buffer if chunk.stream == Stream.OUT else sys.stderr.buffer, chunk.data)


def write_merged(chunk: LogChunk) -> None:
    """Write a chunk to standard output, whatever stream it came from."""
    _write(sys.stdout.buffer, chunk.data)


def _write(out: BinaryIO, data: bytes) -> None:
    out.write(data)
    out.flush()


class Viewer:
    """Print the log of a run while it grows, and tell the person what else happens."""

    def __init__(
        self, store: Store, run_id: RunId, *, write: Callable[[LogChunk], None], wait: bool = True
    ) -> None:
        self.complete = True  # whether everything that was written has been printed
        self._store = store
        self._run_id = run_id
        self._write = write
        self._wait = wait
        self._started = time.monotonic()
        self._told: set[object] = set()
        self._attempt = 0

    def print_log(self, attempt: int | None, interrupts: Interrupts | None = None) -> None:
        """Print until the log is complete; without `wait`, not for an end that is late."""
        for number, item in follow(self._store, self._run_id, attempt=attempt):
            if interrupts is not None:
                interrupts.act(self._store, self._run_id)
            match item:
                case LogChunk():
                    self._headline(number)
                    self._write(item)
                case LogEnd():
                    self.tell_end(number, item)
                case Quiet():
                    self._see_to(number, item)
                    if self._is_given_up(item):
                        self.complete = False
                        return

    def tell_end(self, number: int, end: LogEnd) -> None:
        """Say what is missing of a log, if anything is."""
        if end.missing is not None:
            say(f"holdfast: the log of attempt {number} has a hole: {end.missing}")

    def _headline(self, number: int) -> None:
        if number != self._attempt > 0:
            say(f"holdfast: attempt {number}:")
        self._attempt = number

    def _see_to(self, number: int, quiet: Quiet) -> None:
        waited = time.monotonic() - self._started
        waits = quiet.run.state in (RunState.QUEUED, RunState.SCHEDULED)
        if waits and quiet.run.attempt == 0 and waited > _UNSERVED_SECONDS:
            self._tell("waits", explain(self._store, quiet.run).sentence)
        if quiet.ended is not None and quiet.seconds > PATIENCE_SECONDS:
            worker = self._store.workers.get(quiet.ended.worker_id)
            host = worker.host if worker else "a host that is forgotten"
            self._tell(
                ("late", number),
                f"The log of attempt {number} is not complete: after byte {quiet.offset} the rest "
                f"is still on {host}, and comes when a worker runs there.",
            )

    def _tell(self, about: object, sentence: str) -> None:
        if about not in self._told:
            self._told.add(about)
            say(f"holdfast: run {self._run_id}: {sentence}")

    def _is_given_up(self, quiet: Quiet) -> bool:
        is_final = quiet.run.state not in LIVE_STATES
        return is_final and not self._wait and quiet.seconds > PATIENCE_SECONDS


class Interrupts:
    """Make the first Ctrl-C cancel the run, and the second leave it.

    It begins before the run is enqueued: from then on no Ctrl-C leaves a run behind unnoticed.
    """

    def __init__(self) -> None:
        self._count = 0
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        """Count only: the store must not be touched while it may be in use."""
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt

    def act(self, store: Store, run_id: RunId) -> None:
        """Ask to cancel the run if Ctrl-C was pressed since."""
        if not self._count or self._asked:
            return
        self._asked = True
        say(f"holdfast: cancelling run {run_id}; Ctrl-C again leaves it.")
        try:
            store.runs.cancel(run_id, by=user())
        except NotAllowed:
            return  # it has just ended


def exit_code_of(run: RunRecord, attempts: list[AttemptRecord]) -> int:
    """Return the exit code that a shell would see, had it run the command itself."""
    if run.state == RunState.SUCCEEDED:
        return errors.OK
    if run.state == RunState.CANCELLED:
        return errors.INTERRUPTED
    if not attempts:
        return errors.FAILED
    if attempts[-1].outcome == AttemptOutcome.TIMED_OUT:
        return errors.TIMED_OUT
    certificate = read_certificate(attempts[-1])
    if certificate is None:
        return errors.FAILED
    if certificate.evidence.signal is not None:
        return errors.KILLED + certificate.evidence.signal
    return certificate.evidence.exit_code or errors.FAILED


def follow_to_the_end(store: Store, run_id: RunId, interrupts: Interrupts) -> int:
    """Print what a run writes until it has ended, and return its exit code."""
    try:
        Viewer(store, run_id, write=write_apart).print_log(None, interrupts)
    except BrokenPipeError:
        say(f"holdfast: nobody reads this output any more; run {run_id} goes on.")
        raise
    finally:
        interrupts.act(store, run_id)
    run = store.runs.get(run_id)
    attempts = store.runs.attempts(run_id)
    certificate = read_certificate(attempts[-1]) if attempts else None
    by_itself = certificate is not None and certificate.verdict.startswith("exit(")
    if run.state != RunState.SUCCEEDED and not by_itself:
        say(f"holdfast: run {run_id}: {explain(store, run).sentence}")
    return exit_code_of(run, attempts)
