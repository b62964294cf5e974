"""The demo keeps what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.pages import ROOT
from helpers.waiting import wait_until

DEMO = [sys.executable, ROOT / "examples" / "demo" / "demo.py"]
WITHIN_SECONDS = 180


@pytest.fixture
def environment(tmp_path):
    """Folders for temporary files and for the person who looks on."""
    return {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}


def test_the_demo_keeps_its_promises_from_any_folder(tmp_path, environment):
    done = subprocess.run(
        DEMO,
        cwd="/",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "✗" not in done.stdout
    assert done.stdout.count("✓") >= 15
    assert [] == list(tmp_path.iterdir())
    assert [] == left_behind(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["lines came", "failed"])
def test_an_interrupted_demo_leaves_nothing_behind(number, moment, tmp_path, environment):
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(DEMO, env=environment, stdout=file, stderr=file)
    wait_until(lambda: moment in output.read_text(), within=WITHIN_SECONDS)

    process.send_signal(number)

    assert process.wait(WITHIN_SECONDS) == 130
    assert [output] == list(tmp_path.iterdir())
    assert [] == left_behind(tmp_path)


def left_behind(folder):
    """The processes that know the folder from their environment or their command line."""
    mark = os.fsencode(folder)
    others = [p for p in Path("/proc").iterdir() if p.name.isdigit() and int(p.name) != os.getpid()]
    return [
        read(process / "cmdline")
        for process in others
        if mark in read(process / "environ") or mark in read(process / "cmdline")
    ]


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has just ended
