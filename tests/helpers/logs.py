"""Write logs as a shipper does."""

from __future__ import annotations

import zlib

from holdfast.core.models import LogChunk, LogEnd, Stream


def append(store, lease, data, stream=Stream.OUT):
    """Store the next bytes of the log of an attempt."""
    chunk = next_chunk(store.logs.position(lease), data, store.database.clock.now(), stream)
    store.logs.append({lease: [chunk]}, {})


def next_chunk(position, data, at, stream=Stream.OUT):
    """The chunk that continues a log at a position."""
    return LogChunk(
        start=position.size,
        line=position.lines,
        lines=data.count(b"\n"),
        stream=stream,
        source=int(stream),
        source_end=dict(position.sources).get(int(stream), 0) + len(data),
        at=at,
        crc=zlib.crc32(data, position.crc),
        data=data,
    )


def end(store, lease, missing=None):
    """Store the final record of the log of an attempt."""
    position = store.logs.position(lease)
    last = LogEnd(position.size, position.lines, position.crc, missing)
    store.logs.append({}, {lease: last})
