"""Chunks of logs, as a store gives them, without a store."""

from __future__ import annotations

import zlib

from holdfast.core.models import LogChunk, Stream


def chunked(parts, at=0):
    """Consecutive chunks of (data, stream), or of data of standard output; a second each."""
    chunks, start, line, crc = [], 0, 0, 0
    for number, part in enumerate(parts):
        data, stream = part if isinstance(part, tuple) else (part, Stream.OUT)
        lines, crc = data.count(b"\n"), zlib.crc32(data, crc)
        end = start + len(data)
        time = at + number * 1_000_000
        chunks.append(LogChunk(start, line, lines, stream, int(stream), end, time, crc, data))
        start, line = end, line + lines
    return chunks
