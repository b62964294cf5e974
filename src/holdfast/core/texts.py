"""Make texts of others harmless to look at: names, errors, output of tasks may hold anything."""

from __future__ import annotations

import re
import unicodedata

# Marks that are drawn over the letter before them; more than a few in a row draw over other lines.
_MARKS = r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_LONGEST_WHO = 100  # characters
_PILE = re.compile(f"({_MARKS}{{4}}){_MARKS}+")


def visible(text: str) -> str:
    r"""Return a text in which all that a terminal would obey is written out: ``\x1b[31m``.

    So nothing in it moves the cursor, changes colours, titles or the clipboard, hides letters or
    turns their order. Line breaks and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return _PILE.sub("\\1…", "".join(map(_visible, text)))


def one_line(text: str) -> str:
    """Return a text as `visible` does, on one line: every run of white space is one space."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    return visible(" ".join(text.split()))


def visible_json(text: str) -> str:
    """Return JSON that reads as the same value, with escapes for what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def shorten(text: str, length: int) -> str:
    """Return a text cut to a length, with a mark where it was cut."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def who(name: object) -> str:
    """Return the name of a person or a program as it is kept: short, on one line."""
    return shorten(one_line(str(name)), _LONGEST_WHO)


def _escape(char: str) -> str:
    """Return a character as JSON may write it."""
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _visible(char: str) -> str:
    if char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs":
        return char
    return char.encode("unicode_escape").decode()
