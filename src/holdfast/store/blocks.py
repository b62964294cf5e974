"""Press many chunks of a log into one compressed block, and take them out again unchanged."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from holdfast.core.models import LogChunk, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

BYTES = 1 << 18  # of the log in one block: what a reader unpacks for a single line
PIECES = 4096  # chunks in one block
_LEVEL = 3  # three times as fast as zlib's default, and nearly as small


class Block(NamedTuple):
    """Hold consecutive chunks of one log as one row."""

    start: int
    line: int
    lines: int
    size: int
    at: int
    data: bytes


class _Piece(msgspec.Struct, array_like=True, frozen=True):
    """Hold what a chunk is, besides its bytes and what follows from those before it."""

    stream: int
    source: int
    source_end: int
    at: int
    crc: int
    lines: int
    size: int


class _Content(msgspec.Struct, array_like=True, frozen=True):
    pieces: list[_Piece]
    data: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Content).decode


def pack(chunks: Sequence[LogChunk]) -> Block:
    """Return the block of chunks that follow each other without a gap."""
    pieces = [
        _Piece(c.stream, c.source, c.source_end, c.at, c.crc, c.lines, len(c.data)) for c in chunks
    ]
    content = _Content(pieces, b"".join(chunk.data for chunk in chunks))
    return Block(
        start=chunks[0].start,
        line=chunks[0].line,
        lines=sum(chunk.lines for chunk in chunks),
        size=len(content.data),
        at=chunks[-1].at,
        data=zlib.compress(_encode(content), _LEVEL),
    )


def unpack(block: Block) -> list[LogChunk]:
    """Return the chunks of a block as they were."""
    content = _decode(zlib.decompress(block.data))
    chunks, at, line = [], 0, block.line
    for piece in content.pieces:
        chunks.append(
            LogChunk(
                start=block.start + at,
                line=line,
                lines=piece.lines,
                stream=Stream(piece.stream),
                source=piece.source,
                source_end=piece.source_end,
                at=piece.at,
                crc=piece.crc,
                data=content.data[at : at + piece.size],
            )
        )
        at += piece.size
        line += piece.lines
    return chunks
