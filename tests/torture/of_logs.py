"""Judge the log of one attempt: S9."""

from __future__ import annotations

import zlib
from collections import defaultdict

from torture import findings as f
from torture.book import Book, Story, ended_itself
from torture.history import AttemptDump, RunDump
from torture.lines import line_of, read_line

_SHOWN = 120  # characters of a line in a finding
CUT = "killed in one moment"  # what a log says whose end was in a pipe that nobody was left to read
CUTTING = ("blackout", "orphan commands")  # the faults that leave nobody
ENDED_BY_OTHERS = ("worker_died(stopped)", "worker_died(cut off)")  # its executors were killed,
KILLED_LATER = ("kill supervisor", "storm")  # and then its supervisor, before it could see that
PIPED = ("fd", "err")  # pens whose lines go through pipes
PIPE = 65_536  # bytes that one holds


def logs(book: Book, story: Story, run: RunDump):
    """What is wrong with the logs of a run."""
    for attempt in run.attempts:
        if attempt.logged and attempt.end is None:
            yield f.LogNotClosed(run.run, attempt.attempt)
        yield from _bytes(run.run, attempt)
        counts = yield from _lines(run.run, attempt)
        is_cut = _is_cut(book, attempt)
        if attempt.end is not None and attempt.end.missing is not None and not is_cut:
            yield f.LogIncomplete(run.run, attempt.attempt, attempt.end.missing)
        yield from _promised(story, run.run, attempt, counts, is_cut=is_cut)
        yield from _as_it_was_read(story, run.run, attempt)


def _as_it_was_read(story, run, attempt):
    """What anybody has read is the beginning of the log."""
    reads = [op for op in story.of("read") if op.happened and op.answer.attempt == attempt.attempt]
    data = "".join(chunk.data for chunk in attempt.chunks).encode("latin-1") if reads else b""
    for op in reads:
        size = op.answer.size
        if len(data) < size or zlib.crc32(data[:size]) != op.answer.crc:
            yield f.LogChanged(run, attempt.attempt, op.invoke.op, size)


def _bytes(run, attempt):
    """The chunks are one unbroken row, and the end says of it what is true."""
    size = lines = crc = 0
    reached = defaultdict(int)
    pairs = []  # of what is stated, and what it must be
    for chunk in attempt.chunks:
        data = chunk.data.encode("latin-1")
        pairs += [("a chunk at", chunk.start, size), ("lines before a chunk", chunk.line, lines)]
        crc = zlib.crc32(data, crc)
        size += len(data)
        lines += data.count(b"\n")
        pairs += [("lines after a chunk", chunk.line + chunk.lines, lines)]
        pairs += [("a checksum", chunk.crc, crc)]
        further = max(chunk.source_end, reached[chunk.source] + 1)
        pairs += [("an offset in its source", chunk.source_end, further)]
        reached[chunk.source] = chunk.source_end
    if attempt.end is not None:
        end = attempt.end
        pairs += [("its size", end.size, size), ("its lines", end.lines, lines)]
        pairs += [("its checksum", end.crc, crc)]
    for where, stated, found in pairs:
        if stated != found:
            yield f.LogDisagrees(run, attempt.attempt, where, stated, found)


def _lines(run, attempt):
    """Each way of writing has its lines there, one after the other; return how many."""
    sources = defaultdict(list)
    for chunk in attempt.chunks:
        sources[chunk.source].append(chunk.data)
    counts = defaultdict(int)
    for pieces in sources.values():
        texts = "".join(pieces).split("\n")
        torn = texts.pop()
        for text in texts:
            yield from _line(run, attempt, counts, text)
        if torn and ended_itself(attempt) and read_line(torn):
            yield from _line(run, attempt, counts, f"{torn} (torn)")
    return counts


def _line(run, attempt, counts, text):
    found = read_line(text)
    if found is None:
        return  # a traceback, or bytes that went wrong: then a number is missing
    of_run, of_attempt, pen, number = found
    if (of_run, of_attempt) != (run, attempt.attempt):
        yield f.ForeignLine(run, attempt.attempt, text[:_SHOWN])
        return
    expected = counts[pen] + 1
    if not text.endswith(line_of(run, attempt.attempt, pen, expected)):
        yield f.LineOutOfPlace(run, attempt.attempt, pen, expected, text[:_SHOWN])
    counts[pen] = number


def _is_cut(book, attempt):
    """Whether a log says that its end may be missing, and something was done that excuses it."""
    says = attempt.end is not None and CUT in (attempt.end.missing or "")
    kinds = {fault.kind for fault in book.faults_on.get(attempt.worker, ())}
    twice = attempt.verdict in ENDED_BY_OTHERS and not kinds.isdisjoint(KILLED_LATER)
    return says and attempt.outcome == "lost" and (twice or not kinds.isdisjoint(CUTTING))


def _promised(story, run, attempt: AttemptDump, counts, *, is_cut):
    """Every line is there whose write had returned, by the witness or by the end of the code."""
    for mark in story.marks:
        if (mark.attempt, mark.what) == (attempt.attempt, "line") and mark.line > counts[mark.pen]:
            missing = range(counts[mark.pen] + 1, mark.line + 1)
            size = sum(len(line_of(run, attempt.attempt, mark.pen, n)) + 1 for n in missing)
            if not (is_cut and mark.pen in PIPED and size <= PIPE):
                yield f.LineMissing(run, attempt.attempt, mark.pen, mark.line, counts[mark.pen])
    if not ended_itself(attempt):
        return
    for pen, wanted in story.plan.pens.items():
        if counts[pen] != wanted:
            yield f.LineMissing(run, attempt.attempt, pen, wanted, counts[pen])
