"""Check a whole history against the promises, in one pass over each of its parts."""

from __future__ import annotations

from collections.abc import Iterator

from torture import findings as f
from torture.book import Book, without_logs
from torture.findings import Finding
from torture.history import History, RunDump, Strange, Trouble
from torture.of_deaths import deaths, leftovers, memory
from torture.of_keys import keys, merged
from torture.of_logs import logs
from torture.of_runs import absent, present, waiting


def check(history: History) -> list[Finding]:
    """Return every finding; none: the history keeps all promises."""
    return list(_findings(history))


def _findings(history: History) -> Iterator[Finding]:
    book = Book(history)
    runs: dict[str, RunDump] = {}
    yield from _can_be_judged(book)
    yield from _troubles(book)
    for run in history.dump:
        if run.run in runs:
            yield f.RunTwice(run.run)
        story = book.story(run.run)
        yield from present(story, run)
        yield from waiting(book, story, run)
        yield from logs(book, story, run)
        runs[run.run] = without_logs(run)
    for name, story in book.stories.items():
        yield from merged(book, story, is_there=name in runs)
        if name not in runs:
            yield from absent(story)
    yield from keys(book, runs)
    yield from deaths(book, runs)
    yield from leftovers(book)
    yield from memory(book)


def _can_be_judged(book: Book) -> Iterator[Finding]:
    for op in book.unasked:
        yield f.AnswerToNothing(op)
    begun = {fault.number: fault for fault in book.history.faults if fault.what == "start"}
    healed = {fault.number for fault in book.history.faults if fault.what == "healed"}
    for number, fault in begun.items():
        if number not in healed:
            yield f.FaultNotHealed(number, fault.kind)


def _troubles(book: Book) -> Iterator[Finding]:
    for record in book.history.clients:
        if isinstance(record, Strange):
            yield f.StrangeAnswer(record.op, record.error)
    for sample in book.history.samples:
        if isinstance(sample, Trouble):
            yield f.WorkerTroubled(sample.worker, sample.text)
