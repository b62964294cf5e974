"""Keep a process beside the supervisor alive: the heartbeat, the shipper."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.events import SidecarDied, emit
from holdfast.worker import proc
from holdfast.worker.beside import READY, is_event, retold

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.worker.loop import Waiter

_SETTLED_SECONDS = 10.0  # who dies sooner may not be able to live at all
_FIRST_PAUSE = 0.1  # seconds before the second try; the first one is made as soon as possible
_LONGEST_PAUSE = 5.0
_NO_START_PAUSE = 1.0  # where the machine has no room for one more process


class Sidecar:
    """Start ``python -m MODULE``, talk to it through pipes, start it again when it dies.

    Its standard input is its lifeline: it ends when that does. What it says of itself is said by
    the supervisor, so that a worker speaks with one voice.
    """

    def __init__(
        self,
        module: str,
        setup: msgspec.Struct,
        waiter: Waiter,
        pids: set[int],
        heard: Callable[[bytes], None],
    ) -> None:
        self.name = module.rpartition(".")[2]
        self.ready = False  # the process is up and waits for its first word
        self._module = module
        self._line = msgspec.json.encode(setup) + b"\n"
        self._waiter = waiter
        self._pids = pids
        self._heard = heard
        self._pause = 0.0
        self._start_at: float | None = None  # monotonic, while it waits to be started again
        self._closing = False
        self._start()

    def say(self, words: bytes) -> None:
        """Write to the process; a full pipe means that it does not listen, which it will see."""
        if self._start_at is None:
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self._input, words)

    def revive(self) -> None:
        """Start the process again when it is dead and its pause is over.

        Raises OSError where no process can be started; that is tried again in a while.
        """
        now = time.monotonic()
        if self._start_at is not None and now >= self._start_at:
            self._start_at = now + _NO_START_PAUSE
            self._start()

    def close(self, words: bytes = b"") -> None:
        """Let the process end by itself."""
        self._closing = True
        if self._start_at is None:
            self.say(words)
            os.close(self._input)

    def wait(self, timeout: float) -> None:
        """Wait for the end of a closed process, and kill it when it takes too long."""
        if self._start_at is not None:
            return
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._forget()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            proc.python("-m", self._module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._started = time.monotonic()
        self._unfinished = b""
        self._input = os.dup(self._process.stdin.fileno())
        self._start_at = None
        self._process.stdin.close()
        self._output = self._process.stdout
        with suppress(BrokenPipeError):  # killed already: the end of its output will tell
            os.write(self._input, self._line)
        os.set_blocking(self._input, False)
        self._pids.add(self._process.pid)
        self._waiter.watch(self._output, self._hear)

    def _hear(self) -> None:
        words = os.read(self._output.fileno(), 1 << 16)
        if words:
            *lines, self._unfinished = (self._unfinished + words).split(b"\n")
            for line in lines:
                self._take(line)
        elif not self._closing:
            self._bury()
        else:
            self._waiter.forget(self._output)

    def _take(self, line: bytes) -> None:
        if line == READY:
            self.ready = True
        elif is_event(line):
            emit(retold(line))
        else:
            self._heard(line)

    def _bury(self) -> None:
        code = self._process.wait()
        os.close(self._input)
        self._forget()
        self.ready = False
        now = time.monotonic()
        if now - self._started > _SETTLED_SECONDS:
            self._pause = 0.0
        reason = f"exit code {code}" if code >= 0 else f"signal {-code}"
        emit(SidecarDied(self.name, self._process.pid, reason, self._pause))
        self._start_at = now + self._pause
        self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))

    def _forget(self) -> None:
        with suppress(KeyError):
            self._waiter.forget(self._output)
        self._output.close()
        self._pids.discard(self._process.pid)
