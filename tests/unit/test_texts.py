"""Texts of others are shown so that no terminal obeys them and no reader is deceived."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.texts import one_line, shorten, visible, visible_json

ANYTHING = st.text(st.characters())  # lone surrogates too


def is_harmless(char):
    """Tell whether a terminal only draws a character, and draws something."""
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("50%\r90%\b\b", r"50%\r90%\x08\x08"),
        ("user\u202egnp.exe", r"user\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("NUL \x00 DEL \x7f", r"NUL \x00 DEL \x7f"),
        ("half a pair \udcff", r"half a pair \udcff"),
        ("one\ntwo\tthree", "one\ntwo\tthree"),
        ("日本語\u3000はい é ü ß", "日本語\u3000はい é ü ß"),
        ("e" + "\u0301" * 1_000_000, "e" + "\u0301" * 4 + "…"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, seen):
    assert seen == visible(text)


@given(ANYTHING)
def test_no_text_is_obeyed_and_every_text_can_be_written(text):
    shown = visible(text)

    shown.encode()  # raises for what cannot be written
    assert all(char in "\n\t" or is_harmless(char) for char in shown)


@given(ANYTHING)
def test_a_text_on_one_line_is_one_line_and_stays_as_it_is(text):
    line = one_line(text)

    assert len(line.splitlines()) <= 1
    assert line == one_line(line)


def test_white_space_of_every_kind_becomes_one_space():
    assert "a b c d e" == one_line("  a\r\nb\x85c\u2028d \t e\v")


def test_a_text_is_cut_with_a_mark():
    assert ("abcd", "abc…", "abc…") == (
        shorten("abcd", 4),
        shorten("abcde", 4),
        shorten("abcdefgh", 4),
    )


@given(st.text())
def test_json_for_terminals_reads_as_the_same_value(text):
    shown = visible_json(json.dumps(text, ensure_ascii=False))

    assert text == json.loads(shown)
    assert shown.isprintable()
