"""Plant errors in what several runs may not do together, and in sinks: S8, S10, S11."""

from __future__ import annotations

from msgspec.structs import replace

from torture import findings as f
from torture.book import ended_itself
from torture.history import (
    Ok,
    RunDump,
    Running,
    SinkWrite,
)
from torture.planting import caught_as


@caught_as(f.WrongIdReturned)
def answer_with_another_run(s):
    places = [
        (place, record)
        for place, record in enumerate(s.history.clients)
        if isinstance(record, Ok) and record.run
    ]
    if not places:
        return False
    place, record = s.dice.choice(places)
    s.history.clients[place] = Ok(record.op, run=s.new_id())
    return True


@caught_as(f.MergedRunExists)
def make_a_run_that_was_merged(s):
    merged = [
        story.asked_for
        for story in s.book.stories.values()
        if story.enqueues and all(o.happened and o.answer.run != story.run for o in story.enqueues)
    ]
    asked = s.choose(merged)
    if asked is None:
        return False
    run = RunDump(asked.run, asked.task, "queued", asked.arguments, asked.dedupe_key)
    s.history.dump.append(run)
    return True


def _give_both(s, one, other, **changes):
    for run in (one, other):
        s.set_invokes(run, **changes)
        s.set_run(run, **{name: v for name, v in changes.items() if not name.endswith("limit")})
    return True


def _met(s):
    """Two runs whose only attempts came to their end, one within the time of the other."""
    whole = {
        run.run: run
        for run in s.history.dump
        if [ended_itself(a) for a in run.attempts] == [True] and s.untouched(run)
    }
    inside, pairs = [], []
    for mark in s.history.witness:
        if mark.run in whole and mark.what == "start":
            pairs += [(other, mark.run) for other in inside]
            inside.append(mark.run)
        elif mark.run in whole and mark.what == "end":
            inside.remove(mark.run)
    pair = s.choose(pairs)
    return pair and [whole[run] for run in pair]


@caught_as(f.TwoRunsOfAKey)
def carry_out_two_runs_of_a_dedupe_key(s):
    pair = _met(s)
    return bool(pair) and _give_both(s, *pair, dedupe_key="three")


def _seen_together(s):
    dumped = {run.run: run for run in s.history.dump if s.untouched(run)}
    for sample in s.history.samples:
        if isinstance(sample, Running):
            runs = [dumped[run] for run in sample.runs if run in dumped]
            if len(runs) > 1:
                return runs[:2]
    return None


@caught_as(f.TwoRunsOfAKey)
def show_two_runs_of_a_dedupe_key(s):
    pair = _seen_together(s)
    return bool(pair) and _give_both(s, *pair, dedupe_key="three")


@caught_as(f.SinkWentBack)
def let_a_zombie_write_to_a_sink(s):
    taken = [write for write in s.history.sinks if write.accepted]
    write = s.choose(taken)
    if write is None:
        return False
    s.history.sinks.append(SinkWrite(write.run, write.attempt - 1, accepted=True))
    return True


@caught_as(f.OwnerRefused)
def refuse_the_owner(s):
    found = s.attempt(lambda run, a: ended_itself(a) and s.story(run).plan.sink)
    if found is None:
        return False
    run, attempt = found
    sinks = s.history.sinks
    for place, write in enumerate(sinks):
        if (write.run, write.attempt) == (run.run, attempt.attempt):
            sinks[place] = replace(write, accepted=False)
    return True


@caught_as(f.KeyOverLimit)
def carry_out_too_many_of_a_key(s):
    pair = _met(s)
    return bool(pair) and _give_both(s, *pair, concurrency_key="three", concurrency_limit=1)


@caught_as(f.KeyOverLimit)
def show_too_many_of_a_key(s):
    pair = _seen_together(s)
    return bool(pair) and _give_both(s, *pair, concurrency_key="three", concurrency_limit=1)
