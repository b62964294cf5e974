"""Judge how attempts died and what they left: S13, S14 and M1."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from statistics import median

from torture import findings as f
from torture.book import Book
from torture.history import Left, Memory, RunDump

# What each fault may be the cause of, on the workers and processes that it hit.
EXPLAINED_BY = {
    "kill supervisor": ("worker_died(supervisor killed)",),
    "orphan commands": ("worker_died(supervisor killed)",),
    "kill executor": ("signal(SIGKILL)",),
    "kill command": ("signal(SIGKILL)",),
    "freeze": ("worker_died(stopped)", "worker_died(cut off)", "fenced"),
    "freeze supervisor": ("worker_died(stopped)", "fenced"),
    "freeze heartbeat": ("worker_died(", "fenced"),
    "deploy": ("released(deploy)",),
    "storm": ("worker_died(supervisor killed)", "released(deploy)"),
    "blackout": ("worker_died(supervisor killed)",),
}
_NEEDS_NO_FAULT = ("released(busy)",)
_BY_A_NEIGHBOUR = {"timed_out", "cancelled", "crashed"}
_FOR_A_NEIGHBOUR = ("released(neighbour)",)
_SAY_NOTHING = ("crash(silent)", "unknown")
_ENDS_ITSELF = {"succeeded", "snoozed"}

LEFT_SECONDS = 8.0  # how long the processes of an ended attempt may need to go
MEMORY_CAP = 100_000_000  # bytes that a supervisor may hold
SETTLED_SECONDS = 10.0  # a supervisor younger than that still grows
GROWTH = 1.2  # how much more it may hold in the last quarter of its time than in the second
GROWTH_FLOOR = 4 << 20  # bytes of growth that are no growth


def deaths(book: Book, runs: dict[str, RunDump]):
    """What is wrong with the certificates."""
    attempts = [(run, attempt) for run in runs.values() for attempt in run.attempts]
    doings = defaultdict(set)  # what the runs on a process were told to do to it
    ended_badly = set()  # workers that had to end an attempt in a shared executor
    for run, attempt in attempts:
        doings[attempt.worker, attempt.pid].update(book.story(run.run).plan.blames)
        if attempt.outcome in _BY_A_NEIGHBOUR:
            ended_badly.add(attempt.worker)
    for run, attempt in attempts:
        if attempt.outcome in _ENDS_ITSELF:
            continue
        name = (run.run, attempt.attempt)
        theirs = doings[attempt.worker, attempt.pid] if attempt.pid else ()
        by_a_neighbour = attempt.worker in ended_badly and attempt.verdict in _FOR_A_NEIGHBOUR
        if not attempt.verdict or attempt.verdict.startswith(_SAY_NOTHING):
            yield f.Unexplained(*name, attempt.outcome, attempt.verdict)
        elif not (by_a_neighbour or _fits(attempt, theirs) or _is_explained(book, run, attempt)):
            yield f.WrongCause(*name, attempt.verdict, attempt.sentence)


def _fits(attempt, beginnings):
    return attempt.verdict.startswith(tuple(beginnings))


def _is_explained(book, run, attempt):
    story = book.story(run.run)
    if _fits(attempt, _NEEDS_NO_FAULT + story.plan.blames):
        return True
    if attempt.verdict.startswith("cancelled("):
        return any(op.may_have_happened for op in story.of("cancel"))
    targets = (attempt.worker, attempt.pid)
    return any(
        _fits(attempt, EXPLAINED_BY.get(fault.kind, ()))
        for target in targets
        for fault in book.faults_on.get(target, ())
    )


def leftovers(book: Book):
    """What is wrong with the processes that outlived their attempts."""
    for sample in book.history.samples:
        if isinstance(sample, Left) and sample.seconds > LEFT_SECONDS:
            yield f.ProcessLeft(sample.run, sample.attempt, sample.pid, sample.seconds)


def memory(book: Book):
    """What is wrong with the memory of supervisors: each for itself, and all over the time."""
    samples = [s for s in book.history.samples if isinstance(s, Memory)]
    highest = {}
    lives = defaultdict(list)
    for sample in samples:
        highest[sample.worker] = max(sample.resident, highest.get(sample.worker, 0))
        if sample.age >= SETTLED_SECONDS:
            lives[sample.worker].append(sample.resident)
            lives["all workers"].append(sample.resident)
    for worker, resident in highest.items():
        if resident > MEMORY_CAP:
            yield f.MemoryOverCap(worker, resident, MEMORY_CAP)
    for worker, row in lives.items():
        before, after = _quarters(row)
        if after > max(before * GROWTH, before + GROWTH_FLOOR):
            yield f.MemoryGrew(worker, before, after)


def _quarters(row):
    """The medians of the second and of the last quarter of a row."""
    cuts = [len(row) * part // 4 for part in range(5)]
    quarters = [row[low:high] for low, high in pairwise(cuts)]
    if not all(quarters):
        return 0, 0
    return int(median(quarters[1])), int(median(quarters[3]))
