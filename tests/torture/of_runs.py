"""Judge one run: S1 to S7, S10 and L1."""

from __future__ import annotations

from torture import findings as f
from torture.book import Book, Story, ended_itself
from torture.history import OK, Fail, RunDump

FINAL = {"succeeded", "failed", "cancelled", "quarantined"}
_FITTING = {
    "succeeded": {"succeeded"},
    "failed": {"failed", "timed_out"},
    "quarantined": {"crashed", "lost"},
    "cancelled": {"", "failed", "timed_out", "crashed", "lost", "cancelled", "released", "snoozed"},
}
MOST_LOST = 10  # workers that may die under a run
_CONTENT = ("task", "arguments", "dedupe_key", "concurrency_key")
_NOT_FOUND = "RunNotFound"


def absent(story: Story):
    """What is wrong with a run that the store does not have."""
    accepted = [op for op in story.enqueues if op.happened and op.answer.run == story.run]
    if accepted:
        yield f.RunVanished(story.run, accepted[0].invoke.op)
    elif story.marks:
        yield f.RunVanished(story.run, "nobody knows whom, and carried out")


def present(story: Story, run: RunDump):
    """What is wrong with a run that the store has."""
    for check in (_origin, _looks, _end, _budgets, _numbers, _executions, _sink):
        yield from check(story, run)


def _origin(story, run):
    asked = story.asked_for
    if asked is None:
        yield f.RunFromNowhere(run.run)
        return
    if not any(op.may_have_happened for op in story.enqueues):
        yield f.RefusedRunExists(run.run, asked.op)
    for name in _CONTENT:
        sent, stored = getattr(asked, name), getattr(run, name)
        if sent != stored:
            yield f.ContentChanged(run.run, name, sent, stored)


def _looks(story, run):
    """Whoever saw the run must have seen what fits the end; only a retry may change that."""
    accepted = [op.answered for op in story.enqueues if op.happened]
    before = None
    for op in story.of("look"):
        if isinstance(op.answer, Fail):
            if op.answer.error == _NOT_FOUND and any(place < op.asked for place in accepted):
                yield f.RunVanished(run.run, op.invoke.op)
        elif op.outcome == OK:
            if before and before.answered < op.asked and before.answer.attempt > op.answer.attempt:
                yield f.WentBack(run.run, before.answer.attempt, op.answer.attempt)
            before = op
            yield from _look(story, run, op)


def _look(story, run, op):
    if op.answer.state not in FINAL:
        return
    retries = [retry for retry in story.of("retry") if retry.may_have_happened]
    if any(retry.answered > op.asked for retry in retries):
        return
    seen = (op.answer.state, op.answer.attempt, op.answer.result)
    stored = (run.state, run.attempt, run.result)
    if seen != stored:
        yield f.EndChanged(run.run, op.invoke.op, seen, stored)


def waiting(book: Book, story: Story, run: RunDump):
    """What is wrong with a run that has not ended, or began before its time."""
    plan = story.plan
    if plan.later and run.state != "cancelled" and not story.retries:
        if (run.state, run.attempt) != ("scheduled", 0):
            yield f.BegunTooEarly(run.run, run.state)
    elif run.state not in FINAL and not _is_put_off(book, run):
        yield f.NotEnded(run.run, run.state, run.attempt)


def _is_put_off(book, run):
    """It waits for a time that a worker with a wrong clock has set."""
    worker = run.attempts[-1].worker if run.attempts else ""
    kinds = [fault.kind for fault in book.faults_on.get(worker, ())]
    return run.state == "scheduled" and "clock jump" in kinds


def _end(story, run):
    if run.state not in FINAL:
        return
    yield from _last_outcome(story, run)
    if run.state == "cancelled":
        if not any(op.may_have_happened for op in story.of("cancel")):
            yield f.CancelledByNobody(run.run)
    elif run.state not in story.plan.ends and not _is_given_up_as_lost(run):
        yield f.EndNotPlanned(run.run, run.state, story.plan.ends)


def _is_given_up_as_lost(run):
    """Its workers died under it so often that it may be what kills them."""
    last = run.attempts[-1].outcome if run.attempts else ""
    return run.state == "quarantined" and last == "lost"


def _last_outcome(story, run):
    """The state is that of the last attempt, and no attempt before it has ended the run."""
    outcomes = tuple(attempt.outcome for attempt in run.attempts)
    last = outcomes[-1] if outcomes else ""
    retried_before = run.state == "cancelled" and story.retries  # and cancelled as it waited
    if last not in _FITTING[run.state] and not retried_before:
        yield f.EndDoesNotFit(run.run, run.state, last)
    ends = sum(outcome in ("succeeded", "cancelled") for outcome in outcomes[:-1])
    if ends > story.retries:
        yield f.EndedTwice(run.run, outcomes, story.retries)


def _budgets(story, run):
    """A run that nobody retried counts what its attempts show, and is given up at its limit."""
    if story.retries:
        return
    outcomes = [attempt.outcome for attempt in run.attempts]
    failures = outcomes.count("failed") + outcomes.count("timed_out")
    if run.failures != failures:
        yield f.CountedWrongly(run.run, "failures", run.failures, failures)
    if run.crashes != outcomes.count("crashed"):
        yield f.CountedWrongly(run.run, "crashes", run.crashes, outcomes.count("crashed"))
    plan = story.plan
    if run.state == "failed" and failures != plan.retries + 1:
        yield f.CountedWrongly(run.run, "failures until given up", failures, plan.retries + 1)
    lost = outcomes.count("lost")
    if _is_given_up_as_lost(run) and lost != MOST_LOST + 1:
        yield f.CountedWrongly(run.run, "lost workers until given up", lost, MOST_LOST + 1)
    given_up = run.state == "quarantined" and outcomes and outcomes[-1] == "crashed"
    if given_up and run.crashes != plan.crashes + 1:
        yield f.CountedWrongly(run.run, "crashes until given up", run.crashes, plan.crashes + 1)


def _numbers(_story, run):
    numbers = tuple(attempt.attempt for attempt in run.attempts)
    if run.state in FINAL and numbers != tuple(range(1, run.attempt + 1)):
        yield f.NumbersBroken(run.run, run.attempt, numbers)


def _executions(story, run):
    begun = {}
    for mark in story.marks:
        if mark.what == "start":
            begun[mark.attempt] = begun.get(mark.attempt, 0) + 1
    for attempt, times in begun.items():
        if times > 1:
            yield f.BegunTwice(run.run, attempt, times)
        if attempt > run.attempt:
            yield f.BegunAfterTheEnd(run.run, attempt, run.attempt)
    for attempt in run.attempts:
        yield from _execution(story, run, attempt, attempt.attempt in begun)


def _execution(story, run, attempt, begun):
    if attempt.verdict == "released(busy)" and begun:
        yield f.BegunAllTheSame(run.run, attempt.attempt, attempt.sentence)
    if attempt.verdict == "error" and not attempt.raised.endswith("Planned"):
        yield f.WrongError(run.run, attempt.attempt, attempt.raised, attempt.sentence)
    if not ended_itself(attempt):
        return
    if not begun:
        yield f.NotCarriedOut(run.run, attempt.attempt, attempt.outcome)
        return
    ends = story.marks_of(attempt.attempt, "end")
    if not ends:
        yield f.EndNotReached(run.run, attempt.attempt, attempt.outcome)
    elif attempt.attempt == run.attempt and run.state == "succeeded":
        returned = ends[-1].result
        if run.result != returned:
            yield f.ForeignResult(run.run, run.attempt, returned, run.result)


def _sink(story, run):
    highest = 0
    accepted = set()
    for write in story.writes:
        if write.accepted:
            accepted.add(write.attempt)
            if write.attempt < highest:
                yield f.SinkWentBack(run.run, write.attempt, highest)
            highest = max(highest, write.attempt)
    if story.plan.sink:
        for attempt in run.attempts:
            if ended_itself(attempt) and attempt.attempt not in accepted:
                yield f.OwnerRefused(run.run, attempt.attempt, attempt.outcome)
