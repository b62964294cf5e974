"""`holdfast logs`: parts, searches, JSON, and what a terminal is spared."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from hashlib import sha256

import pytest

from helpers import logs
from helpers.factories import a_run, a_worker, claim_one, enqueue, settle
from helpers.waiting import wait_until
from holdfast.cli import errors
from holdfast.cli.harmless import Harmless
from holdfast.core.models import Hole, Lease, LogEnd, Stream

LINES = [b"%d: a line\n" % number for number in range(1, 101)]


@pytest.fixture
def run_id(live):
    """A run with two attempts: the second wrote a hundred lines, every tenth to stderr."""
    worker_id = a_worker(live)
    run_id = enqueue(live)
    for outcome in ("released", "succeeded"):
        claimed = claim_one(live, worker_id)
        for number, line in enumerate(LINES if outcome == "succeeded" else [b"first\n"], 1):
            stream = Stream.OUT if number % 10 else Stream.ERR
            logs.append(live, claimed.lease, line, stream)
        logs.end(live, claimed.lease)
        settle(live, worker_id, claimed, outcome, logged=True)
    return run_id


def joined(first, last):
    return b"".join(LINES[first - 1 : last])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--lines", "11:13"], joined(11, 13)),
        (["--lines", "98:"], joined(98, 100)),
        (["--lines", ":2"], joined(1, 2)),
        (["--lines", "7"], joined(7, 7)),
        (["--lines", "1000:1100"], b""),
        (["--tail", "3"], joined(98, 100)),
        (["--tail", "1", "--attempt", "1"], b"first\n"),
        (["--tail", "2", "--stream", "err"], LINES[89] + LINES[99]),
        (["--lines", "15:25", "--stream", "err"], LINES[19]),
        (["--since", "1h"], b"first\n" + joined(1, 100)),
        (["--until", "2020-01-01", "--attempt", "2"], LINES[0]),
        (["--since", "2126-01-01"], b""),
    ],
)
def test_a_part_is_printed_byte_for_byte(run_id, holdfast, options, expected):
    assert expected == holdfast("logs", run_id, *options).stdout_bytes


def test_all_of_it_is_printed_when_no_part_is_chosen(run_id, holdfast):
    assert b"first\n" + joined(1, 100) == holdfast("logs", run_id, "--raw").stdout_bytes


@pytest.mark.parametrize(
    "options",
    [
        ["--lines", "5:4"],
        ["--lines", "a:b"],
        ["--lines", ":"],
        ["--since", "yesterday"],
        ["--stream", "both"],
        ["--search", "(", "--regex"],
        ["--search", ""],
        ["--ignore-case"],
        ["--lines", "3:", "--follow"],
    ],
)
def test_what_cannot_be_is_refused(run_id, holdfast, options):
    done = holdfast("logs", run_id, *options)

    assert errors.USAGE == done.exit_code
    assert "is not possible: expected" in done.stderr
    assert b"" == done.stdout_bytes


def test_a_search_prints_line_and_byte_of_each_hit(run_id, holdfast):
    done = holdfast("logs", run_id, "--search", "7: ")

    offset = len(joined(1, 6))
    assert f"7:{offset}:7: a line" == done.stdout.splitlines()[0]
    assert [f"{n}" for n in (*range(7, 100, 10),)] == [
        line.partition(":")[0] for line in done.stdout.splitlines()
    ]
    assert errors.OK == done.exit_code


def test_a_search_shows_the_lines_around_and_where_others_were_left_out(run_id, holdfast):
    out = holdfast("logs", run_id, "--search", r"^(5|9): ", "--regex", "-C", "1").stdout

    shown = [(line[0], line.split(" ", 1)[0][-2:]) for line in out.splitlines() if line != "--"]
    assert [("4", "4:"), ("5", "5:"), ("6", "6:"), ("8", "8:"), ("9", "9:"), ("1", "0:")] == shown
    assert ["--"] == [line for line in out.splitlines() if line == "--"]
    assert out.splitlines()[0].startswith("4-")


def test_a_search_without_a_hit_says_so_with_its_exit_code(run_id, holdfast):
    done = holdfast("logs", run_id, "--search", "A LINE")
    assert (errors.FAILED, b"") == (done.exit_code, done.stdout_bytes)

    assert errors.OK == holdfast("logs", run_id, "--search", "A LINE", "-i").exit_code


def test_an_evil_expression_is_stopped(live, holdfast, monkeypatch):
    monkeypatch.setattr("holdfast.search.SLOWEST", 0.1)
    run_id, claimed = a_run(live, "running")
    logs.append(live, claimed.lease, b"a" * 3000 + b"!\n")

    done = holdfast("logs", run_id, "--search", "(a+)+$", "--regex")

    assert errors.USAGE == done.exit_code
    assert "repetition inside a repetition" in done.stderr


def test_json_gives_each_line_and_the_end(live, holdfast):
    run_id, claimed = a_run(live, "running")
    logs.append(live, claimed.lease, b"caf\xc3\xa9\n")
    logs.append(live, claimed.lease, b"\xff\x00\n", Stream.ERR)
    logs.append(live, claimed.lease, b"half")
    logs.end(live, claimed.lease)

    first, second, third, end = map(
        json.loads, holdfast("logs", run_id, "--json").stdout.splitlines()
    )

    assert (1, 1, 0, "out", "café", True) == tuple(
        first[key] for key in ("attempt", "line", "offset", "stream", "text", "ends")
    )
    assert (b"\xff\x00", "err") == (base64.b64decode(second["base64"]), second["stream"])
    assert ("half", False, 3) == (third["text"], third["ends"], third["line"])
    assert (True, 1, 13, 2) == tuple(end[key] for key in ("complete", "attempt", "size", "lines"))


def test_json_of_a_search_has_the_hits(run_id, holdfast):
    out = holdfast("logs", run_id, "--json", "--search", "42", "--attempt", "2").stdout
    line, end = map(json.loads, out.splitlines())

    assert [{"offset": len(joined(1, 41)), "size": 2}] == line["hits"]
    assert end["complete"]


def test_json_says_when_more_is_to_come(live, holdfast):
    run_id, claimed = a_run(live, "running")
    logs.append(live, claimed.lease, b"half")

    half, end = map(json.loads, holdfast("logs", run_id, "--json").stdout.splitlines())

    assert ("half", False) == (half["text"], end["complete"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--tail", "2"], joined(99, 100)),
        (["--stream", "err", "--tail", "1"], LINES[99]),
        (["--search", "100"], b"100:1080:100: a line\n"),
    ],
)
def test_a_part_can_be_followed(run_id, holdfast, options, expected):
    assert expected == holdfast("logs", run_id, "-f", *options).stdout_bytes


def test_holes_are_told_with_place_and_size(live, holdfast):
    run_id, claimed = a_run(live, "running")
    logs.append(live, claimed.lease, b"one\ntwo\n")
    holes = (Hole(4, 512), Hole(8, 7))
    end = LogEnd(8, 2, 0, "519 bytes are missing.", holes)
    live.logs.append({}, {claimed.lease: end})

    done = holdfast("logs", run_id)
    assert b"one\ntwo\n" == done.stdout_bytes
    assert [
        "holdfast: the log of attempt 1 has a hole: 519 bytes are missing.",
        "holdfast: 512 bytes are missing after byte 4.",
        "holdfast: 7 bytes are missing after byte 8.",
    ] == done.stderr.splitlines()

    *_, told = map(json.loads, holdfast("logs", run_id, "--json").stdout.splitlines())
    assert [{"offset": 4, "size": 512}, {"offset": 8, "size": 7}] == told["holes"]
    assert not told["complete"]


def test_a_log_that_the_retention_deleted_says_so(run_id, live, holdfast):
    live.upkeep.retire([Lease(run_id, 2)])

    done = holdfast("logs", run_id)
    assert (b"first\n", errors.NOT_FOUND) == (done.stdout_bytes, done.exit_code)
    assert "attempt 2, was deleted by the retention on" in done.stderr
    assert "(100 lines, 1092 bytes)" in done.stderr
    assert "deleted by the retention" in holdfast("logs", "-f", run_id).stderr

    *_, end = map(json.loads, holdfast("logs", "--json", run_id).stdout.splitlines())
    assert (False, 100, 1092) == (end["complete"], end["lines"], end["size"])
    assert end["deleted_at"].endswith("+00:00")


# A terminal


def in_a_terminal(live, run_id, *options):
    """What a terminal gets from `holdfast logs`."""
    here, there = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "logs", run_id, *options],
        stdout=there,
        stderr=subprocess.PIPE,
    )
    os.close(there)
    got = b""
    while True:
        try:
            data = os.read(here, 65536)
        except OSError:  # the other end is closed
            break
        got += data
    os.close(here)
    with process:
        assert b"" == process.stderr.read()
    assert 0 == process.returncode
    return got.replace(b"\r\n", b"\n")  # what the terminal makes of a line feed


EVIL = (
    b"\x1b]0;title\x07"  # sets the title
    b"\x1b]52;c;aGk=\x1b\\"  # fills the clipboard
    b"\x1b]8;;javascript:alert(1)\x1b\\x"  # a link
    b"\x1b[2J\x1b[H\x1b[6n"  # clears, moves, asks
    b"\x1bP+q\x1b\\"
    b"\xc2\x9b2J"  # the same with one sign
    b"\x08\x08\x7f\x00"
    b"\xe2\x80\xaeesrever"  # turns the direction
)
COLOURS = b"\x1b[31mred\x1b[1;38;5;12mblue\x1b[0m"


def test_a_terminal_gets_text_and_colours_only(live):
    run_id, claimed = a_run(live, "running")
    logs.append(live, claimed.lease, EVIL + COLOURS + b"\tcaf\xc3\xa9\r99%\n")
    logs.end(live, claimed.lease)

    got = in_a_terminal(live, run_id)

    text = got.decode()
    assert COLOURS.decode() + "\tcafé\r99%\n" in text
    rest = text.replace(COLOURS.decode(), "").removesuffix("\x1b[0m")
    assert not [char for char in rest if ord(char) < 32 and char not in "\t\r\n"]
    assert not [char for char in rest if 0x7F <= ord(char) < 0xA0 or char == "\u202e"]
    assert "\\x1b]0;title\\x07" in text
    assert "\\u202eesrever" in text


def test_a_terminal_gets_the_bytes_when_they_are_asked_for(live):
    run_id, claimed = a_run(live, "running")
    logs.append(live, claimed.lease, EVIL + b"\n")
    logs.end(live, claimed.lease)

    assert EVIL + b"\n" == in_a_terminal(live, run_id, "--raw")


def test_a_terminal_is_spared_in_a_search_too(live):
    run_id, claimed = a_run(live, "running")
    logs.append(live, claimed.lease, b"hit " + EVIL + b"\x1b[31mred\n")
    logs.end(live, claimed.lease)

    got = in_a_terminal(live, run_id, "--search", "hit").decode()

    assert got.startswith("1:0:hit \\x1b]0;title\\x07")
    assert got.endswith("\x1b[31mred\x1b[0m\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_text_is_harmless_however_it_is_cut(size):
    data = EVIL + COLOURS + "日志\n".encode() + b"\xff\x1b[3"
    whole, cut = Harmless(), Harmless()
    expected = whole.text(data) + whole.rest()

    got = "".join(cut.text(data[at : at + size]) for at in range(0, len(data), size)) + cut.rest()

    assert expected == got
    assert got.endswith("日志\n\ufffd\\x1b[3\x1b[0m")


def test_a_pipe_gets_every_byte_of_a_binary_log(live, folder):
    run_id, claimed = a_run(live, "running")
    data = bytes(range(256)) * 5000
    logs.append(live, claimed.lease, data)
    logs.end(live, claimed.lease)
    command = [sys.executable, "-m", "holdfast", "logs", run_id]

    with (folder / "copy").open("wb") as file:
        subprocess.run(command, stdout=file, check=True)
    piped = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout

    assert sha256(data).digest() == sha256((folder / "copy").read_bytes()).digest()
    assert sha256(data).digest() == sha256(piped).digest()


def test_nobody_is_told_of_a_pipe_that_was_closed(live):
    run_id, claimed = a_run(live, "running")
    for _ in range(20):
        logs.append(live, claimed.lease, b"line\n" * 10_000)
    logs.end(live, claimed.lease)
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "logs", run_id],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert b"line\n" == process.stdout.readline()
        process.stdout.close()
        wait_until(lambda: process.poll() is not None, within=20)
        assert b"" == process.stderr.read()
