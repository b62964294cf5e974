"""A task that finds a disk full is told which one it was."""

from __future__ import annotations

import pytest

from helpers.workers import certificate, ended


@pytest.mark.parametrize("how", ["by name", "by descriptor", "as a cause", "without a name"])
def test_full_disk_is_named(worker, tasks, disk, how):
    worker(executors=1)
    full = disk("1M")

    run = tasks.fill_disk.enqueue(str(full.path), how)

    assert "failed" == ended(run).state
    judged = certificate(run)
    assert ("disk_full", "certain") == (judged.verdict, judged.confidence)
    assert judged.sentence.startswith(f"No space left on {full.path} (tmpfs, 1.0 MiB): raised ")
    assert "No space left on device" in judged.evidence.raised.traceback


def test_disk_without_free_inodes_is_full(worker, tasks, disk):
    worker(executors=1)
    full = disk("1M", inodes=30)

    run = tasks.fill_inodes.enqueue(str(full.path))

    assert "failed" == ended(run).state
    assert f"No space left on {full.path} (tmpfs, all of its 30 inodes)" in run.record.error


def test_full_disk_that_is_empty_again_is_no_riddle(worker, tasks, disk):
    worker(executors=1)
    full = disk("1M")

    run = tasks.fill_disk.enqueue(str(full.path), "and clean up")

    assert "failed" == ended(run).state
    assert "No space left on a file system that has room again by now" in run.record.error
