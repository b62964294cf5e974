"""Write logs as a shipper does."""

from __future__ import annotations

import zlib

from holdfast.core.models import LogChunk, LogEnd, Stream


def append(store, lease, data, stream=Stream.OUT):
    """Store the next bytes of the log of an attempt."""
    position = store.logs.position(lease)
    chunk = LogChunk(
        start=position.size,
        line=position.lines,
        lines=data.count(b"\n"),
        stream=stream,
        source=int(stream),
        source_end=dict(position.sources).get(int(stream), 0) + len(data),
        at=store.database.clock.now(),
        crc=zlib.crc32(data, position.crc),
        data=data,
    )
    store.logs.append({lease: [chunk]}, {})


def end(store, lease, missing=None):
    """Store the final record of the log of an attempt."""
    position = store.logs.position(lease)
    last = LogEnd(position.size, position.lines, position.crc, missing)
    store.logs.append({}, {lease: last})
