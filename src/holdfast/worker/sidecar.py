"""Keep a process beside the supervisor alive: the heartbeat, the shipper."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from holdfast.core.events import SidecarDied, emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.worker.loop import Waiter


class Sidecar:
    """Start ``python -m MODULE``, talk to it through pipes, start it again when it dies.

    Its standard input is its lifeline: it ends when that does.
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
        self._module = module
        self._line = msgspec.json.encode(setup) + b"\n"
        self._waiter = waiter
        self._pids = pids
        self._heard = heard
        self._closing = False
        self._start()

    def say(self, words: bytes) -> None:
        """Write to the process; a full pipe means that it does not listen, which it will see."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._input, words)

    def close(self, words: bytes = b"") -> None:
        """Let the process end by itself."""
        self._closing = True
        self.say(words)
        os.close(self._input)

    def wait(self, timeout: float) -> None:
        """Wait for the end of a closed process, and kill it when it takes too long."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._forget()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._input = os.dup(self._process.stdin.fileno())
        self._process.stdin.close()
        self._output = self._process.stdout
        with suppress(BrokenPipeError):  # killed already: the end of its output will tell
            os.write(self._input, self._line)
        os.set_blocking(self._input, False)
        self._pids.add(self._process.pid)
        self._waiter.watch(self._output, self._hear)

    def _hear(self) -> None:
        words = os.read(self._output.fileno(), 4096)
        if words:
            self._heard(words)
        elif not self._closing:
            code = self._process.wait()
            os.close(self._input)
            self._forget()
            emit(SidecarDied(self.name, self._process.pid, f"exit code {code}"))
            self._start()
        else:
            self._waiter.forget(self._output)

    def _forget(self) -> None:
        with suppress(KeyError):
            self._waiter.forget(self._output)
        self._output.close()
        self._pids.discard(self._process.pid)
