"""Plant errors in deaths, ends, memory and the history itself: S13, S14, L1, M1, H1."""

from __future__ import annotations

from torture import findings as f
from torture.history import (
    AttemptDump,
    Fail,
    Info,
    Invoke,
    Left,
    Memory,
    Ok,
    Strange,
    Trouble,
)
from torture.honest import FINAL
from torture.invented import process_of
from torture.planting import caught_as


def _died(_run, attempt):
    return attempt.outcome not in ("succeeded", "snoozed")


@caught_as(f.Unexplained)
def lose_a_certificate(s):
    return s.set_attempt(s.attempt(_died), verdict="", sentence="")


@caught_as(f.Unexplained)
def explain_with_nothing(s):
    return s.set_attempt(s.attempt(_died), verdict="crash(silent)")


@caught_as(f.WrongCause)
def blame_the_kernel(s):
    return s.set_attempt(s.attempt(_died), verdict="oom(host)")


@caught_as(f.WrongCause)
def die_without_a_fault(s):
    found = s.attempt(lambda _, a: a.outcome in ("lost", "released") and "busy" not in a.verdict)
    if found is None:
        return False
    process = process_of(found[1].worker)
    hit = {fault.number for fault in s.history.faults if process in fault.processes}
    s.history.faults[:] = [fault for fault in s.history.faults if fault.number not in hit]
    return True


@caught_as(f.WrongCause)
def blame_somebody_who_did_not_cancel(s):
    found = s.attempt(lambda run, a: _died(run, a) and not s.story(run).of("cancel"))
    return s.set_attempt(found, verdict="cancelled(somebody)")


@caught_as(f.BegunAllTheSame)
def deny_that_it_began(s):
    begun = {(mark.run, mark.attempt) for mark in s.history.witness if mark.what == "start"}
    found = s.attempt(lambda run, a: _died(run, a) and (run.run, a.attempt) in begun)
    return s.set_attempt(found, outcome="released", verdict="released(busy)")


@caught_as(f.WrongError)
def fail_with_another_error(s):
    return s.set_attempt(s.attempt(lambda _, a: a.verdict == "error"), raised="OSError")


@caught_as(f.ProcessLeft)
def leave_a_process(s):
    run = s.run(lambda run: run.attempt)
    if run is None:
        return False
    s.history.samples.append(Left(run.run, run.attempt, 4711, 99.0))
    return True


# --- L1, M1, H1


@caught_as(f.NotEnded)
def leave_a_run_running(s):
    run = s.run(lambda run: run.state in FINAL and not s.story(run).plan.later)
    return run is not None and s.set_run(run, state="running")


@caught_as(f.NotEnded)
def leave_a_run_queued(s):
    run = s.run(lambda run: run.state in FINAL and not s.story(run).plan.later)
    return run is not None and s.set_run(run, state="queued")


@caught_as(f.BegunTooEarly)
def begin_before_it_is_due(s):
    run = s.run(lambda run: run.state == "scheduled")
    if run is None:
        return False
    ended = AttemptDump(1, "succeeded", "somebody")
    return s.set_run(run, state="succeeded", attempt=1, attempts=(ended,))


@caught_as(f.MemoryOverCap)
def hold_too_much_memory(s):
    s.history.samples.append(Memory(0, s.new_id(), 1.0, 101_000_000))
    return True


@caught_as(f.MemoryGrew)
def grow_slowly(s):
    worker = s.new_id()
    for second in range(60):
        resident = 40_000_000 + second * 400_000
        s.history.samples.append(Memory(second, worker, 20.0 + second, resident))
    return True


@caught_as(f.FaultNotHealed)
def leave_a_fault(s):
    healed = s.choose(fault for fault in s.history.faults if fault.what == "healed")
    if healed is None:
        return False
    s.history.faults.remove(healed)
    return True


@caught_as(f.AnswerToNothing)
def lose_a_question(s):
    answered = {r.op for r in s.history.clients if isinstance(r, Ok | Fail | Info)}
    asked = [r for r in s.history.clients if isinstance(r, Invoke) and r.op in answered]
    invoke = s.choose(asked)
    if invoke is None:
        return False
    s.history.clients.remove(invoke)
    return True


@caught_as(f.StrangeAnswer)
def answer_with_a_strange_error(s):
    run = s.run()
    return run is not None and s.say(Invoke("x", "cancel", run.run), Strange("x", "KeyError: 3"))


@caught_as(f.WorkerTroubled)
def let_a_duty_fail(s):
    s.history.samples.append(Trouble(s.new_id(), "the duty 'reaper' failed"))
    return True
