"""Say who a worker is: host, boot, process, version."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from holdfast.core.ids import WorkerId, new_id
from holdfast.core.models import WorkerRecord, WorkerState
from holdfast.version import __version__
from holdfast.worker import proc

if TYPE_CHECKING:
    from holdfast.core.config import WorkerSettings


def new_identity(settings: WorkerSettings) -> WorkerRecord:
    """Return the record of a new incarnation of a worker in this process."""
    start = proc.start_time(os.getpid())
    assert start is not None, "this very process is alive"
    return WorkerRecord(
        worker_id=WorkerId(new_id()),
        state=WorkerState.UP,
        beat=0,
        host=proc.host_name(),
        host_id=proc.host_id(),
        boot_id=proc.boot_id(),
        pid=os.getpid(),
        pid_start=start,
        version=__version__,
        queues=json.dumps(settings.queues),
        executors=settings.executors,
        started_at=0,
        seen_at=0,
        death=None,
    )
