"""Declare every way in which a history can break a promise: facts first, then one sentence.

The numbers are those of the promises that the README makes in words:

S1  every accepted run is there          S2  one end, which stays; legal moves only
S3  nothing else is there                S4  what ended was carried out
S5  nothing begins after the end         S6  every attempt has a number of its own, and is counted
S7  the result is that of the last attempt, which reached its end
S8  one dedupe key, one run              S9  the log holds every line, once, in order
S10 a fenced sink never goes back        S11 a concurrency key holds its limit
S13 every death has its true cause       S14 no process outlives its attempt
L1  every run ends                       L3  nothing fails for a reason of its own
M1  the memory of a supervisor is flat   H1  the history itself can be judged
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Finding:
    """Be one broken promise."""

    invariant: ClassVar[str]
    sentence: ClassVar[str]

    def __str__(self) -> str:
        return f"{self.invariant} {self.sentence.format_map(asdict(self))}"

    def facts(self) -> dict[str, Any]:
        """Return everything about it, for JSON."""
        kind = type(self).__name__
        return {"invariant": self.invariant, "kind": kind, **asdict(self), "sentence": str(self)}


@dataclass(frozen=True)
class RunVanished(Finding):
    run: str
    op: str
    invariant = "S1"
    sentence = "Run {run} was accepted by {op}, and the store does not have it."


@dataclass(frozen=True)
class ContentChanged(Finding):
    run: str
    field: str
    sent: str | None
    stored: str | None
    invariant = "S1"
    sentence = "Run {run} was enqueued with {field}={sent!r}, and the store has {stored!r}."


@dataclass(frozen=True)
class EndChanged(Finding):
    run: str
    op: str
    seen: tuple[str, int, str | None]
    stored: tuple[str, int, str | None]
    invariant = "S2"
    sentence = "Run {run} was {seen} when {op} looked, and is {stored} now; nobody retried."


@dataclass(frozen=True)
class EndedTwice(Finding):
    run: str
    outcomes: tuple[str, ...]
    retries: int
    invariant = "S2"
    sentence = "The attempts of run {run} ended as {outcomes}; it was retried {retries} times."


@dataclass(frozen=True)
class EndDoesNotFit(Finding):
    run: str
    state: str
    outcome: str
    invariant = "S2"
    sentence = "Run {run} is {state}, and its last attempt ended as {outcome!r}."


@dataclass(frozen=True)
class EndNotPlanned(Finding):
    run: str
    state: str
    planned: tuple[str, ...]
    invariant = "S2"
    sentence = "Run {run} is {state}; by what it was told to do it could only be one of {planned}."


@dataclass(frozen=True)
class CancelledByNobody(Finding):
    run: str
    invariant = "S2"
    sentence = "Run {run} is cancelled, and nobody asked for that."


@dataclass(frozen=True)
class WentBack(Finding):
    run: str
    first: int
    then: int
    invariant = "S2"
    sentence = "Run {run} was seen at attempt {first}, and later at attempt {then}."


@dataclass(frozen=True)
class RunFromNowhere(Finding):
    run: str
    invariant = "S3"
    sentence = "Run {run} is in the store, and nobody enqueued it."


@dataclass(frozen=True)
class RefusedRunExists(Finding):
    run: str
    op: str
    invariant = "S3"
    sentence = "Run {run} was refused to {op}, and is in the store."


@dataclass(frozen=True)
class RunTwice(Finding):
    run: str
    invariant = "S3"
    sentence = "Run {run} is in the store twice."


@dataclass(frozen=True)
class NotCarriedOut(Finding):
    run: str
    attempt: int
    outcome: str
    invariant = "S4"
    sentence = "Attempt {attempt} of run {run} ended as {outcome}; the witness never saw it begin."


@dataclass(frozen=True)
class BegunAfterTheEnd(Finding):
    run: str
    attempt: int
    last: int
    invariant = "S5"
    sentence = "Attempt {attempt} of run {run} began, and the store ended it with attempt {last}."


@dataclass(frozen=True)
class BegunTwice(Finding):
    run: str
    attempt: int
    times: int
    invariant = "S6"
    sentence = "Attempt {attempt} of run {run} began {times} times."


@dataclass(frozen=True)
class NumbersBroken(Finding):
    run: str
    claimed: int
    stored: tuple[int, ...]
    invariant = "S6"
    sentence = "Run {run} was claimed {claimed} times, and its attempts are {stored}."


@dataclass(frozen=True)
class CountedWrongly(Finding):
    run: str
    what: str
    counted: int
    found: int
    invariant = "S6"
    sentence = "Run {run} counts {counted} {what}; its attempts show {found}."


@dataclass(frozen=True)
class EndNotReached(Finding):
    run: str
    attempt: int
    outcome: str
    invariant = "S7"
    sentence = "Attempt {attempt} of run {run} is {outcome}, and its code never came to its end."


@dataclass(frozen=True)
class ForeignResult(Finding):
    run: str
    attempt: int
    returned: str | None
    stored: str | None
    invariant = "S7"
    sentence = "Attempt {attempt} of run {run} returned {returned}; the store has {stored}."


@dataclass(frozen=True)
class WrongIdReturned(Finding):
    run: str
    returned: str
    op: str
    invariant = "S8"
    sentence = "To {op}, which enqueued {run}, the answer was {returned}: no run with its key."


@dataclass(frozen=True)
class MergedRunExists(Finding):
    run: str
    returned: str
    invariant = "S8"
    sentence = "Run {run} was merged into {returned} by its dedupe key, and is there all the same."


@dataclass(frozen=True)
class TwoRunsOfAKey(Finding):
    run: str
    other: str
    key: str
    invariant = "S8"
    sentence = "Runs {run} and {other} have the dedupe key {key!r} and were there at once."


@dataclass(frozen=True)
class LogNotClosed(Finding):
    run: str
    attempt: int
    invariant = "S9"
    sentence = "The log of attempt {attempt} of run {run} has no end."


@dataclass(frozen=True)
class LogIncomplete(Finding):
    run: str
    attempt: int
    missing: str
    invariant = "S9"
    sentence = "The log of attempt {attempt} of run {run} says: {missing}"


@dataclass(frozen=True)
class LogDisagrees(Finding):
    run: str
    attempt: int
    where: str
    stated: int
    found: int
    invariant = "S9"
    sentence = "The log of attempt {attempt} of run {run} states {where} {stated}; it is {found}."


@dataclass(frozen=True)
class LineMissing(Finding):
    run: str
    attempt: int
    pen: str
    line: int
    found: int
    invariant = "S9"
    sentence = "Attempt {attempt} of run {run} wrote line {line} with {pen}; its log has {found}."


@dataclass(frozen=True)
class LineOutOfPlace(Finding):
    run: str
    attempt: int
    pen: str
    expected: int
    found: str
    invariant = "S9"
    sentence = "The log of attempt {attempt} of run {run}: line {expected} of {pen} is {found!r}."


@dataclass(frozen=True)
class ForeignLine(Finding):
    run: str
    attempt: int
    line: str
    invariant = "S9"
    sentence = "The log of attempt {attempt} of run {run} has a line of another one: {line!r}"


@dataclass(frozen=True)
class LogChanged(Finding):
    run: str
    attempt: int
    op: str
    size: int
    invariant = "S9"
    sentence = "The log of attempt {attempt} of run {run} began otherwise for {op}: {size} bytes."


@dataclass(frozen=True)
class SinkWentBack(Finding):
    run: str
    attempt: int
    highest: int
    invariant = "S10"
    sentence = "The sink of run {run} took attempt {attempt} after attempt {highest}."


@dataclass(frozen=True)
class OwnerRefused(Finding):
    run: str
    attempt: int
    outcome: str
    invariant = "S10"
    sentence = "Attempt {attempt} of run {run} {outcome}, and its fenced sink had not taken it."


@dataclass(frozen=True)
class KeyOverLimit(Finding):
    key: str
    limit: int
    runs: tuple[str, ...]
    seen_by: str
    invariant = "S11"
    sentence = "Key {key!r} allows {limit} at once; {seen_by} saw {runs}."


@dataclass(frozen=True)
class Unexplained(Finding):
    run: str
    attempt: int
    outcome: str
    verdict: str
    invariant = "S13"
    sentence = "Attempt {attempt} of run {run} {outcome} with the verdict {verdict!r}: no cause."


@dataclass(frozen=True)
class WrongCause(Finding):
    run: str
    attempt: int
    verdict: str
    text: str
    invariant = "S13"
    sentence = "Attempt {attempt} of run {run} died of {verdict}, and nobody did that: {text}"


@dataclass(frozen=True)
class BegunAllTheSame(Finding):
    run: str
    attempt: int
    text: str
    invariant = "S13"
    sentence = "Attempt {attempt} of run {run} began, and its certificate denies it: {text}"


@dataclass(frozen=True)
class WrongError(Finding):
    run: str
    attempt: int
    raised: str
    text: str
    invariant = "S13"
    sentence = "Attempt {attempt} of run {run} raised {raised!r}, and was not to: {text}"


@dataclass(frozen=True)
class ProcessLeft(Finding):
    run: str
    attempt: int
    pid: int
    seconds: float
    invariant = "S14"
    sentence = "Process {pid} lived {seconds:.0f} s after attempt {attempt} of run {run} had ended."


@dataclass(frozen=True)
class NotEnded(Finding):
    run: str
    state: str
    attempt: int
    invariant = "L1"
    sentence = "Run {run} is still {state} after the drain, at attempt {attempt}."


@dataclass(frozen=True)
class BegunTooEarly(Finding):
    run: str
    state: str
    invariant = "L1"
    sentence = "Run {run} is not due yet, and is {state}."


@dataclass(frozen=True)
class StrangeAnswer(Finding):
    op: str
    error: str
    invariant = "L3"
    sentence = "The answer to {op} was an error that is not declared: {error}"


@dataclass(frozen=True)
class WorkerTroubled(Finding):
    worker: str
    text: str
    invariant = "L3"
    sentence = "Worker {worker}, and nothing was done to it that accounts for this: {text}"


@dataclass(frozen=True)
class MemoryOverCap(Finding):
    worker: str
    resident: int
    cap: int
    invariant = "M1"
    sentence = "The supervisor of worker {worker} held {resident:,} bytes; the cap is {cap:,}."


@dataclass(frozen=True)
class MemoryGrew(Finding):
    worker: str
    before: int
    after: int
    invariant = "M1"
    sentence = "The supervisor of {worker} grew from {before:,} to {after:,} bytes."


@dataclass(frozen=True)
class FaultNotHealed(Finding):
    number: int
    fault: str
    invariant = "H1"
    sentence = "Fault {number}, {fault}, was not healed: what came after proves nothing."


@dataclass(frozen=True)
class AnswerToNothing(Finding):
    op: str
    invariant = "H1"
    sentence = "There is an answer to {op}, and no question."
