"""Fixtures and options that every test may use."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from helpers.databases import KINDS

settings.register_profile("holdfast", deadline=None, database=None)
settings.load_profile("holdfast")


# They count what the kernel kills for want of memory, on the whole machine.
FOR_MEMORY = {
    "test_deaths.py",
    "test_escapes.py",
    "test_kernel_log.py",
    "test_killed_executors.py",
    "test_memory.py",
    "test_out_of_memory.py",
}
ONE_AT_A_TIME = Path(tempfile.gettempdir(), "holdfast-tests-for-memory.lock")


@pytest.fixture(autouse=True)
def _alone(request):
    """Keep tests apart that would disturb each other, in all processes of all test runs."""
    if request.path.name not in FOR_MEMORY:
        yield
        return
    with ONE_AT_A_TIME.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pytest_addoption(parser):
    parser.addoption(
        "--db",
        default=",".join(KINDS),
        help=f"databases to run the store tests on, by commas: {', '.join(KINDS)}",
    )


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch):
    """No test sees the settings of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)
