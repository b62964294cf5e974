"""What must be known of the machine to read the figures."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import time
from pathlib import Path
from statistics import median

from bench.process import ROOT

_SYNCS = 200
_PAGE = b"\0" * 4096


def machine(folder: Path) -> dict[str, str | float | int]:
    """Return the facts, as they are before anything is measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _line_of("/proc/cpuinfo", "model name") or platform.machine(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "file_system": file_system(folder),
        "sync_us": round(sync_seconds(folder) * 1e6),
        "load_before": round(os.getloadavg()[0], 2),
    }


class Others:
    """Find out how much of the machine others have used while we measured."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    def percent(self) -> int:
        """Return it, in per cent of all cores."""
        others = _busy_seconds() - self._busy - (_own_seconds() - self._own)
        all_cores = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0, round(100 * others / all_cores))


def _busy_seconds() -> float:
    """Return the processor time of all processes since boot: user, nice, system."""
    fields = Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    return sum(map(int, fields)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Return that of this process and of all that it has waited for."""
    return sum(os.times()[:4])


def sync_seconds(folder: Path) -> float:
    """Return what it takes to write a page to the disk and be sure of it."""
    path = folder / "sync"
    seconds = []
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(_PAGE)
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    path.unlink()
    return median(seconds)


def file_system(folder: Path) -> str:
    """Return the type of the file system that holds a folder."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if folder.resolve().is_relative_to(place) and len(place) >= len(best[0]):
            best = (place, kind)
    return best[1]


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _line_of(path: str, name: str) -> str:
    lines = Path(path).read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
