"""Carry runs out: a supervisor with its executors, its heartbeat and its shipper."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from holdfast.core.errors import ConfigError

if TYPE_CHECKING:
    from holdfast.core.config import Settings

__all__ = ["run_worker"]

_DESCRIPTORS, _DESCRIPTORS_EACH = 45, 9  # what a supervisor needs, and for each executor


def run_worker(settings: Settings) -> int:
    """Work until asked to stop by SIGTERM or SIGINT; return the exit code of the process.

    A worker that others declared dead, because it was stopped or cut off for longer than its
    lease, lets go of everything and comes back as a new one. Raises ConfigError, StoreError.
    """
    from holdfast.core.events import SettingIgnored, emit
    from holdfast.worker.supervisor import FENCED, Supervisor

    _check_descriptors(settings.worker.executors)
    for warning in settings.warnings:
        emit(SettingIgnored(warning))
    while (code := Supervisor(settings).run()) == FENCED:
        pass
    return code


def _check_descriptors(executors: int) -> None:
    """Raise ConfigError where this process may not open as many files as executors take."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = _DESCRIPTORS + _DESCRIPTORS_EACH * executors
    if needed > allowed:
        problem = f"worker.executors={executors} takes {needed} open files, and {allowed} are "
        problem += f"allowed; raise that (ulimit -n {needed}), or have fewer executors"
        raise ConfigError(problems=[problem])
