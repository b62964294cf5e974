"""Plant errors in what becomes of single runs: S1 to S7."""

from __future__ import annotations

from msgspec.structs import replace

from torture import findings as f
from torture.book import ended_itself
from torture.history import (
    INFO,
    Fail,
    Invoke,
    Mark,
    Ok,
    RunDump,
)
from torture.honest import FINAL
from torture.planting import caught_as


def _own(_run, attempt):
    return ended_itself(attempt)


@caught_as(f.RunVanished)
def lose_an_accepted_run(s):
    run = s.run(s.was_accepted)
    if run is None:
        return False
    s.history.dump.remove(run)
    return True


@caught_as(f.RunVanished)
def lose_a_run_that_was_begun(s):
    run = s.run(lambda run: s.story(run).marks)
    if run is None:
        return False
    s.history.dump.remove(run)
    return True


@caught_as(f.RunVanished)
def let_a_look_find_nothing(s):
    run = s.run(s.was_accepted)
    return run is not None and s.say(Invoke("x", "look", run.run), Fail("x", "RunNotFound"))


@caught_as(f.ContentChanged)
def change_the_arguments(s):
    run = s.run()
    return run is not None and s.set_run(run, arguments=run.arguments + " ")


@caught_as(f.ContentChanged)
def forget_a_concurrency_key(s):
    run = s.run(lambda run: run.concurrency_key is not None)
    return run is not None and s.set_run(run, concurrency_key=None)


@caught_as(f.ContentChanged)
def forget_a_dedupe_key(s):
    run = s.run(lambda run: run.dedupe_key is not None)
    return run is not None and s.set_run(run, dedupe_key=None)


# --- S2


@caught_as(f.EndChanged)
def change_an_end_that_was_seen(s):
    run = s.run(lambda run: run.state in FINAL and s.untouched(run))
    if run is None:
        return False
    seen = Ok("x", state="failed", attempt=run.attempt + 1, result=run.result)
    return s.say(Invoke("x", "look", run.run), seen)


@caught_as(f.EndChanged)
def change_a_result_that_was_seen(s):
    run = s.run(lambda run: run.state == "succeeded" and s.untouched(run))
    if run is None:
        return False
    seen = Ok("x", state=run.state, attempt=run.attempt, result='"another"')
    return s.say(Invoke("x", "look", run.run), seen)


@caught_as(f.EndedTwice)
def carry_out_again_what_has_succeeded(s):
    run = s.run(lambda run: run.state == "succeeded" and s.untouched(run))
    if run is None:
        return False
    last = replace(run.attempts[-1], attempt=run.attempt + 1)
    for what in ("start", "end"):
        s.history.witness.append(Mark(run.run, last.attempt, what, result=run.result))
    return s.set_run(run, attempt=last.attempt, attempts=(*run.attempts, last))


@caught_as(f.EndDoesNotFit)
def call_a_success_a_failure(s):
    run = s.run(lambda run: run.state == "succeeded")
    return run is not None and s.set_run(run, state="failed", result=None)


@caught_as(f.EndDoesNotFit)
def call_a_failure_a_success(s):
    run = s.run(lambda run: run.state == "failed")
    return run is not None and s.set_run(run, state="succeeded")


@caught_as(f.EndDoesNotFit)
def cancel_what_has_succeeded(s):
    run = s.run(lambda run: run.state == "succeeded" and s.untouched(run))
    return run is not None and s.set_run(run, state="cancelled", result=None)


@caught_as(f.EndNotPlanned)
def end_in_a_way_that_was_impossible(s):
    run = s.run(lambda run: run.state in ("succeeded", "failed", "quarantined"))
    if run is None:
        return False
    s.set_invokes(run, plan=replace(s.story(run).plan, ends=("none of them",)))
    return True


@caught_as(f.CancelledByNobody)
def forget_who_cancelled(s):
    run = s.run(lambda run: run.state == "cancelled")
    if run is None:
        return False
    ops = {op.invoke.op for op in s.story(run).of("cancel")}
    s.history.clients[:] = [record for record in s.history.clients if record.op not in ops]
    return True


@caught_as(f.WentBack)
def count_backwards(s):
    run = s.run()
    if run is None:
        return False
    s.say(Invoke("x", "look", run.run), Ok("x", state="running", attempt=run.attempt + 1))
    return s.say(Invoke("y", "look", run.run), Ok("y", state="running", attempt=run.attempt))


# --- S3


@caught_as(f.RunFromNowhere)
def invent_a_run(s):
    s.history.dump.append(RunDump(s.new_id(), "torture.succeed", "succeeded", "{}"))
    return True


@caught_as(f.RefusedRunExists)
def keep_a_refused_run(s):
    run = s.run(lambda run: all(op.outcome != INFO for op in s.story(run).enqueues))
    if run is None:
        return False
    refused = {op.invoke.op for op in s.story(run).enqueues}
    clients = s.history.clients
    for place, record in enumerate(clients):
        if record.op in refused and not isinstance(record, Invoke):
            clients[place] = Fail(record.op, "StoreUnavailable")
    return True


@caught_as(f.RunTwice)
def store_a_run_twice(s):
    run = s.run()
    if run is None:
        return False
    s.history.dump.append(run)
    return True


# --- S4, S5, S6, S7


@caught_as(f.NotCarriedOut)
def end_what_never_began(s):
    found = s.attempt(_own)
    return found is not None and s.drop_marks(*found, "start", "line", "end")


@caught_as(f.BegunAfterTheEnd)
def begin_after_the_end(s):
    run = s.run(lambda run: run.state in FINAL)
    if run is None:
        return False
    s.history.witness.append(Mark(run.run, run.attempt + 1, "start"))
    return True


@caught_as(f.BegunTwice)
def begin_an_attempt_twice(s):
    starts = [mark for mark in s.history.witness if mark.what == "start"]
    if not starts:
        return False
    s.history.witness.append(s.dice.choice(starts))
    return True


@caught_as(f.NumbersBroken)
def forget_an_attempt(s):
    run = s.run(lambda run: run.state in FINAL and run.attempts)
    if run is None:
        return False
    gone = s.dice.choice(run.attempts)
    return s.set_run(run, attempts=tuple(one for one in run.attempts if one is not gone))


@caught_as(f.NumbersBroken)
def use_a_number_twice(s):
    run = s.run(lambda run: run.state in FINAL and run.attempts)
    if run is None:
        return False
    return s.set_run(run, attempts=(*run.attempts, run.attempts[-1]))


@caught_as(f.CountedWrongly)
def count_a_failure_too_many(s):
    run = s.run(lambda run: run.state in FINAL and s.untouched(run))
    return run is not None and s.set_run(run, failures=run.failures + 1)


@caught_as(f.CountedWrongly)
def forget_a_crash(s):
    run = s.run(lambda run: run.crashes and s.untouched(run))
    return run is not None and s.set_run(run, crashes=run.crashes - 1)


@caught_as(f.CountedWrongly)
def give_up_too_early(s):
    run = s.run(lambda run: run.state == "failed" and s.untouched(run))
    if run is None:
        return False
    plan = s.story(run).plan
    s.set_invokes(run, plan=replace(plan, retries=plan.retries + 1))
    return True


@caught_as(f.CountedWrongly)
def quarantine_too_late(s):
    run = s.run(lambda run: run.state == "quarantined" and s.untouched(run))
    if run is None:
        return False
    plan = s.story(run).plan
    s.set_invokes(run, plan=replace(plan, crashes=plan.crashes - 1))
    return True


@caught_as(f.CountedWrongly)
def give_up_under_too_few_lost_workers(s):
    run = s.run(lambda run: run.state == "quarantined" and s.untouched(run))
    if run is None:
        return False
    attempts = tuple(replace(attempt, outcome="lost") for attempt in run.attempts)
    return s.set_run(run, crashes=0, attempts=attempts)


@caught_as(f.EndNotReached)
def end_what_never_came_to_its_end(s):
    found = s.attempt(_own)
    return found is not None and s.drop_marks(*found, "end")


@caught_as(f.ForeignResult)
def store_the_result_of_another_attempt(s):
    run = s.run(lambda run: run.state == "succeeded")
    return run is not None and s.set_run(run, result=f'["{run.run}", {run.attempt + 1}]')


@caught_as(f.ForeignResult)
def lose_a_result(s):
    run = s.run(lambda run: run.state == "succeeded")
    return run is not None and s.set_run(run, result=None)
