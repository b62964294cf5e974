"""Watch processes and disks under pressure, and compare logs too large to hold in memory."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from pathlib import Path

from helpers.heavy import heavy
from helpers.waiting import wait_until
from helpers.workers import PATIENCE
from holdfast.core.models import Lease

FLOOD_BYTES = heavy(1_000_000_000, 5_000_000_000)  # of the largest log
MIB = 1 << 20


class Watch:
    """Note the least room on a disk while a block runs: `with Watch(disk) as seen`."""

    def __init__(self, disk):
        self.disk = disk
        self.least = disk.free
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.wait(0.001):
            self.least = min(self.least, self.disk.free)


def peak_bytes(pid):
    """The most memory that a process has ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")


def family(worker):
    """The processes of a worker: supervisor, executors, heartbeat, shipper."""
    sidecars = [worker.sidecar(name) for name in ("heartbeat", "shipper")]
    return [worker.pid, *worker.executors(), *sidecars]


def end_of_log(store, run, attempt=1, within=PATIENCE):
    """Wait for the final record of a log; nothing may be missing."""
    end = wait_until(lambda: store.logs.end(Lease(run.id, attempt)), within)
    assert end.missing is None
    return end


def digest_of_log(store, run, attempt=1):
    """The size and the digest of a log, once all of it is stored."""
    size, digest = 0, hashlib.sha256()
    end = end_of_log(store, run, attempt, within=2 * PATIENCE)
    for chunk in store.logs.iterate(Lease(run.id, attempt)):
        assert chunk.start == size
        size += len(chunk.data)
        digest.update(chunk.data)
    assert end.size == size
    return size, digest.hexdigest()


def digest_of_output(*argv):
    """The size and the digest of what a command writes."""
    size, digest = 0, hashlib.sha256()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        while data := process.stdout.read(MIB):
            size += len(data)
            digest.update(data)
    return size, digest.hexdigest()
