"""Real workers and real commands, and a way to call the commands that others would break."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import closing
from typing import NamedTuple

import pytest

from helpers.databases import a_template, settings_for
from helpers.disks import disk
from helpers.workers import PATIENCE, folder, holdfast, tasks, worker
from holdfast.store import open_store

__all__ = ["disk", "folder", "tasks", "worker"]


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """An empty store, to copy."""
    return a_template("sqlite", tmp_path_factory.mktemp("template"))


@pytest.fixture
def store(folder, template):
    """A new store on the real clock."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    with closing(open_store(settings_for(folder))) as store:
        yield store


class Answer(NamedTuple):
    """What a command did."""

    code: int
    out: bytes
    err: bytes


@pytest.fixture
def call(worker):
    """Call the command line in a process of its own: `call("list").out`; it says no traceback."""

    def run(*words, **options):
        return answer_of(start(worker, words, **options))

    return run


@pytest.fixture
def call_all(worker):
    """Call the command line with each of several rows of words, all at once."""

    def run(*rows, environments=({},), **options):
        started = [
            start(worker, words, env=environment, **options)
            for words in rows
            for environment in environments
        ]
        return [answer_of(process) for process in started]

    return run


def start(worker, words, *, under=(), **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return worker.start(*under, *holdfast(*words), **{**pipes, **options})


def answer_of(process):
    out, err = process.communicate(timeout=3 * PATIENCE)
    answer = Answer(process.returncode, out or b"", err or b"")
    assert b"Traceback" not in answer.err, answer.err.decode()
    return answer
