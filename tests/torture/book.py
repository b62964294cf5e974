"""Put the records of a history together by run, so that each can be judged in one look."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from torture.history import (
    FAIL,
    INFO,
    OK,
    Answer,
    AttemptDump,
    Fail,
    Fault,
    History,
    Info,
    Invoke,
    Mark,
    Ok,
    Plan,
    RunDump,
    SinkWrite,
    Strange,
)

NEVER = float("inf")
_OWN_ENDS = {"succeeded", "snoozed"}
_OWN_VERDICTS = ("error", "exit(")


@dataclass
class Op:
    """One thing that a client asked for, from its question to its answer."""

    invoke: Invoke
    asked: int  # place among the records of all clients
    answered: float = NEVER
    answer: Answer | None = None

    @property
    def outcome(self):
        """ok: it happened; fail: it did not; info: nobody knows."""
        return (
            type(self.answer).__struct_config__.tag if isinstance(self.answer, Ok | Fail) else INFO
        )

    @property
    def happened(self):
        return self.outcome == OK

    @property
    def may_have_happened(self):
        return self.outcome != FAIL


@dataclass
class Story:
    """Everything from outside the store about one run."""

    run: str
    ops: list[Op] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    writes: list[SinkWrite] = field(default_factory=list)

    def of(self, verb):
        return [op for op in self.ops if op.invoke.verb == verb]

    @property
    def enqueues(self):
        return self.of("enqueue")

    @property
    def asked_for(self):
        """The first question for it; it says what the run is."""
        enqueues = self.enqueues
        return enqueues[0].invoke if enqueues else None

    @property
    def plan(self):
        asked = self.asked_for
        return asked.plan if asked else Plan()

    @property
    def retries(self):
        """How often it was retried, at most."""
        return sum(op.may_have_happened for op in self.of("retry"))

    def marks_of(self, attempt, what):
        return [mark for mark in self.marks if (mark.attempt, mark.what) == (attempt, what)]


class Book:
    """All stories of a history, and what else the checks look up."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.stories: dict[str, Story] = {}
        self.unasked: list[str] = []
        self.faults_on: dict[str | int, list[Fault]] = defaultdict(list)
        self._read_clients()
        for mark in history.witness:
            self.story(mark.run).marks.append(mark)
        for write in history.sinks:
            self.story(write.run).writes.append(write)
        self._read_faults()

    def _read_faults(self):
        workers_of = defaultdict(list)
        for one in self.history.workers:
            workers_of[one.process].append(one.worker)
        for fault in self.history.faults:
            hit = [worker for process in fault.processes for worker in workers_of[process]]
            for target in (*hit, *fault.pids):
                self.faults_on[target].append(fault)

    def story(self, run):
        """The story of a run, which begins with the first word of it."""
        if run not in self.stories:
            self.stories[run] = Story(run)
        return self.stories[run]

    def _read_clients(self):
        ops: dict[str, Op] = {}
        for place, record in enumerate(self.history.clients):
            if isinstance(record, Invoke):
                op = ops[record.op] = Op(record, place)
                self.story(record.run).ops.append(op)
            elif record.op in ops:
                ops[record.op].answer = record
                if not isinstance(record, Info | Strange):
                    ops[record.op].answered = place
            else:
                self.unasked.append(record.op)


def ended_itself(attempt: AttemptDump) -> bool:
    """Tell whether the code of an attempt came to its own end, by what the store says.

    Then the attempt held its lease from its beginning to its end: who has lost it is refused.
    """
    own_failure = attempt.outcome == "failed" and attempt.verdict.startswith(_OWN_VERDICTS)
    return attempt.outcome in _OWN_ENDS or own_failure


def without_logs(run: RunDump) -> RunDump:
    """What is kept of a run once its logs are checked."""
    attempts = tuple(
        AttemptDump(
            attempt=one.attempt,
            outcome=one.outcome,
            worker=one.worker,
            verdict=one.verdict,
            sentence=one.sentence,
            pid=one.pid,
        )
        for one in run.attempts
    )
    return RunDump(
        run=run.run,
        task=run.task,
        state=run.state,
        arguments="",
        attempt=run.attempt,
        attempts=attempts,
    )
