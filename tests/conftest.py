"""Fixtures and options that every test may use."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from helpers.databases import KINDS

settings.register_profile("holdfast", deadline=None, database=None)
settings.load_profile("holdfast")


def pytest_addoption(parser):
    parser.addoption(
        "--db",
        default="sqlite",
        help=f"databases to run the store tests on, by commas: {', '.join(KINDS)}",
    )


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch):
    """No test sees the settings of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)
