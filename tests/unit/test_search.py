"""Search: every hit, with its line number and place, however the log is cut into chunks."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.chunks import chunked
from holdfast.core.errors import BadOption, SearchTooSlow
from holdfast.core.models import Stream
from holdfast.logs import LONGEST_PART, lines_of
from holdfast.search import LONGEST_TEXT, Pattern, search

OUT, ERR = Stream.OUT, Stream.ERR


def hits(parts, text, **options):
    """(line, offset of the hit) of each hit."""
    found = search(chunked(parts), Pattern(text, **options))
    return [(line.number, at) for line in found for at, _ in line.hits]


def shown(parts, text, context):
    """The numbers of the lines that a search shows."""
    return [line.number for line in search(chunked(parts), Pattern(text), context)]


PIECES = st.lists(st.binary(min_size=1, max_size=12), max_size=30)
TEXT = st.text("ab\n", min_size=1, max_size=60)


@given(TEXT, st.lists(st.integers(0, 60), max_size=8), st.sampled_from(["a", "ab", "bab", "aab"]))
def test_the_hits_are_those_of_the_whole_text_wherever_it_is_cut(text, cuts, wanted):
    data = text.encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[a:b] for a, b in itertools.pairwise(places)]
    expected, start = [], 0
    for number, line in enumerate(data.split(b"\n"), 1):
        at = line.find(wanted.encode())
        while at >= 0:
            expected.append((number, start + at))
            at = line.find(wanted.encode(), at + len(wanted))
        start += len(line) + 1

    assert expected == hits(parts, wanted)
    assert expected == hits(parts, wanted, ignore_case=True)
    assert expected == hits(parts, wanted, regex=True)


@given(
    st.lists(st.sampled_from(["hit", "x", "yy", ""]), min_size=1, max_size=40),
    st.lists(st.integers(1, 9), min_size=1, max_size=60),
    st.integers(0, 4),
)
def test_the_lines_around_a_hit_are_shown_once_and_in_order(words, sizes, context):
    data = "".join(f"{word}\n" for word in words).encode()
    parts, at = [], 0
    for size in [*sizes, len(data)]:
        if data[at : at + size]:
            parts.append(data[at : at + size])
        at += size
    places = [number for number, word in enumerate(words, 1) if word == "hit"]
    near = [n for n in range(1, len(words) + 1) if any(abs(n - p) <= context for p in places)]

    assert near == shown(parts, "hit", context)


def test_lines_around_a_hit_come_from_chunks_that_were_passed_over():
    quiet = [b"%d\n" % number for number in range(1000)]

    assert [998, 999, 1000, 1001, 1002] == shown([*quiet, b"hit\n", b"z\n"], "hit", 3)
    assert [1, 2, 3, 1001, 1002, 1003] == shown([b"hit\n", *quiet, b"u\nhit\n"], "hit", 2)


def test_a_hit_may_begin_in_one_chunk_and_end_in_the_next():
    assert [(2, 6)] == hits([b"first\nsec", b"ond\nthird\n"], "second")
    assert [(2, 6)] == hits([b"first\ns", b"e", b"c", b"ond\nthird\n"], "second")


def test_a_hit_is_found_although_another_stream_wrote_in_the_middle_of_it():
    parts = [(b"first\nsec", OUT), (b"oops\n", ERR), (b"ond\n", OUT), (b"second\n", ERR)]

    assert [(3, 6), (4, 18)] == hits(parts, "second")


def test_what_two_streams_wrote_side_by_side_is_no_hit():
    assert [] == hits([(b"sec", OUT), (b"ond\n", ERR)], "second")
    assert [] == hits([(b"sec", OUT), (b"x\n", OUT), (b"y\n", ERR), (b"ond\n", OUT)], "second")


@pytest.mark.parametrize("regex", [False, True])
@pytest.mark.parametrize("before", [0, 70_000, 3 * LONGEST_PART - 3])
def test_a_hit_in_a_line_of_any_length_is_found_once(before, regex):
    data = b"x" * before + b"needle" + b"y" * 200_000 + b"\nnext needle\n"
    parts = [data[at : at + (1 << 16)] for at in range(0, len(data), 1 << 16)]

    found = hits(parts, "needle", regex=regex)

    assert [(1, before), (2, before + 200_012)] == found


def test_a_line_shows_where_in_it_the_hits_are():
    (line,) = search(chunked(["ä fish, a Fish\n".encode()]), Pattern("fish", ignore_case=True))

    assert ((3, 4), (11, 4)) == line.hits
    assert "ä fish, a Fish".encode() == line.data


def test_an_expression_sees_text_and_bytes_that_are_none():
    assert [(1, 0)] == hits(["日志 7\n".encode()], r"^.. \d$", regex=True)
    assert [(1, 3)] == hits([b"\xff\xfe\x00end\n"], r"end", regex=True)
    assert [(1, 0), (3, 3)] == hits([b"\nx\n\n"], r"^$", regex=True)


@pytest.mark.parametrize("data", [b"x\nHiT\n", "ä\nHiT\n".encode(), "\n\u212ait\n".encode()])
def test_ignoring_the_case_finds_all_that_a_look_at_each_line_finds(data):
    wanted = "kit" if b"it" in data and b"HiT" not in data else "hit"

    assert [2] == [number for number, _ in hits([data], wanted, ignore_case=True)]


def test_ignoring_the_case_knows_more_than_ascii():
    assert [(1, 0)] == hits(["ÄRGER\n".encode()], "ärger", ignore_case=True)
    assert [(1, 0)] == hits(["ÄRGER\n".encode()], "ä.g", regex=True, ignore_case=True)
    assert [] == hits(["ÄRGER\n".encode()], "ärger")


@pytest.mark.parametrize("evil", [r"(a+)+$", r"(a|aa)+$", r"(.*a){25}b"])
def test_an_expression_that_needs_ages_is_stopped(evil, monkeypatch):
    monkeypatch.setattr("holdfast.search.SLOWEST", 0.1)
    started = time.monotonic()
    with pytest.raises(SearchTooSlow, match="repetition"):
        hits([b"a" * 5000 + b"!\n"], evil, regex=True)

    assert time.monotonic() - started < 20


@pytest.mark.parametrize("broken", ["(", "[", "*", "(?<", "\\", "(" * 900])
def test_an_expression_that_is_none_is_refused(broken):
    with pytest.raises(BadOption, match="a regular expression"):
        Pattern(broken, regex=True)


@pytest.mark.parametrize("text", ["", "x" * (LONGEST_TEXT + 1)])
def test_a_text_that_is_empty_or_enormous_is_refused(text):
    with pytest.raises(BadOption, match="search="):
        Pattern(text)


def test_many_hits_in_one_line_are_noted_up_to_a_hundred():
    assert 100 == len(hits([b"a" * 5000 + b"\n"], "a"))


@pytest.mark.parametrize("data", [b"z" * 65_536, b"some line of a log\n" * 3000, b"."])
def test_memory_does_not_grow_with_the_log(data):
    (chunk,) = chunked([data])
    size, lines = len(data), data.count(b"\n")
    many = (
        chunk._replace(start=n * size, line=n * lines, data=bytes(bytearray(data)))
        for n in range(500 if size > 1 else 5000)
    )
    tracemalloc.start()
    try:
        assert [] == list(search(many, Pattern("no such text"), 5))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


# lines_of


def lines(parts):
    return [(line.number, line.offset, line.data, line.ends) for line in lines_of(chunked(parts))]


@given(PIECES)
def test_lines_put_together_are_the_log(parts):
    whole = b"".join(parts)

    found = list(lines_of(chunked(parts)))

    assert whole == b"".join(line.data + b"\n" * line.ends for line in found)
    for line in found:
        assert line.number == whole[: line.offset].count(b"\n") + 1
        assert whole[line.offset :].startswith(line.data)


def test_a_line_that_comes_in_several_chunks_is_one():
    assert [(1, 0, b"abc", True), (2, 4, b"d", False)] == lines([b"a", b"b", b"c\nd"])


def test_a_line_is_cut_where_another_stream_comes_between():
    parts = [(b"a", OUT), (b"b\n", ERR), (b"c\n", OUT)]

    assert [(1, 0, b"a", False), (1, 1, b"b", True), (2, 3, b"c", True)] == lines(parts)


def test_a_line_of_megabytes_comes_in_parts():
    found = lines([b"x" * 65_536] * 16 + [b"x\ny\n"])

    assert {1, 2} == {number for number, *_ in found}
    assert max(len(data) for _, _, data, _ in found) <= 2 * LONGEST_PART
    assert 16 * 65_536 + 1 == sum(len(data) for number, _, data, _ in found if number == 1)
