"""Carry runs out: a supervisor with its executors, its heartbeat and its shipper."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.core.config import Settings

__all__ = ["run_worker"]


def run_worker(settings: Settings) -> int:
    """Work until asked to stop by SIGTERM or SIGINT; return the exit code of the process.

    A worker that others declared dead, because it was stopped or cut off for longer than its
    lease, lets go of everything and comes back as a new one.
    """
    from holdfast.core.events import SettingIgnored, emit
    from holdfast.worker.supervisor import FENCED, Supervisor

    for warning in settings.warnings:
        emit(SettingIgnored(warning))
    while (code := Supervisor(settings).run()) == FENCED:
        pass
    return code
