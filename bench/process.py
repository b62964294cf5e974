"""Start processes, wait for them with a limit, and end them with all their children, by pid."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any, Self

ROOT = Path(__file__).parents[1]
STOP_SECONDS = 15.0  # what a process gets between being asked to end and being killed
_TICKS = os.sysconf("SC_CLK_TCK")
_SET_PARENT_DEATH_SIGNAL = 1
_LIBC = ctypes.CDLL(None)


class BenchError(Exception):
    """Something did not work as it must for a figure to mean anything."""


def wait_until(condition: Callable[[], Any], *, within: float, what: str, pause: float) -> Any:
    """Return the first true answer; raises BenchError when there is none in time."""
    deadline = time.monotonic() + within
    while not (answer := condition()):
        if time.monotonic() > deadline:
            problem = f"{what}: not within {within:g} s"
            raise BenchError(problem)
        time.sleep(pause)
    return answer


def python(*arguments: str) -> list[str]:
    """Return the command of a module or script in the interpreter of the bench."""
    return [sys.executable, *arguments]


def clean_environment(**own: str) -> dict[str, str]:
    """Return the environment without what would set up a contestant by accident."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOLDFAST_", "PYTHON", "DJANGO_", "PG", "RABBITMQ_"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), **own}


class Program:
    """One process in a session of its own; what it says goes to a file."""

    def __init__(
        self,
        argv: list[str],
        *,
        environment: Mapping[str, str],
        words: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        **pipes: Any,
    ) -> None:
        self.words = words
        self._argv = argv
        self._stop_signal = stop_signal
        with words.open("ab") as file:
            self.process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=dict(environment),
                start_new_session=True,
                preexec_fn=partial(_die_with_parent, stop_signal),  # noqa: PLW1509 - no threads
                **{"stdin": subprocess.DEVNULL, "stdout": file, **pipes},
                stderr=file,
            )
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def check(self) -> None:
        """Raise BenchError with its last words when it has ended by itself."""
        if (code := self.process.poll()) is not None:
            said = self.words.read_text(errors="replace")[-2000:]
            problem = f"{self._argv} ended with {code}:\n{said}"
            raise BenchError(problem)

    def end(self) -> None:
        """Ask it to stop; kill it and all that it has started when it does not."""
        known = tree(self.pid)
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        kill(known)
        self.process.wait(STOP_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _die_with_parent(stop_signal: signal.Signals) -> None:
    """Have the kernel stop this process, soon another program, when the bench is killed."""
    _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, stop_signal)


def tree(pid: int) -> dict[int, str]:
    """Return the pids of a process and all its descendants, each with its start time."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            parents[int(name)] = (int(fields[1]), fields[19])
    found = [pid] if pid in parents else []
    for parent in found:  # grows while it is read
        found += [child for child, (of, _) in parents.items() if of == parent]
    return {one: parents[one][1] for one in found}


def kill(known: Mapping[int, str]) -> None:
    """Kill those of some processes that are still the same."""
    for pid, started in known.items():
        fields = _stat(pid)
        if fields and fields[19] == started and fields[0] != "Z":
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def peak_rss(pid: int) -> int:
    """Return the largest resident memory that a process ever had, in bytes."""
    return _kib(f"/proc/{pid}/status", "VmHWM:") * 1024


def memory_of(pids: Iterable[int]) -> int:
    """Return the memory of some processes now, in bytes; what they share counts once."""
    return sum(_kib(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids) * 1024


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return how much processor time some processes have used so far."""
    fields = [fields for pid in pids if (fields := _stat(pid))]
    return sum(int(one[11]) + int(one[12]) for one in fields) / _TICKS


def tree_cpu_seconds(pid: int) -> float:
    """Return what a process and its descendants have used, with those that have ended."""
    fields = [fields for one in tree(pid) if (fields := _stat(one))]
    return sum(int(field) for one in fields for field in one[11:15]) / _TICKS


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _kib(path: str, name: str) -> int:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
