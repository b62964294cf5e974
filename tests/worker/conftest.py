"""Real workers in a folder of their own."""

from __future__ import annotations

from helpers.workers import folder, store, tasks, worker

__all__ = ["folder", "store", "tasks", "worker"]
