"""Keep secret values out of what leaves the host: logs, certificates, what tasks say."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.masking import MASK, Mask
from holdfast.worker.plain import read_plain, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from holdfast.core.verdict import Evidence, Raised

MOST = 100  # values that an attempt may name: each one costs time for each byte it writes
_LONGEST_FILE = 1 << 18  # bytes
SECRETS = "secrets"  # file of a folder with what the attempt has named
Record = tuple[int, bytes, int, int]  # stream, text, offset after it, time


def note(value: str) -> bytes:
    """Return a value as a line of the file."""
    return value.encode("utf-8", "surrogateescape").hex().encode() + b"\n"


def mask_of(known: Mask, folder: Path) -> Mask:
    """Return the mask for an attempt: what its worker knows, and what it has named itself.

    Raises OSError when the disk is sick.
    """
    if not size_of(folder / SECRETS):
        return known
    try:
        lines = read_plain(folder / SECRETS, _LONGEST_FILE).split(b"\n")
    except FileNotFoundError:
        return known
    named = (_value(line) for line in lines[:-1])  # the last one is half written
    return known | set(islice(filter(None, named), MOST))


def mask_if_readable(known: Mask, folder: Path) -> Mask:
    """Return the same; a sick disk must not keep an attempt from its end."""
    try:
        return mask_of(known, folder)
    except OSError:
        return known


def _value(line: bytes) -> str | None:
    try:
        return bytes.fromhex(line.decode()).decode("utf-8", "surrogateescape")
    except ValueError:  # a task has written to the file
        return None


def hide(evidence: Evidence, mask: Mask) -> Evidence:
    """Return evidence without secrets in its texts."""
    if not mask:
        return evidence
    return msgspec.structs.replace(
        evidence,
        raised=_hide_raised(evidence.raised, mask),
        start_failed=mask.text(evidence.start_failed),
        stack=mask.text(evidence.stack),
    )


def _hide_raised(raised: Raised | None, mask: Mask) -> Raised | None:
    if raised is None:
        return None
    return msgspec.structs.replace(
        raised,
        message=mask.text(raised.message, was_cut=True),
        traceback=mask.text(raised.traceback),
    )


def masked(records: Sequence[Record], mask: Mask, *, to_the_end: bool) -> list[Record]:
    """Return records without secrets, also where several writes of one stream make up one.

    Unless `to_the_end`, those at the end are left out from where a secret may have begun: with
    what follows they will tell. What was a part of a secret may leave a record without text.
    """
    kept = list(records if to_the_end else records[: _certain(records, mask)])
    for stream in {record[0] for record in kept}:
        places = [index for index, record in enumerate(kept) if record[0] == stream]
        spans = mask.spans(b"".join(kept[index][1] for index in places))
        at = 0
        for index in places if spans else ():
            _, text, end, time = kept[index]
            kept[index] = stream, b"".join(_pieces(text, at, spans)), end, time
            at += len(text)
    return kept


def _certain(records: Sequence[Record], mask: Mask) -> int:
    """Return how many records come before one in which a secret may have begun."""
    count = len(records)
    while True:
        streams = {record[0] for record in records[:count]}
        first = min((_open(records[:count], s, mask) for s in streams), default=count)
        if first == count:
            return count
        count = first  # and what is cut off now may have been the end of one in another stream


def _open(records: Sequence[Record], stream: int, mask: Mask) -> int:
    """Return the record in which a secret may have begun in a stream, or how many there are."""
    own = [(index, record[1]) for index, record in enumerate(records) if record[0] == stream]
    half = mask.open_end(b"".join(text for _, text in own))
    for index, text in reversed(own):
        if half <= 0:
            break
        if half <= len(text):
            return index
        half -= len(text)
    return len(records)


def _pieces(text: bytes, start: int, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Yield what is left of a text at a place, and a mask where a span begins in it."""
    at, end = start, start + len(text)
    for first, last in spans:
        if last > at and first < end:
            yield text[at - start : max(first, at) - start]
            if first >= start:
                yield MASK
            at = min(last, end)
    yield text[at - start :]
