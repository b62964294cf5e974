"""Meddle with the system calls of a running process, by strace."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path

from helpers.waiting import wait_until

PATIENCE = 20


@contextmanager
def injected(pid, *rules):
    """Apply rules to the main thread of a process: "fdatasync:error=EIO:when=3".

    Yields a function that tells how often a rule has struck so far.
    """
    told = Path(f"strace-{pid}").absolute()
    command = ["strace", "-qq", "-o", told, *_options(rules), "-p", str(pid)]
    tracer = subprocess.Popen(command)
    try:
        wait_until(lambda: tracer_of(pid) == tracer.pid, within=PATIENCE)
        yield lambda: told.read_text().count("(INJECTED)") + told.read_text().count("(DELAYED)")
    finally:
        tracer.terminate()
        tracer.wait(PATIENCE)


def inject(*rules):
    """The beginning of a command line whose processes have these rules, children too."""
    return ["strace", "-f", "-qq", "-o", "/dev/null", *_options(rules)]


def _options(rules):
    calls = ",".join(rule.partition(":")[0] for rule in rules)
    return ["-e", f"trace={calls}", *(o for rule in rules for o in ("-e", f"inject={rule}"))]


def tracer_of(pid):
    """The process that traces another one, 0 when there is none."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("TracerPid:"))
