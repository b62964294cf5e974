"""Say what can be the name of a task or a queue, and what can be a key."""

from __future__ import annotations

from typing import TypeGuard

from holdfast.core.errors import BadOption
from holdfast.core.texts import one_line

LONGEST_NAME = 200  # characters
EVERY_QUEUE = "*"  # what a worker that serves all queues has for their names


def is_storable(text: str) -> bool:
    """Tell whether every database can keep a text: no NUL, no lone surrogates."""
    return "\0" not in text and text.encode(errors="ignore").decode() == text


def is_name(value: object) -> TypeGuard[str]:
    """Tell whether a value can be a name: short, and nothing in it but what one sees."""
    return _is_short(value) and one_line(value) == value


def is_queue_name(value: object) -> TypeGuard[str]:
    """Tell whether a value can be the name of a queue; workers are told theirs by commas."""
    return is_name(value) and value != EVERY_QUEUE and "," not in value


def check_name(value: object, *, option: str) -> None:
    """Raise BadOption unless a value can be a name."""
    if not is_name(value):
        expected = f"a name of 1 to {LONGEST_NAME} printable characters on one line"
        raise BadOption(option=option, value=value, expected=expected)


def check_queue_name(value: object, *, option: str) -> None:
    """Raise BadOption unless a value can be the name of a queue."""
    if not is_queue_name(value):
        expected = f"a name of 1 to {LONGEST_NAME} printable characters on one line, "
        expected += "without commas, and not *"
        raise BadOption(option=option, value=value, expected=expected)


def check_key(value: object, *, option: str) -> None:
    """Raise BadOption unless a value can be a key; keys are made from data and may hold more."""
    if not (_is_short(value) and is_storable(value)):
        expected = f"a text of 1 to {LONGEST_NAME} characters, without NUL or lone surrogates"
        raise BadOption(option=option, value=value, expected=expected)


def check_words(value: str | None, *, option: str, longest: int) -> None:
    """Raise BadOption for words that are too long or that no database can keep."""
    if value is not None and not (len(value) <= longest and is_storable(value)):
        expected = f"a text of at most {longest} characters, without NUL or lone surrogates"
        raise BadOption(option=option, value=value, expected=expected)


def _is_short(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME
