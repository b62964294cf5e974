"""Stores, and a command line that works on one of them."""

from __future__ import annotations

from contextlib import closing

import pytest
from typer.testing import CliRunner

from helpers.databases import a_template, fresh_store, settings_for
from helpers.disks import disk
from holdfast.cli.main import commands
from holdfast.store import open_store

__all__ = ["disk"]


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """An empty store, to copy."""
    return a_template("sqlite", tmp_path_factory.mktemp("template"))


@pytest.fixture
def store(template, tmp_path):
    """A store whose clock stands still."""
    with closing(fresh_store(template, tmp_path)) as store:
        yield store


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def live(folder, monkeypatch):
    """A store on the real clock, which the command line finds by itself."""
    settings = settings_for(folder)
    monkeypatch.setenv("HOLDFAST_STORE", settings.url)
    with closing(open_store(settings)) as store:
        store.prepare()
        yield store


@pytest.fixture
def holdfast(folder):
    """Call the command line: `holdfast("list", "--json")`."""

    def call(*arguments, typed=None):
        return CliRunner().invoke(commands, list(arguments), input=typed, catch_exceptions=False)

    return call
