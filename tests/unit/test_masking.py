"""Masks: every form of a value goes, nothing else does, wherever the text is cut."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.masking import LONGEST, MASK, Mask, refusal

SECRET = 'p4ss/"wörd"+ \\x'
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n}\n-----END KEY-----\n"


@pytest.mark.parametrize("value", [SECRET, "simple-secret", "秘密的密码", KEY])
@pytest.mark.parametrize(
    "form",
    [
        str,
        lambda value: json.dumps(value)[1:-1],
        lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
        lambda value: repr(value)[1:-1],
        lambda value: quote(value, safe=""),
        quote,
        quote_plus,
        lambda value: urlencode({"password": value}).partition("=")[2],
    ],
)
def test_a_value_is_masked_in_every_form(value, form):
    text = f"before {form(value.strip())} after"

    masked = Mask([value]).text(text)

    assert masked.startswith("before ***")
    assert masked.endswith(" after")
    assert value.strip() not in masked
    if "\n" not in value:
        assert "before *** after" == masked


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("shift", range(7))
def test_a_value_is_masked_within_base64(encode, shift):
    text = encode(b"u" * shift + SECRET.encode() + b":more of it").decode()

    masked = Mask([SECRET]).text(text)

    left = encode(b"u" * shift + bytes(len(SECRET.encode())) + b":more of it").decode()
    first, last = masked.split("***")
    assert left.startswith(first[:-1])
    assert left.endswith(last[1:])
    assert len(first) + len(last) <= len(left) - len(SECRET.encode()) * 8 // 6 + 2


def test_a_value_of_several_lines_is_masked_line_by_line():
    assert "> ***\n> ***\n> ***\n> }\n> ***\n" == Mask([KEY]).text(
        "".join(f"> {line}\n" for line in KEY.splitlines())
    )


def test_what_is_turned_round_is_not_found():
    assert SECRET[::-1] == Mask([SECRET]).text(SECRET[::-1])


def test_longer_values_win_and_those_that_overlap_are_one():
    mask = Mask(["abcdef", "abcdefgh", "ghijkl"])

    assert "1***2" == mask.text("1abcdefghijkl2")
    assert "******" == Mask(["abcdef", "uvwxyz"]).text("abcdefuvwxyz")
    assert "***" == Mask(["aaaaaa"]).text("a" * 100)


def test_bytes_that_are_no_text_stay_as_they_are():
    data = b"\xff\x00" + SECRET.encode() + b"\xfe\r\n"

    assert b"\xff\x00" + MASK + b"\xfe\r\n" == Mask([SECRET]).apply(data)


def test_without_values_nothing_is_touched():
    mask = Mask()

    assert not mask
    assert (b"all of it", 0) == (mask.apply(b"all of it"), mask.open_end(b"all of it"))
    assert "all of it" == mask.text("all of it")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("12345", "fewer than 6 bytes"),
        ("", "fewer than 6 bytes"),
        ("\n\nabc\n  def  \n", "fewer than 6 bytes"),
        ("x" * (LONGEST + 1), "more than 16384 bytes"),
    ],
)
def test_a_value_that_cannot_be_masked_is_refused(value, reason):
    assert reason in refusal(value)
    assert f"a {value} b" == Mask([value]).text(f"a {value} b")


@pytest.mark.parametrize("value", ["123456", "äöü", "x" * LONGEST, "abc\nlonger line\n"])
def test_a_value_that_can_be_masked_is_not_refused(value):
    assert refusal(value) is None
    assert "***" in Mask([value]).text(f"a {value} b")


def test_the_end_of_a_text_that_was_cut_may_be_half_a_value():
    mask = Mask(["top-secret"])

    assert "it is ***" == mask.text("it is top-sec", was_cut=True)
    assert "it is top-sec" == mask.text("it is top-sec")
    assert "it is ***" == mask.text("it is top-secret", was_cut=True)


VALUES = st.lists(st.text("ab", min_size=6, max_size=9), min_size=1, max_size=3)


@given(VALUES, st.text("ab\n", max_size=120), st.lists(st.integers(1, 30), max_size=10))
def test_a_text_that_is_cut_before_what_may_begin_a_value_is_masked_as_the_whole(
    values, text, sizes
):
    mask, data = Mask(values), text.encode()
    masked, rest = [], b""
    for size in [*sizes, len(data)]:
        piece, data = rest + data[:size], data[size:]
        certain = len(piece) - mask.open_end(piece)
        masked.append(mask.apply(piece[:certain]))
        rest = piece[certain:]
    masked.append(mask.apply(rest))

    assert mask.apply(text.encode()) == b"".join(masked)
    assert not any(value in b"".join(masked).decode() for value in values)
