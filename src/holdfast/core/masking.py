"""Replace secret values by ``***`` in what leaves the host.

This is best effort. It finds a value as it is, line by line when it has several, and in the forms
into which programs put it: JSON, Python's repr, URLs, base64. It does not find a value that was
turned round, hashed, encrypted, or cut by something other than the end of a write.
"""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK = b"***"
SHORTEST = 6  # bytes; shorter values are in any text by chance
LONGEST = 1 << 14  # bytes, of one form of a value


def refusal(value: str) -> str | None:
    """Say why a value cannot be masked, or return None."""
    if any(SHORTEST <= len(form) <= LONGEST for form in _lines(value)):
        return None
    if max(map(len, _lines(value)), default=0) < SHORTEST:
        return f"it has fewer than {SHORTEST} bytes"
    return f"it has more than {LONGEST} bytes"


class Mask:
    """Know some secret values in all their forms. None of these holds a line feed."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = frozenset(values)
        forms = {form for value in self._values for form in _forms(value)}
        self._forms = sorted(form for form in forms if SHORTEST <= len(form) <= LONGEST)

    def __bool__(self) -> bool:
        return bool(self._forms)

    def __or__(self, values: Iterable[str]) -> Mask:
        return Mask(self._values.union(values))

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Return where values stand, from and to; those that overlap are one."""
        found = [span for form in self._forms if form in data for span in _places(form, data)]
        found.sort()
        spans: list[tuple[int, int]] = []
        for begin, end in found:
            if spans and begin < spans[-1][1]:
                spans[-1] = spans[-1][0], max(end, spans[-1][1])
            else:
                spans.append((begin, end))
        return spans

    def apply(self, data: bytes) -> bytes:
        """Return bytes without the values."""
        spans = self.spans(data)
        if not spans:
            return data
        kept, at = [], 0
        for begin, end in spans:
            kept += [data[at:begin], MASK]
            at = end
        return b"".join([*kept, data[at:]])

    def text(self, text: str, *, was_cut: bool = False) -> str:
        """Return a text without the values; the end of one that was cut may be half of one."""
        data = text.encode("utf-8", "surrogateescape")
        if was_cut and (half := self.open_end(data)):
            data = data[:-half] + MASK
        return self.apply(data).decode("utf-8", "surrogateescape")

    def open_end(self, data: bytes) -> int:
        """Return how many bytes at the end may become a value with what follows.

        Bytes may be cut before them, and nowhere within them: then the parts, masked one by one,
        are the whole, masked. A value at the end whose own end may begin another one counts too.
        """
        line = data[data.rfind(b"\n") + 1 :]
        half = max((_overlap(form, line) for form in self._forms), default=0) if line else 0
        if not half:
            return 0
        cut = len(line) - half
        return len(line) - next((a for a, b in self.spans(line) if a < cut < b), cut)


def _lines(value: str) -> list[bytes]:
    lines = value.encode("utf-8", "surrogateescape").splitlines()
    return [stripped for line in lines if (stripped := line.strip())]


def _forms(value: str) -> Iterator[bytes]:
    yield from _lines(value)
    text = value.strip()
    data = text.encode("utf-8", "surrogateescape")
    yield _inside(json.dumps(text))
    yield _inside(json.dumps(text, ensure_ascii=False))
    yield _inside(repr(text))
    yield quote(data, safe="").encode()
    yield quote(data).encode()
    yield quote_plus(data).encode()
    for shift in range(3):
        # What stands before and after it in the encoded text is in its first and last digits.
        first, last = (0, 2, 3)[shift], (shift + len(data)) * 8 // 6
        yield b64encode(bytes(shift) + data)[first:last]
        yield urlsafe_b64encode(bytes(shift) + data)[first:last]


def _inside(quoted: str) -> bytes:
    return quoted[1:-1].encode("utf-8", "surrogateescape")


def _places(form: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    at = data.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = data.find(form, at + 1)


def _overlap(form: bytes, end: bytes) -> int:
    """Return the length of the longest beginning of a form, but not all of it, that ends a text."""
    first = form[:1]
    at = end.find(first, max(0, len(end) - len(form) + 1))
    while at >= 0:
        if form.startswith(end[at:]):
            return len(end) - at
        at = end.find(first, at + 1)
    return 0
