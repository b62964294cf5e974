"""Real workers in a folder of their own."""

from __future__ import annotations

import shutil
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from helpers import forking_tasks
from helpers.cgroups import container
from helpers.disks import disk
from helpers.workers import folder, store, tasks, worker

__all__ = ["container", "disk", "folder", "forking", "store", "tasks", "worker"]


@pytest.fixture
def forking(folder, store):
    """The tasks that fork, bound to the store of this test."""
    path = shutil.copy(forking_tasks.__file__, folder / "forking_tasks.py")
    spec = spec_from_file_location("forking_tasks", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.app.store = store
    return module
