"""Plant errors in logs: S9."""

from __future__ import annotations

import zlib
from collections import defaultdict

from msgspec.structs import replace

from torture import findings as f
from torture.book import ended_itself
from torture.history import EndDump, Invoke, Mark, Ok
from torture.lines import line_of, read_line
from torture.of_logs import CUT
from torture.planting import caught_as


def _logged(_run, attempt):
    return ended_itself(attempt) and attempt.chunks


def _is_whole(attempt):
    return attempt.chunks and attempt.end is not None and attempt.end.missing is None


def _rewrite(s, found, change):
    """Change the lines of one source, and make all of the log's own figures agree with it."""
    _, attempt = found
    sources = defaultdict(str)
    for chunk in attempt.chunks:
        sources[chunk.source] += chunk.data
    source = s.dice.choice([*sources])
    lines = sources[source].splitlines(keepends=True)
    change(lines)
    sources[source] = "".join(lines)
    chunks, size, count, crc = [], 0, 0, 0
    for number, text in sources.items():
        crc = zlib.crc32(text.encode("latin-1"), crc)
        facts = {"start": size, "line": count, "lines": text.count("\n"), "crc": crc}
        chunk = replace(attempt.chunks[0], source=number, source_end=len(text), data=text, **facts)
        chunks += [chunk] if text else []
        size, count = size + len(text), count + text.count("\n")
    return s.set_attempt(found, chunks=tuple(chunks), end=EndDump(size, count, crc))


@caught_as(f.LineMissing)
def lose_the_last_line(s):
    found = s.attempt(_logged)
    return found is not None and _rewrite(s, found, lambda lines: lines.pop())


@caught_as(f.LineOutOfPlace)
def lose_a_line_in_the_middle(s):
    found = s.attempt(lambda run, a: _logged(run, a) and min(s.story(run).plan.pens.values()) > 2)
    return found is not None and _rewrite(s, found, lambda lines: lines.pop(1))


@caught_as(f.LineOutOfPlace)
def write_a_line_twice(s):
    found = s.attempt(_logged)
    return found is not None and _rewrite(s, found, lambda lines: lines.insert(0, lines[0]))


@caught_as(f.LineOutOfPlace)
def swap_two_lines(s):
    found = s.attempt(lambda run, a: _logged(run, a) and min(s.story(run).plan.pens.values()) > 2)
    return found is not None and _rewrite(s, found, lambda lines: lines.insert(0, lines.pop(1)))


@caught_as(f.LineOutOfPlace)
def change_what_a_line_says(s):
    def change(lines):
        at = s.dice.randrange(1, len(lines)) if len(lines) > 1 else 0
        lines[at] = lines[at][:-1] + "x\n"

    found = s.attempt(_logged)
    return found is not None and _rewrite(s, found, change)


@caught_as(f.ForeignLine)
def mix_in_a_line_of_another(s):
    found = s.attempt(_logged)
    line = line_of(s.new_id(), 1, "print", 1) + "\n"
    return found is not None and _rewrite(s, found, lambda lines: lines.insert(0, line))


@caught_as(f.ForeignLine)
def mix_in_a_line_of_the_attempt_before(s):
    def change(lines):
        run, attempt, pen, number = read_line(lines[0].rstrip("\n"))
        lines.insert(1, line_of(run, attempt + 1, pen, number) + "\n")

    found = s.attempt(_logged)
    return found is not None and _rewrite(s, found, change)


@caught_as(f.LineMissing)
def lose_a_line_of_one_who_was_killed(s):
    seen = {(m.run, m.attempt): m for m in s.history.witness if m.what == "line"}
    found = s.attempt(
        lambda run, a: not ended_itself(a) and _is_whole(a) and (run.run, a.attempt) in seen
    )
    if found is None:
        return False
    run, attempt = found
    mark = seen[run.run, attempt.attempt]
    s.history.witness.append(replace(mark, line=mark.line + 100))
    return True


@caught_as(f.LineMissing)
def lose_a_whole_log(s):
    found = s.attempt(_logged)
    return s.set_attempt(found, logged=False, chunks=(), end=None)


@caught_as(f.LogChanged)
def change_what_somebody_has_read(s):
    found = s.attempt(_logged)
    if found is None:
        return False
    run, attempt = found
    size = s.dice.randint(1, attempt.end.size)
    answer = Ok("x", attempt=attempt.attempt, size=size, crc=4711)
    return s.say(Invoke("x", "read", run.run), answer)


@caught_as(f.LogChanged)
def lose_what_somebody_has_read(s):
    found = s.attempt(_logged)
    if found is None:
        return False
    run, attempt = found
    data = "".join(chunk.data for chunk in attempt.chunks).encode() + b"more"
    answer = Ok("x", attempt=attempt.attempt, size=len(data), crc=zlib.crc32(data))
    return s.say(Invoke("x", "read", run.run), answer)


@caught_as(f.LogNotClosed)
def leave_a_log_open(s):
    return s.set_attempt(s.attempt(_logged), end=None)


@caught_as(f.LogIncomplete)
def say_that_a_log_is_incomplete(s):
    found = s.attempt(_logged)
    missing = replace(found[1].end, missing="3 bytes were lost") if found else None
    return s.set_attempt(found, end=missing)


@caught_as(f.LogIncomplete)
def excuse_a_hole_by_a_kill_that_was_none(s):
    found = s.attempt(_logged)
    missing = replace(found[1].end, missing=CUT) if found else None
    return s.set_attempt(found, end=missing)


@caught_as(f.LineMissing)
def lose_more_than_a_pipe_holds(s):
    found = s.attempt(lambda _, a: a.end is not None and a.end.missing == CUT)
    if found is None:
        return False
    run, attempt = found
    s.history.witness.append(Mark(run.run, attempt.attempt, "line", pen="fd", line=2000))
    return True


@caught_as(f.LineMissing)
def lose_a_record_to_a_kill_that_takes_pipes(s):
    found = s.attempt(lambda _, a: a.end is not None and a.end.missing == CUT)
    if found is None:
        return False
    run, attempt = found
    s.history.witness.append(Mark(run.run, attempt.attempt, "line", pen="print", line=10_000))
    return True


@caught_as(f.LogDisagrees)
def lose_a_chunk(s):
    found = s.attempt(_logged)
    if found is None:
        return False
    gone = s.dice.choice(found[1].chunks)
    return s.set_attempt(found, chunks=tuple(c for c in found[1].chunks if c is not gone))


@caught_as(f.LogDisagrees)
def store_a_chunk_twice(s):
    found = s.attempt(_logged)
    return found is not None and s.set_attempt(found, chunks=found[1].chunks[:1] + found[1].chunks)


@caught_as(f.LogDisagrees)
def flip_a_byte(s):
    found = s.attempt(_logged)
    if found is None:
        return False
    chunks = [*found[1].chunks]
    number = s.dice.randrange(len(chunks))
    data = chunks[number].data
    chunks[number] = replace(chunks[number], data=chr(ord(data[0]) ^ 1) + data[1:])
    return s.set_attempt(found, chunks=tuple(chunks))


@caught_as(f.LogDisagrees)
def seal_a_log_with_another_sum(s):
    found = s.attempt(_logged)
    sealed = replace(found[1].end, crc=found[1].end.crc ^ 1) if found else None
    return s.set_attempt(found, end=sealed)


@caught_as(f.LogDisagrees)
def seal_a_log_with_another_size(s):
    found = s.attempt(_logged)
    sealed = replace(found[1].end, size=found[1].end.size + 1) if found else None
    return s.set_attempt(found, end=sealed)
