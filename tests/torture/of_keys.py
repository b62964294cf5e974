"""Judge what several runs may not do together: S8 and S11."""

from __future__ import annotations

from collections import defaultdict

from torture import findings as f
from torture.book import Book, Story, ended_itself
from torture.history import RunDump, Running


def merged(book: Book, story: Story, *, is_there: bool):
    """What is wrong with the answers to an enqueue with a dedupe key."""
    answers = [op.answer.run if op.happened else None for op in story.enqueues]
    for op, answer in zip(story.enqueues, answers, strict=True):
        if answer not in (None, story.run):
            other = book.stories.get(answer)
            theirs = other.asked_for if other else None
            key = op.invoke.dedupe_key
            if key is None or theirs is None or theirs.dedupe_key != key:
                yield f.WrongIdReturned(story.run, answer, op.invoke.op)
    if is_there and answers and not {None, story.run} & {*answers}:
        yield f.MergedRunExists(story.run, answers[0])


def keys(book: Book, runs: dict[str, RunDump]):
    """What is wrong with the keys of all runs."""
    yield from _dedupe_by_witness(book, runs)
    yield from _limits_by_witness(book, runs)
    yield from _by_samples(book)


def _limits(book):
    """How many runs each concurrency key allows at once."""
    limits = defaultdict(int)
    for story in book.stories.values():
        asked = story.asked_for
        if asked and asked.concurrency_key is not None:
            key = asked.concurrency_key
            limits[key] = max(limits[key], asked.concurrency_limit)
    return limits


def _held(book, runs, name):
    """Yield run, attempt and key of every attempt that surely held its lease until its end."""
    for run in runs.values():
        asked = book.story(run.run).asked_for
        key = getattr(asked, name) if asked else None
        if key is None:
            continue
        for attempt in run.attempts:
            if ended_itself(attempt):
                yield run, attempt.attempt, key


def _limits_by_witness(book, runs):
    """Between beginning and end of such attempts nobody else of the key may be too many."""
    held = {(run.run, a): key for run, a, key in _held(book, runs, "concurrency_key")}
    limits = _limits(book)
    inside = defaultdict(list)
    for mark in book.history.witness:
        token = (mark.run, mark.attempt)
        if token not in held:
            continue
        present = inside[held[token]]
        if mark.what == "start":
            present.append(token)
            if len(present) > limits[held[token]]:
                names = tuple(f"{run}.{attempt}" for run, attempt in present)
                yield f.KeyOverLimit(held[token], limits[held[token]], names, "the witness")
        elif mark.what == "end" and token in present:
            present.remove(token)


def _dedupe_by_witness(book, runs):
    """A run is there from its first attempt to the end of its last: no other of its key is."""
    first, last = {}, {}
    for run, attempt, key in _held(book, runs, "dedupe_key"):
        if not book.story(run.run).retries:
            first.setdefault(run.run, ((run.run, attempt), key))
            last[run.run] = (run.run, attempt)
    opening = dict(first.values())
    closing = set(last.values())
    present = {}
    for mark in book.history.witness:
        token = (mark.run, mark.attempt)
        key = first[mark.run][1] if mark.run in first else None
        if mark.what == "start" and token in opening:
            if key in present and present[key] != mark.run:
                yield f.TwoRunsOfAKey(mark.run, present[key], key)
            present[key] = mark.run
        elif mark.what == "end" and token in closing and present.get(key) == mark.run:
            del present[key]


def _by_samples(book):
    """What the store itself called running at one moment must keep both promises."""
    limits = _limits(book)
    for sample in book.history.samples:
        if isinstance(sample, Running):
            asked = {run: book.story(run).asked_for for run in sample.runs}
            yield from _concurrency(asked, limits)
            fresh = {run: one for run, one in asked.items() if not book.story(run).retries}
            yield from _dedupe(fresh)


def _concurrency(asked, limits):
    for key, runs in _by(asked, "concurrency_key").items():
        if len(runs) > limits[key]:
            yield f.KeyOverLimit(key, limits[key], tuple(runs), "a look at the store")


def _dedupe(asked):
    for key, runs in _by(asked, "dedupe_key").items():
        if len(runs) > 1:
            yield f.TwoRunsOfAKey(runs[0], runs[1], key)


def _by(asked, name):
    """The runs of each key."""
    runs = defaultdict(list)
    for run, one in asked.items():
        key = getattr(one, name) if one else None
        if key is not None:
            runs[key].append(run)
    return runs
