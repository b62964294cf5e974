"""Real workers in a folder of their own."""

from __future__ import annotations

from helpers.disks import disk
from helpers.workers import folder, store, tasks, worker

__all__ = ["disk", "folder", "store", "tasks", "worker"]
