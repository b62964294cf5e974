"""Follow a run in the terminal: its log byte for byte, its end as exit code."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, Self

from holdfast.cli import errors
from holdfast.cli.errors import say
from holdfast.cli.options import user
from holdfast.cli.printing import Bytes
from holdfast.core.errors import NotAllowed
from holdfast.core.models import Lease, LogChunk, LogEnd
from holdfast.core.states import LIVE_STATES, AttemptOutcome, RunState
from holdfast.follow import PATIENCE_SECONDS, Quiet, follow
from holdfast.logs import deletion_of
from holdfast.why import explain, read_certificate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from holdfast.cli.printing import Printer
    from holdfast.core.ids import RunId
    from holdfast.core.models import AttemptRecord, RunRecord
    from holdfast.follow import Item
    from holdfast.store import Store

_UNSERVED_SECONDS = 2.0  # a run that waits longer makes the person wonder why


class Viewer:
    """Print the log of a run while it grows, and tell the person what else happens."""

    def __init__(self, store: Store, run_id: RunId, printer: Printer, *, wait: bool = True) -> None:
        self._store = store
        self._run_id = run_id
        self._printer = printer
        self._wait = wait
        self._started = time.monotonic()
        self._told: set[object] = set()
        self._attempt = 0

    def print_log(self, items: Iterable[Item], interrupts: Interrupts | None = None) -> None:
        """Print what `follow` yields; without `wait`, stop at an end that is late."""
        for number, item in items:
            if interrupts is not None:
                interrupts.act(self._store, self._run_id)
            match item:
                case LogChunk():
                    self.headline(number)
                    self._printer.chunk(number, item)
                case LogEnd():
                    self.tell_end(number, item)
                case Quiet():
                    self._see_to(number, item)
                    if self._is_given_up(item):
                        self._printer.end(number, None)
                        return

    def tell_end(self, number: int, end: LogEnd) -> None:
        """Print the end of a log, and say what is missing, if anything is."""
        self._printer.end(number, end)
        deleted = deletion_of(Lease(self._run_id, number), end)
        if deleted is not None:
            say(f"holdfast: {deleted}")
        if end.missing is not None:
            say(f"holdfast: the log of attempt {number} has a hole: {end.missing}")
        for hole in end.holes:
            say(f"holdfast: {hole.size} bytes are missing after byte {hole.offset}.")

    def headline(self, number: int) -> None:
        """Say where another attempt begins."""
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
        Viewer(store, run_id, Bytes(apart=True)).print_log(follow(store, run_id), interrupts)
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
