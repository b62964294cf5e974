"""Define the messages between a supervisor and its executors.

Two socket pairs join them. *Work* keeps message borders (SOCK_SEQPACKET): the executor takes one
Start when it is free for it, and what it has not taken the supervisor can take back. *Line* is a
stream both ways: Stop to the executor; Hello, Done and Said from it. Its end is the end of the
executor.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.models import Progress
from holdfast.core.verdict import Raised
from holdfast.worker.cgroup import Group

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_START = 60_000  # bytes; larger arguments go through a file
LARGEST_FRAME = 16 << 20  # bytes; nothing that is sent comes near
_LENGTH = struct.Struct("<I")


class Setup(msgspec.Struct, frozen=True):
    """Tell a new executor what it is (the first frame on the line)."""

    app: str  # "module:name", or "" for commands only
    store: str  # URL; an app that names no other enqueues to it
    worker_id: str
    spool: str  # the worker's folder in the spool
    shared: bool  # several async attempts at once, instead of one at a time
    group: Group = Group()  # the cgroup it is in


class Start(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Hand an attempt to an executor."""

    run_id: str
    attempt: int
    task: str
    arguments: str  # JSON; "" when it is in `file`
    file: str = ""
    memory: int = 0  # bytes that all its processes may hold; 0: no limit


class Stop(msgspec.Struct, frozen=True, array_like=True):
    """Ask an executor to end one attempt."""

    run_id: str
    attempt: int
    why: str


class Hello(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Say that an executor is ready, which tasks its app has, and which store it enqueues to."""

    tasks: dict[str, bool]  # name -> whether executors may share it
    store: str


class Unready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Say why an executor cannot load the app."""

    problem: str
    traceback: str


class Said(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Pass on what a task says of its progress."""

    run_id: str
    attempt: int
    progress: Progress


class Leaving(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Say that an executor ends by itself, unharmed, and why; another one is to take its place."""

    reason: str


class Done(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Tell how an attempt ended, when its executor lived to tell."""

    run_id: str
    attempt: int
    wall: float  # seconds
    cpu: float
    logged: bool
    result: str | None = None  # JSON; set if and only if it succeeded
    raised: Raised | None = None
    snooze: float | None = None  # seconds
    stopped: str | None = None  # why, when it ended because it was asked to
    exit_code: int | None = None  # of the command
    signal: int | None = None  # of the command
    start_failed: str = ""
    peak_rss: int | None = None  # bytes, of the command's largest process
    stopped_processes: int = 0
    pid: int = 0  # of the command
    lingered: float = 0.0  # seconds that other processes outlived the command
    oom_kills: int = 0  # by the kernel for the memory limit
    stack: str = ""  # where the code stood when it was asked to stop


Report = Hello | Unready | Said | Leaving | Done

encode = msgspec.msgpack.Encoder().encode
decode_setup = msgspec.msgpack.Decoder(Setup).decode
decode_start = msgspec.msgpack.Decoder(Start).decode
decode_stop = msgspec.msgpack.Decoder(Stop).decode
_decode_report = msgspec.msgpack.Decoder(Report).decode


def frame(message: msgspec.Struct) -> bytes:
    """Return a message with its length before it."""
    body = encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cut a stream of bytes into the messages it carries."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Yield the messages that are complete by now; raises DecodeError for what is none."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(buffer, at)
            if size > LARGEST_FRAME:
                raise msgspec.DecodeError
            end = at + _LENGTH.size + size
            if end > len(buffer):
                break
            yield bytes(buffer[at + _LENGTH.size : end])
            at = end
        del buffer[:at]


def decode_report(body: bytes) -> Report:
    """Return the message of an executor."""
    return _decode_report(body)  # type: ignore[no-any-return]


def socket_pairs() -> tuple[socket.socket, socket.socket, socket.socket, socket.socket]:
    """Return (work to send, work to take, line of the supervisor, line of the executor)."""
    work_send, work_take = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        line_here, line_there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError:
        work_send.close()
        work_take.close()
        raise
    return work_send, work_take, line_here, line_there
